// Package route makes the kernel's state around the tunnel device true and
// keeps it so.
//
// There is one desired state, given by [Reconciler.Set], and one actual state,
// read from the kernel. plan computes the difference as a list of changes, a
// pure function; apply makes them. The same three steps serve the first start,
// a restart onto a kept device, a new set of peers, and the repair of what
// others broke:
//
//	Set(Desired) ──┐
//	netlink event ─┼─► snapshot ─► plan(desired, actual) ─► apply ─► again, until nothing is left
//	every 10 s ────┘
//
// What is ours. Routes are installed with the protocol number [Protocol], so
// that routes left by an earlier run are known and removed, and nobody else's
// are. On the device, addresses that are not wanted are removed if they lie in
// a network that we route, or are host addresses (/32, /128), as an earlier
// run with another network leaves behind; link-local ones stay.
//
// Conditional routes. A [Route] with Direct set is wanted only while its
// gateway is on a link of this host: while the kernel's route lookup (rules,
// tables and all) gives exactly one next hop, without a gateway, on a device
// that is neither the tunnel nor loopback. This is flannel's DirectRouting. The
// answers are part of the actual state, and so of the plan: where the condition
// holds, the more specific route is there and wins over the one into the
// tunnel; where it does not, it is not there, and packets take the tunnel. A
// peer that moves so changes sides without loss.
//
//	               10.5.2.0/24 via 192.168.50.2 dev eth0    while 192.168.50.2 is on eth0's link
//	10.5.2.7 ─►  <
//	               10.5.0.0/16 dev flannel0                 always
//
// Any event about a link, an address, a route or a rule can change an answer.
// Most do not, so an event that touches nothing of ours leads to a check of the
// lookups alone; only another answer leads to a comparison of the whole. For
// 1,000 gateways the lookups take about a millisecond (BenchmarkLookups). A
// dump of the table would take as long, grow with other people's routes, and
// still not know what the rules make of it.
//
// A process that starts does not know its peers at once. While a Desired says
// Partial, routes by a gateway on another device that an earlier run has left,
// conditional ones above all, stay: to remove them and set them anew would send
// the packets in between into a tunnel that does not know the peers either.
//
// What is not. A route of somebody else with the same destination and metric
// is replaced only if it says the same as ours, or if its protocol is boot:
// that is how flanneld marks its own ("ip route add" too). Any other keeps its
// place: for a connected route (a CNI bridge) that is as it should be and is
// logged once, for any other it is an error as well.
//
// What the kernel must not do. It must not speak IPv6 into the tunnel by
// itself (router solicitations, duplicate address detection), and it must
// accept packets from the tunnel that bear one of its own addresses as their
// source, because the engine answers in the name of the tunnel's address.
// Hence accept_ra=0, no generated link-local address, addresses added with
// nodad, and accept_local=1. These are attempts: a read-only /proc/sys is
// normal in a container and stops nothing.
//
// Namespaces. A Reconciler belongs to the network namespace of the thread that
// called [New]; its methods may then be called from anywhere. The device is
// made and removed by others.
//
// Takeover. [RemoveStock] removes the kernel's VXLAN devices that a flanneld on
// this host has left for the same network, and no others. Routes of its that hold places wanted by us are replaced,
// as said above.
package route
