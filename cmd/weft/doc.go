// Command weft connects the pods of many nodes as flannel does, and moves the
// packets itself.
//
// # Theory of operation
//
// This package is the only place that knows every kind of everything: it
// reads flags and environment into one options value, opens the lease store
// they name, hands both to the engine, and stands between the engine and the
// outside: signals, logs, the health port and systemd.
//
//	os.Args, environ ──► run ──► cobra ──► up ──► options ──┬─► lease store
//	                      │                                 ├─► engine.Node
//	 called as flanneld,  │                                 ├─► health port, control socket
//	 or a flag comes first┘ the same table of flags         └─► signals, sd_notify
//
// One table (flags.go) defines each flag of the daemon once: name, default,
// check and help. It serves `weft up`, the call as `flanneld`, and the
// FLANNELD_* environment. Go's flag syntax, which flanneld's users write, is
// turned into pflag's by twoDashes before anything is parsed, so there is one
// parser too.
//
// # Exit codes
//
//	0  done, or stopped by a signal
//	1  it failed; the last line on stderr says at what
//	2  the command line or a FLANNELD_* variable is wrong
//
// Commands that ask a node, as `weft status`, have codes of their own on top of
// these; their help tells which.
//
// A node that stops without having been told to exits 1, whatever the reason,
// so that a supervisor which restarts on failure restarts it.
package main
