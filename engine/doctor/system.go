package doctor

import (
	"context"
	"net/netip"
)

// A System is the host, as the checks see it. An error that is
// [io/fs.ErrNotExist] means that the kernel or the host has no such thing, one
// that is [io/fs.ErrPermission] that this process may not look.
type System interface {
	// Read returns the text of a file without the white space around it.
	Read(path string) (string, error)
	// TUN opens the device node and closes it again.
	TUN() (TUN, error)
	// Links lists the network interfaces with their addresses.
	Links() ([]Link, error)
	// Routes lists the routes of the main table.
	Routes() ([]Route, error)
	// RouteTo asks the kernel which way it would send a packet to a.
	RouteTo(a netip.Addr) (Route, error)
	// Sockets lists the bound UDP sockets, with their owners as far as they
	// can be told.
	Sockets() ([]Socket, error)
	// Processes lists the processes in this network namespace whose command
	// is name.
	Processes(name string) ([]int, error)
	// Chains lists the chains of packet filters. What could not be listed is
	// in the error; what could is returned beside it.
	Chains(context.Context) ([]Chain, error)
	// Claimed asks the neighbours on a link, by ARP (RFC 5227), whether one of
	// them holds an IPv4 address of ours, and returns its MAC address, or "".
	Claimed(ctx context.Context, link string, a netip.Addr) (mac string, err error)
}

// TUN is what the device node told (TUNGETFEATURES).
type TUN struct {
	Vnet       bool // virtio-net headers, and with them superpackets
	MultiQueue bool
}

// A Link is a network interface.
type Link struct {
	Name  string
	Index int
	Kind  string // as the kernel calls it: vxlan, tun, bridge, ...; device for hardware
	MTU   int    // bytes
	Up    bool
	// Held says that a process has the device open; of kind tun only.
	Held  bool
	VNI   int // of kind vxlan only
	Port  int // UDP destination port; of kind vxlan only
	Addrs []Address
}

// An Address is one of a link.
type Address struct {
	netip.Prefix
	Duplicate bool // the kernel found it on another host (IFA_F_DADFAILED)
}

// A Route is one of the kernel's.
type Route struct {
	Dst  netip.Prefix // zero in an answer of RouteTo
	Link string       // "" if it leads nowhere, as a blackhole does
	Via  netip.Addr   // zero: the destination is on the link
	Src  netip.Addr   // the source that the kernel would choose; may be zero
}

// A Socket is a bound UDP socket.
type Socket struct {
	Local   netip.AddrPort
	PID     int    // 0: not known, or the kernel's own
	Command string // of PID
}

// A Chain is a list of rules of nftables or iptables.
type Chain struct {
	Place  string // nftables, iptables-nft or iptables-legacy
	Family string // ip, ip6 or inet
	Table  string
	Name   string
	Hook   string // prerouting, input, forward, output or postrouting; "" unless packets come in there
	Drop   bool   // what no rule decides is dropped; of chains with a hook only
	Rules  []Rule
}

// A Rule is what the checks understand of a rule: all conditions must hold.
type Rule struct {
	Verdict  string       // accept, drop, jump, or "" for anything else
	Target   string       // chain of a jump
	Src, Dst netip.Prefix // zero: any
	In, Out  string       // names of links, or the start of one and a star; "": any
	UDP      bool         // UDP only
	Port     uint16       // UDP destination port; 0: any
	Other    bool         // it has conditions beside these
}
