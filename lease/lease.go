package lease

import (
	"context"
	"encoding/json"
	"iter"
	"net/netip"
	"time"
)

// A Lease is one node's claim to a subnet. In etcd the subnet is the key and
// Attrs the value, byte for byte as flannel writes them.
type Lease struct {
	Subnet  netip.Prefix // IPv4; zero when the family is off
	Subnet6 netip.Prefix // IPv6; zero when the family is off
	Attrs   Attrs
	Expires time.Time // zero: a reservation, never expires
}

// Attrs is what a node publishes so that others can reach it.
type Attrs struct {
	PublicIP      netip.Addr // IPv4 node address; zero or 0.0.0.0 when the node has none
	PublicIPv6    netip.Addr
	BackendType   string // "" means udp (and alloc), as flannel writes it
	BackendData   json.RawMessage
	BackendV6Data json.RawMessage
}

// An Update is what a Source reports: the complete set of leases, or changes
// to the set.
type Update struct {
	Full   bool // Events holds every lease there is; anything else is gone
	Events []Event
}

// An Event is one change to the set of leases.
type Event struct {
	Type  EventType
	Lease Lease // for Removed only Subnet and Subnet6 are sure to be set
}

// EventType says what happened to a lease.
type EventType uint8

// The event types. Added covers changes and renewals as well.
const (
	Added EventType = iota + 1
	Removed
)

// A Source tells which leases exist.
type Source interface {
	// Watch yields a Full update first and changes after it. After a gap
	// (compaction, reconnect) it yields a Full update again. An error is
	// yielded for the reader to log and count; the sequence goes on after
	// it and ends only when ctx ends or the consumer stops.
	Watch(ctx context.Context) iter.Seq2[Update, error]
}

// A Claim is what a node asks a Registrar for.
type Claim struct {
	Config   *Config
	Attrs    Attrs
	Previous Lease // from subnet.env; only Subnet and Subnet6 matter; may be zero
}

// A Registrar holds this node's own lease.
type Registrar interface {
	// Config reads the network configuration. It blocks until there is a
	// valid one (a line is logged when it has to wait) or ctx ends.
	Config(ctx context.Context) (*Config, error)
	// Acquire claims a subnet: the node's present one if the store knows it
	// by its public address, else the previous one if it is free, else a
	// free one. A lost race is tried again.
	Acquire(ctx context.Context, c Claim) (Lease, error)
	// Keep renews l until ctx ends and then returns nil. A lease that
	// vanished is written again with the same subnet. It returns ErrTaken
	// only when another node holds the subnet.
	Keep(ctx context.Context, l Lease) error
}
