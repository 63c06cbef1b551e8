package control

import (
	"net/netip"
	"time"
)

// Schema is the version of everything in this package. It grows only when a
// field changes its meaning or goes.
const Schema = 1

// An Error is the body of an answer that is none.
type Error struct {
	Message string `json:"error"`           // names the field and its value
	Field   string `json:"field,omitempty"` // the parameter at fault
	Status  int    `json:"-"`               // that the answer comes with (RFC 9110); 0: 400
}

func (e *Error) Error() string { return e.Message }

// A Health says in a word how a node or a peer fares.
type Health string

// The healths of a node; they are the exit codes 0, 1 and 2 of `weft status`.
const (
	OK       Health = "ok"
	Degraded Health = "degraded" // it carries packets, but something is wrong
	Down     Health = "down"     // it does not carry packets
)

// Status is everything about a node on one screen.
type Status struct {
	Schema  int       `json:"schema"`
	Time    time.Time `json:"time"`
	Health  Health    `json:"health"`
	Causes  []string  `json:"causes,omitempty"` // why it is not ok, the gravest first
	Node    NodeInfo  `json:"node"`
	Engine  Engine    `json:"engine"`
	Store   Store     `json:"store"`
	Drops   []Drops   `json:"drops"` // only what occurred, most packets first
	Peers   []Peer    `json:"peers"`
	Refused []Refused `json:"refused,omitempty"` // leases that are no peers
}

// NodeInfo is what a node is.
type NodeInfo struct {
	Name       string       `json:"name"`
	Version    string       `json:"version"`
	Platform   string       `json:"platform"` // as in "linux/arm64"
	PID        int          `json:"pid"`
	Started    time.Time    `json:"started,omitzero"`
	Subnet     netip.Prefix `json:"subnet,omitzero"`
	Subnet6    netip.Prefix `json:"subnet6,omitzero"`
	Network    netip.Prefix `json:"network,omitzero"`
	Network6   netip.Prefix `json:"network6,omitzero"`
	Public     netip.Addr   `json:"public,omitzero"`
	Public6    netip.Addr   `json:"public6,omitzero"`
	Backend    string       `json:"backend"`
	Devices    []string     `json:"devices"`             // as in "flannel0"
	MTU        int          `json:"mtu"`                 // of the devices, in bytes
	Iface      string       `json:"iface"`               // the underlay interface
	IfaceMTU   int          `json:"ifaceMTU"`            // of that, in bytes
	IfaceWhy   string       `json:"ifaceWhy"`            // why that one
	Nested     string       `json:"nested,omitempty"`    // the kind of tunnel that the underlay interface itself is, as in "wireguard"
	SubnetFile string       `json:"subnetFile"`          // where subnet.env is
	PublicKey  string       `json:"publicKey,omitempty"` // base64; of the wireguard backend only
}

// Engine is how the data plane does.
type Engine struct {
	Open        bool       `json:"open"`     // it has its ends
	Features    []string   `json:"features"` // capabilities in use
	Off         []string   `json:"off"`      // capabilities not in use: switched off, or refused by the kernel
	SourceCheck string     `json:"sourceCheck"`
	Ports       []Port     `json:"ports"`
	Out         Traffic    `json:"out"` // from the pods to the wire
	In          Traffic    `json:"in"`
	CPU         float64    `json:"cpuSeconds"` // used by the process so far
	Processors  int        `json:"processors"`
	Memory      uint64     `json:"memoryBytes"` // resident
	Traces      int        `json:"traces"`      // sessions now
	TraceLost   uint64     `json:"traceRecordsLost"`
	Repairs     []Repairs  `json:"repairs,omitempty"`
	Answers     uint64     `json:"icmpAnswers"` // ICMP errors sent on behalf of the overlay
	Policies    []Policies `json:"policies,omitempty"`
}

// A Port is where datagrams come in.
type Port struct {
	Kind    string         `json:"kind"` // udp, vxlan or wireguard
	Address netip.AddrPort `json:"address"`
	VNI     uint32         `json:"vni,omitempty"`
	Drops   uint64         `json:"drops"` // datagrams that found the receive buffer full
}

// Repairs is how often something that others broke was put right.
type Repairs struct {
	What  string `json:"what"`
	Count uint64 `json:"count"`
}

// Policies is how many frames bore a group policy (VXLAN GBP).
type Policies struct {
	Policy string `json:"policy"`
	Count  uint64 `json:"count"`
}

// Traffic is what was carried since the start of the node.
type Traffic struct {
	Packets uint64 `json:"packets"` // inner packets
	Bytes   uint64 `json:"bytes"`   // of inner packets
	Calls   uint64 `json:"calls,omitempty"`
	Batches uint64 `json:"batches,omitempty"`
}

// Store is how it stands with the leases.
type Store struct {
	Kind      string    `json:"kind"`                // etcd, embedded etcd or file
	Where     string    `json:"where"`               // endpoints or folder
	Connected bool      `json:"connected"`           // the latest exchange succeeded
	Contact   time.Time `json:"contact,omitzero"`    // the latest successful exchange
	Changed   time.Time `json:"changed,omitzero"`    // the latest change in the set of leases
	Error     string    `json:"error,omitempty"`     // of the latest exchange, if it failed
	Rival     string    `json:"rival,omitempty"`     // that another process writes this node's lease, and who that may be
	Leases    int       `json:"leases"`              // in the store, ours included
	Expires   time.Time `json:"expires,omitzero"`    // our own lease; zero: never, or not known
	ClockSkew *float64  `json:"clockSkew,omitempty"` // seconds that the store's clock is ahead of ours, if it can be told
}

// Drops is how many packets were lost for a reason.
type Drops struct {
	Reason  string    `json:"reason"`
	Number  int       `json:"number"`
	Out     uint64    `json:"out"` // packets
	In      uint64    `json:"in"`
	Latest  time.Time `json:"latest,omitzero"` // when the flight recorder saw one last
	Meaning string    `json:"meaning"`
	Hint    string    `json:"hint"`
}

// A PeerState says in a word how a peer fares.
type PeerState string

// The states of a peer.
const (
	PeerOK       PeerState = "ok"       // it answers, or sends
	PeerNew      PeerState = "new"      // not enough is known yet
	PeerSilent   PeerState = "silent"   // it sends packets but does not answer echoes
	PeerDown     PeerState = "down"     // neither
	PeerUnusable PeerState = "unusable" // nothing can be sent to it; see Reason
)

// A Peer is another node as this one sees it.
type Peer struct {
	Name      string         `json:"name,omitempty"` // if its lease tells one; those of flannel do not
	Subnet    netip.Prefix   `json:"subnet,omitzero"`
	Subnet6   netip.Prefix   `json:"subnet6,omitzero"`
	Public    netip.Addr     `json:"public,omitzero"`
	Public6   netip.Addr     `json:"public6,omitzero"`
	Backend   string         `json:"backend"`            // what its lease asks for
	Via       string         `json:"via"`                // udp, vxlan, wireguard, or direct: by a kernel route past the tunnel
	Endpoint  netip.AddrPort `json:"endpoint,omitzero"`  // where its datagrams go
	Key       string         `json:"key,omitempty"`      // WireGuard public key, base64
	Expires   time.Time      `json:"expires,omitzero"`   // of its lease; zero: never
	State     PeerState      `json:"state"`              // in a word
	Reason    string         `json:"reason,omitempty"`   // why it is not ok
	RTT       *float64       `json:"rtt,omitempty"`      // seconds; of the latest answered echo
	Loss      *float64       `json:"loss,omitempty"`     // 0 to 1, of the latest echoes
	Echoes    uint64         `json:"echoes"`             // sent so far
	Echoed    uint64         `json:"echoed"`             // answered so far
	VNI       uint32         `json:"vni,omitempty"`      // of its VXLAN frames
	MTU       int            `json:"mtu"`                // longest inner packet that is sent to it
	PathMTU   int            `json:"pathMTU,omitempty"`  // longest outer packet that was seen to pass, or that the kernel learnt; 0: not known
	Probed    time.Time      `json:"probed,omitzero"`    // when PathMTU was last made sure of
	Sent      Traffic        `json:"sent"`               // to it, since the node started
	Received  Traffic        `json:"received"`           // from it
	Heard     time.Time      `json:"heard,omitzero"`     // when something came from it last
	Handshake time.Time      `json:"handshake,omitzero"` // of the WireGuard session
	Answers   *bool          `json:"answers,omitempty"`  // the latest WireGuard handshake was answered
	Weft      string         `json:"weft,omitempty"`     // its version, if it is known to be a weft node
	Observed  netip.AddrPort `json:"observed,omitzero"`  // our own address as it sees us, if it told
}

// A Refused is a lease that is not believed or cannot be used.
type Refused struct {
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	Public  netip.Addr   `json:"public,omitzero"`
	Public6 netip.Addr   `json:"public6,omitzero"`
	Backend string       `json:"backend"`
	Reason  string       `json:"reason"`
}
