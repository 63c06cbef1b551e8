package explain

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"weft/encap"
	"weft/engine/control"
)

// Facts is what is known where the packet would pass. Node, Engine, Lookup and
// Kernel must be there.
type Facts struct {
	Node   control.NodeInfo
	Engine control.Engine
	Listed bool // leases were listed once; before that no lease may mean anything
	Masq   bool // rules masquerade what enters the overlay from outside of it
	Now    time.Time

	// Lookup returns what the data plane would do with a packet for an inner
	// address; false if no lease of another node covers it.
	Lookup func(netip.Addr) (Peer, bool)
	Kernel Kernel
	// View asks a peer how it would send to an address. Nil, or ErrNotWeft for
	// a peer that cannot be asked: its view is not known.
	View func(context.Context, Peer, netip.Addr) (View, error)
}

// ErrNotWeft says that a peer is no weft node, so that it cannot be asked.
var ErrNotWeft = errors.New("not a weft node")

// A Peer is what the data plane would do with a packet for an inner address.
type Peer struct {
	Name      string       // empty if it has none
	Subnet    netip.Prefix // of its lease, the one that covers the address
	Public    netip.Addr   // its outer address
	Kind      string       // udp, vxlan or wireguard
	VNI       uint32       // of vxlan
	Endpoint  netip.AddrPort
	Direct    bool   // the kernel is to route packets to it past the tunnel
	Device    string // that its packets enter; any of the node's if empty
	Limit     int    // bytes of the longest inner packet that fits the path; 0: that of the device
	Overhead  int    // bytes of everything around an inner packet
	PathMTU   int    // bytes of the longest outer packet; 0: not known
	Probed    time.Time
	Drop      encap.Drop // why nothing is sent to it; Delivered if it is
	Expires   time.Time  // of the lease; zero: never
	Key       string     // WireGuard public key, base64
	Handshake time.Time  // of the WireGuard session; zero: none
	Answers   *bool      // the latest WireGuard handshake was answered
	State     control.PeerState
	Reason    string // why it is not ok
}

// label names a peer for people.
func (p *Peer) label() string {
	switch {
	case p.Name == "":
		return p.Public.String()
	case !p.Public.IsValid():
		return p.Name
	}
	return p.Name + " " + p.Public.String()
}

// A View is how a peer would send a packet to one of our addresses.
type View struct {
	Time     time.Time
	Subnet   netip.Prefix   // the lease it finds for the address; zero: none
	Kind     string         // how it would send
	Endpoint netip.AddrPort // where to
	From     netip.Addr     // its outer source address; zero: not told
	Limit    int            // bytes of the longest inner packet; 0: not told
	Drop     string         // why it would not send; empty if it would
}

// A Kernel answers as the kernel of the device's network namespace would.
type Kernel interface {
	// Route looks up where a packet goes. An error is one of the asking; that
	// there is no route is an answer.
	Route(context.Context, Lookup) (Route, error)
	// Sysctl reads one, named by its path below /proc/sys, as in
	// "net/ipv4/conf/cni0/forwarding": device names may hold dots.
	Sysctl(name string) (string, error)
	// Filter judges a packet by the rules of the packet filter.
	Filter(context.Context, Passage) (Judgement, error)
}

// A Lookup is what the kernel's routes are asked.
type Lookup struct {
	Dst, Src netip.Addr // Src may be zero
	In       string     // the interface that the packet comes in by; empty: it is the host's own
}

// A Route is where the kernel sends a packet.
type Route struct {
	Type   string       // as ip(8) says it: unicast, local, blackhole, unreachable, prohibit, none …
	Dst    netip.Prefix // of the route that matched; zero: not told
	Via    netip.Addr   // the gateway
	Device string
	Table  string // as in "main"
	Rule   int    // priority of the one rule that leads to the table; 0: not told
	MTU    int    // of the device, in bytes; 0: not known
	Refuse string // why the kernel does not take the packet at all, as source validation; empty if it does
}

// A Passage is a packet at the packet filter.
type Passage struct {
	Src, Dst netip.Addr
	Proto    uint8
	Port     uint16 // destination port; 0: none or any
	// The interfaces. What is forwarded meets the hooks prerouting, forward and
	// postrouting; the host's own packets have no In and meet output and
	// postrouting; those for the host no Out: prerouting and input.
	In, Out string
	Reply   bool // it answers a packet that was let through; else it is the first of its connection
}

// A Judgement is what the packet filter makes of a packet.
type Judgement struct {
	Verdict string // accept, drop or unknown
	Text    string // which chain and rule, or why it is unknown
}
