// Package doctor looks for what can be wrong with a node, its host and the ways
// to its peers, and says for each thing what was found, what it comes from and
// what to do.
//
// # Theory of operation
//
// A check is one function and one row of a table ([Table]). It looks at a
// [Subject]: what the node says of itself, and the host as a [System] shows it.
// Checks change nothing, do not know each other and run in the order of the
// table, which goes from the ground up:
//
//	host      device node, capabilities, forwarding, firewall, buffers
//	node      its interface, addresses, devices, routes, subnet.env
//	cluster   lease store, clocks, leases of the others
//	traffic   what is dropped, and what that means
//	peers     each peer: a row of facts, and what is wrong with the way there
//
// What the last part needs of probes is gathered before, several peers at once:
// a [PeerProbe] says which of its echoes and datagrams were answered.
//
//	Subject ──► probes ──► Table ──► control.Report
//	   └─ System ──────────────┘
//
// A verdict says what is known, no more. What a check cannot look at, because it
// lacks a right, a file or a daemon that answers, it skips, and says why. Without
// a daemon the checks of the host still run, and those of the node say that there
// is none.
//
// A fix is a command that can be pasted, where there is one, and else says what
// to do in words.
package doctor
