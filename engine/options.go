package engine

import (
	"log/slog"
	"time"

	"weft/engine/iface"
	"weft/lease"
	"weft/tunnel/wg"
)

// Options says how a node is to be run. The zero value of a field is its
// default unless the field says otherwise.
type Options struct {
	Registrar lease.Registrar
	Source    lease.Source

	// What the node says of itself when asked: its name, the program's version,
	// and what kind of store its leases are in, and where.
	Name       string
	Version    string
	StoreKind  string
	StoreWhere string

	Iface      iface.Options // how to choose the underlay interface
	SubnetFile string        // where subnet.env goes; also the source of the previous subnet

	IPMasq       bool          // masquerade what leaves the overlay
	RandomFully  bool          // masquerade with random ports
	ForwardRules bool          // accept forwarding from and to the overlay
	RulesResync  time.Duration // how often rules are checked; 0: 5 s
	Blackhole    bool          // keep a blackhole route for the own subnet

	TunMode     string            // "auto" or "plain"; empty: auto
	SourceCheck string            // "strict", "report" or "off"; empty: strict
	GBPPolicy   string            // group policies whose frames are accepted; empty: any
	PeerPorts   map[string]uint16 // UDP ports of peers with another backend than ours, by its type

	// Of the wireguard backend: how to come by the private key, which is asked
	// for once and only by it; and where to put the sockets for wg(8); empty:
	// where it looks.
	Key       func() (wg.StoredKey, error)
	SocketDir string

	// ProbeInterval is the time between echoes to each peer; 0: 10 s, less: none,
	// and then a peer is known by what it sends alone.
	ProbeInterval time.Duration

	Log     *slog.Logger // nil: slog.Default
	OnReady func()       // called once, when subnet.env is written and packets can flow
}
