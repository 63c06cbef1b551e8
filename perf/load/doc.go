// Package load makes and takes the traffic that the benchmarks measure.
//
// Every end of a load is a process of its own, inside a pod's namespace: the
// perf program calls itself with the name of a role, as in
//
//	perf load tcp-recv 10.5.2.2:5201
//
// The process prints one line when it is ready and answers every line "mark"
// on its standard input with a [Snapshot] on its standard output. It ends at
// "stop" or when its input ends. So the program that measures decides when a
// window begins and ends, reads all its other meters at the same moments, and
// the start and the end of a connection are never part of a figure.
//
//	perf           tcp-recv              tcp-send
//	 │  start         │                     │
//	 ├───────────────►│                     │
//	 │◄──── ready ────┤     start           │
//	 ├─────────────────────────────────────►│
//	 │  (warm-up)     │◄════════════════════╡ bytes
//	 ├──── mark ─────►│                     │
//	 │◄── snapshot ───┤      the window     │
//	 ├──── mark ─────►│                     │
//	 │◄── snapshot ───┤                     │
//
// The roles use blocking system calls on plain sockets and allocate nothing
// while they run. UDP goes in batches by sendmmsg(2) and recvmmsg(2), one
// datagram per message and never as a UDP_SEGMENT superpacket: the load is
// many small packets, as many programs would send them.
package load
