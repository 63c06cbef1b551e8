// Package lab lays the hosts that the benchmarks run on: two of them, in
// network namespaces of this machine, joined by one wire, each with a pod
// behind a bridge.
//
//	 pod a 10.5.1.2/24                             pod b 10.5.2.2/24
//	┌──── ns …-pa ────┐                           ┌──── ns …-pb ────┐
//	│      eth0       │                           │      eth0       │
//	└────────┬────────┘                           └────────┬────────┘
//	┌────────┴─ ns …-ha ───────────┐  ┌─── ns …-hb ────────┴────────┐
//	│ pod0 ─ cni0 10.5.1.1/24      │  │      10.5.2.1/24 cni0 ─ pod0│
//	│           │  (forwarding)    │  │                  │          │
//	│      the data plane          │  │        the data plane       │
//	│           │                  │  │                  │          │
//	│         eth0 192.168.50.1/24 ├──┤ 192.168.50.2/24 eth0        │
//	└──────────────────────────────┘  └─────────────────────────────┘
//	                             the wire
//
// The lab lays the hosts and the wire first. A data plane is then set up in
// the hosts and says which subnet each of them has and how large a packet may
// be; the pods follow last, as a container network plugin would make them.
//
// The wire is a pair of veth devices with an MTU of 1500. As it comes it
// carries TCP superpackets of 64 KB whole, which no network does (wire "gso").
// With segmentation and receive offloads switched off at both ends every frame
// is a frame of at most 1514 bytes (wire "wire"), and the work of cutting and
// joining is done by the processor, as on a network card without offloads.
// Both are worth knowing; neither stands for the other.
//
// The namespaces are those of weft's own lab, made by package
// [weft/cmd/weft/lab/space]: all processes that are started in one die with
// it, or with the process that made it. This package adds names, so that one
// can look into a namespace with ip netns exec while a benchmark runs. A name
// is a mount, which outlives us; it holds the process id and start time of the
// run, by which [RemoveLeftovers] knows the ones whose run was killed.
package lab
