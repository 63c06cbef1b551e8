// Package doctor is `weft doctor`: it has the checks of weft/engine/doctor made,
// shows what they found, and packs what a bug report needs.
//
// # Theory of operation
//
// The daemon makes the checks, because it can probe its peers and sees its own
// rights. Two things may be in the way, and neither leaves the user without an
// answer:
//
//	the daemon answers            its report
//	it refuses this user          the checks are made here, with its status, without probes
//	there is none                 the checks of the host are made here
//
// What was in the way is said before the report. The exit code is 1 if a check
// failed, else 0: warnings do not break scripts.
//
// # The bundle
//
// A bundle is a tar of texts, each of which passes through [redact] on its way in,
// whatever it is: passwords, tokens, keys and what URLs hold of users are taken
// out. Packets are cut behind their headers. What may hold secrets in forms that
// cannot be told, such as command lines and logs, is not collected. The manifest
// names what is in, what is not, and why.
package doctor
