// Package lease is the vocabulary of the control plane: who holds which
// subnet, and how the others reach that node.
//
// # Theory of operation
//
// Every node of an overlay network holds one lease: a subnet of the network
// (one per address family) and the attributes under which others reach it.
// Leases live in a store that all nodes share. The store is known here only by
// two small interfaces: a [Registrar] holds this node's own lease, a [Source]
// tells which leases exist.
//
//	store ── Source.Watch ──► Update ──► Set.Apply ──► Usable ──► peers to connect
//	  ▲                       (full or     (folded       (what may be believed,
//	  │                        changes)     truth)        and why the rest may not)
//	  └── Registrar ◄── Claim.Plan ◄── what is taken, subnet.env
//
// Everything below is level-triggered: a Source says what is true now, a [Set]
// keeps it, and whoever acts on it compares the whole set with the world. So a
// lost event costs time, never correctness, and a full listing heals all.
//
// The package itself is pure. It opens no sockets and, but for subnet.env,
// no files; the stores are its subpackages. What it reads and writes is
// flannel's, byte for byte:
//
//	net-conf.json   ParseConfig          the network and its backend
//	10.5.1.0-24     Key, ParseKey        a subnet as the name of a key
//	{"PublicIP":…}  Attrs                the value under that key
//	subnet.env      ReadEnv, WriteEnv    what the container runtime reads
//
// Words: a reservation is a lease that never expires (in etcd a key without an
// etcd lease). The own lease is this node's; all others are peers' leases.
package lease
