// Package tunneltest holds both ends of the tunnel in memory, for tests that
// need neither a device nor a socket nor root.
//
//	test ──Feed──► Device ──Read──► up ──Send──► Port A ──► Wire ──► Port B ──Recv──► down
//	     ◄─Take─── Device ◄─Write── down
//
// A [Device] stands in for the TUN: what a test feeds it, a loop reads, and
// what a loop writes, the test takes. A [Wire] joins any number of [Port]s by
// their addresses, as a network would; a run that is sent arrives as a run, or
// as single datagrams when the receiver was made without tunnel.GRO.
//
// Either end refuses what its Refuse function refuses, which is how a test
// plays a kernel that takes back a capability, a link that is down, or a path
// that is too narrow. A Wire loses what its Lose function picks.
//
// Everything is copied on its way, so that a loop that keeps a borrowed buffer
// too long is found out. Reads and receives wait until there is something or
// the end is closed; then they return [tunnel.ErrClosed].
package tunneltest
