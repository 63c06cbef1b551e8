// Package engine runs a node: it leases a subnet, opens the two ends of the
// tunnel, and carries packets between them until it is told to stop.
//
// # Theory of operation
//
// A packet's way. The up loop reads a batch from the TUN device, looks up the
// peer of each packet, cuts superpackets into segments, gathers segments into
// runs, and sends all runs with one system call. The down loop receives runs
// from a UDP port, checks who sent each packet and whose address it bears,
// joins packets of one flow into superpackets and writes each to the device
// with one system call. A loop owns its buffers and lends them; there is no
// channel, no lock and no allocation between the two system calls.
//
//	pods ─► kernel ─► flannel0 ─► up:   Read → look up → cut → runs → Send ─► port ─► wire
//	pods ◄─ kernel ◄─ flannel0 ◄─ down: Write ← coalesce ← check ← Recv ◄─── port ◄─ wire
//	                                        ▲
//	            lease.Source ─► lease.Set ─► table (one pointer, swapped)
//
// A [framing] is an encapsulation as the node speaks it. A node speaks all of
// them: to each peer the one that the peer's lease asks for. Its own lease asks
// for the first, which is what its peers send it. Each framing has a port that
// receives, with a down loop, and sends by that port or, to spread flows over
// source ports, by several outlets.
//
// All of this is one [dataPlane]. The other is that of the wireguard backend, a
// [wgPlane]: there wireguard-go's device has the loops, and what we do to packets
// on the side of the pods, cutting, joining, answering, counting, is done where it
// reads and writes ([wgNear]).
//
// What the loops know of the cluster is a [table]: an immutable snapshot of
// routes to peers, and of the outlets they are sent to by. The control plane builds a new one whenever the set of
// leases changes and swaps the pointer; a loop loads the pointer once per
// batch. When the lease store is unreachable nothing is swapped and packets go
// on as before.
//
// # What is told of it
//
// Each loop has a [tap]. It counts what is lost, gives the flight recorder the
// headers of some of that, and while somebody traces notes a sight of each packet,
// which becomes a record when the batch is done and its verdict known (tap.go,
// sights.go; package trace has the rest).
//
// A prober (package probe) watches the peers. What it sends goes into the tunnel
// behind the device, and what is for it comes out before the device, so that
// neither the kernel nor its rules are on the way (inject.go). It finds out, too,
// where a path is narrower than anybody says.
//
// Whoever asks is answered by the methods of package control's Node: state
// (status.go, peers.go), and in ask.go what takes packets or thought, each of which
// has a package of its own. What they are told of a peer is a [far], whichever data
// plane reaches it.
//
// The files up.go, down.go and runs.go are the hot path. They import neither a
// logger nor fmt, and what they do for a packet that cannot be forwarded
// stands in refuse.go.
package engine
