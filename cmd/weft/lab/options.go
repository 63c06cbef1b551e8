package lab

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"

	"weft/lease"
)

// Store says who keeps the leases of a lab.
type Store string

// The stores. StoreNode is an etcd inside node n1, as `weft up
// --etcd-embedded` runs it; StoreEtcd is one in a process of its own on the
// switch, which can be stopped while all nodes go on; StoreDir is a directory
// that all nodes share.
const (
	StoreNode Store = "node"
	StoreEtcd Store = "etcd"
	StoreDir  Store = "dir"
)

// MaxNodes is how many nodes fit on a lab's underlay.
const MaxNodes = 250

// The underlay that all nodes of a lab share. Node i has host number i, the
// switch itself the one that follows MaxNodes.
var (
	underlay4 = netip.MustParsePrefix("10.99.0.0/24")
	underlay6 = netip.MustParsePrefix("fd99::/64")
)

// defaultNetwork6 is the IPv6 overlay network when none is named.
var defaultNetwork6 = netip.MustParsePrefix("fd00:244::/48")

// Options says what a lab is to be. The zero value of each field is its
// default, except Dir.
type Options struct {
	Name  string // of the lab; "default"
	Nodes int    // 3
	Dir   string // existing directory for logs, subnet files and sockets
	Weft  string // program the nodes run; this one

	Store    Store        // StoreNode
	LeaseDir string       // for StoreDir; Dir/leases
	Network  netip.Prefix // overlay; 10.244.0.0/16
	IPv6     bool         // dual stack
	Network6 netip.Prefix // IPv6 overlay; fd00:244::/48
	Backend  string       // "udp"; "vxlan", "wireguard"
	NetConf  []byte       // a whole net-conf.json, instead of the four fields above

	TunMode     string   // --tun-mode of each node, if not empty
	SourceCheck string   // --source-check of each node, if not empty
	UpArgs      []string // more flags for each node
	Env         []string // K=V, added to each node's environment

	// Extra, if set, returns further flags and environment (K=V) for one
	// node. It is asked at each start, so a node can come back with others.
	Extra func(n *Node) (args, env []string) `json:"-"`

	// Command, if set, returns the command line of a node instead of `weft
	// up …`, or nil to keep that; another implementation can so take part. It
	// must send READY=1 to $NOTIFY_SOCKET once it has written n.SubnetFile().
	// It is asked at each start, so a node can come back as something else.
	Command func(n *Node) []string `json:"-"`
}

var validName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,31}$`)

// withDefaults returns o complete, and the network configuration it stands
// for. Errors name the field and its value.
func (o Options) withDefaults() (Options, *lease.Config, error) {
	setDefault(&o.Name, "default")
	setDefault(&o.Nodes, 3)
	setDefault(&o.Store, StoreNode)
	setDefault(&o.Network, netip.MustParsePrefix("10.244.0.0/16"))
	setDefault(&o.Network6, defaultNetwork6)
	setDefault(&o.Backend, "udp")
	setDefault(&o.LeaseDir, filepath.Join(o.Dir, "leases"))
	switch {
	case !validName.MatchString(o.Name):
		return o, nil, fmt.Errorf("lab name %q: want up to 32 letters, digits, '-', '_' or '.'", o.Name)
	case o.Nodes < 1 || o.Nodes > MaxNodes:
		return o, nil, fmt.Errorf("%d nodes: want 1 to %d", o.Nodes, MaxNodes)
	case o.Store != StoreNode && o.Store != StoreEtcd && o.Store != StoreDir:
		return o, nil, fmt.Errorf("store %q: want %q, %q or %q", o.Store, StoreNode, StoreEtcd, StoreDir)
	case o.Dir == "":
		return o, nil, errors.New("a lab needs a directory")
	}
	if o.Weft == "" {
		self, err := os.Executable()
		if err != nil {
			return o, nil, fmt.Errorf("find this program: %w", err)
		}
		o.Weft = self
	}
	if o.NetConf == nil {
		o.NetConf = o.compose()
	}
	cfg, err := lease.ParseConfig(o.NetConf)
	if err != nil {
		return o, nil, fmt.Errorf("net-conf: %w", err)
	}
	return o, cfg, checkOverlap(cfg)
}

// compose writes the net-conf.json that the fields describe.
func (o Options) compose() []byte {
	conf := struct {
		Network     string `json:"Network"`
		EnableIPv6  bool   `json:"EnableIPv6,omitempty"`
		IPv6Network string `json:"IPv6Network,omitempty"`
		Backend     any    `json:"Backend"`
	}{Network: o.Network.String(), Backend: map[string]string{"Type": o.Backend}}
	if o.IPv6 {
		conf.EnableIPv6, conf.IPv6Network = true, o.Network6.String()
	}
	b, err := json.MarshalIndent(conf, "", "  ")
	if err != nil {
		panic(err) // strings and a bool always have a JSON form
	}
	return append(b, '\n')
}

// checkOverlap refuses an overlay that hides the lab's own wire.
func checkOverlap(cfg *lease.Config) error {
	for _, p := range []netip.Prefix{cfg.Network, cfg.IPv6Network} {
		for _, u := range []netip.Prefix{underlay4, underlay6} {
			if p.IsValid() && p.Overlaps(u) {
				return fmt.Errorf("network %s overlaps the lab's underlay %s; choose another", p, u)
			}
		}
	}
	return nil
}

func setDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// host returns address number i of a prefix, i up to 255.
func host(p netip.Prefix, i int) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-1] += byte(i)
	a, _ := netip.AddrFromSlice(b)
	return a
}
