package doctor

import (
	"context"
	"io/fs"
	"net/netip"
	"time"

	"weft/engine/control"
)

// A fake is a host that a test describes.
type fake struct {
	files     map[string]string
	unread    map[string]error // files that cannot be read
	tun       TUN
	tunErr    error
	links     []Link
	linksErr  error
	routes    []Route
	routesErr error
	ways      map[netip.Addr]Route
	sockets   []Socket
	sockErr   error
	flanneld  []int
	procErr   error
	chains    []Chain
	chainsErr error
	mac       string
	macErr    error
}

func (f *fake) Read(path string) (string, error) {
	if err := f.unread[path]; err != nil {
		return "", &fs.PathError{Op: "open", Path: path, Err: err}
	}
	text, ok := f.files[path]
	if !ok {
		return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
	}
	return text, nil
}

func (f *fake) TUN() (TUN, error)          { return f.tun, f.tunErr }
func (f *fake) Links() ([]Link, error)     { return f.links, f.linksErr }
func (f *fake) Routes() ([]Route, error)   { return f.routes, f.routesErr }
func (f *fake) Sockets() ([]Socket, error) { return f.sockets, f.sockErr }
func (f *fake) Processes(string) ([]int, error) {
	return f.flanneld, f.procErr
}
func (f *fake) Chains(context.Context) ([]Chain, error) { return f.chains, f.chainsErr }
func (f *fake) Claimed(context.Context, string, netip.Addr) (string, error) {
	return f.mac, f.macErr
}

// RouteTo looks for the longest route, unless the test says which way.
func (f *fake) RouteTo(a netip.Addr) (Route, error) {
	if r, ok := f.ways[a]; ok {
		return r, nil
	}
	best := Route{}
	for _, r := range f.routes {
		if r.Dst.Contains(a) && (!best.Dst.IsValid() || r.Dst.Bits() > best.Dst.Bits()) {
			best = r
		}
	}
	if !best.Dst.IsValid() {
		return best, fs.ErrNotExist
	}
	return best, nil
}

var (
	now = time.Date(2026, 9, 1, 12, 0, 0, 0, time.UTC)
	ip  = netip.MustParseAddr
	pfx = netip.MustParsePrefix
	at  = netip.MustParseAddrPort
)

const subnetEnv = `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true`

// addrs makes addresses of a link.
func addrs(list ...string) (out []Address) {
	for _, s := range list {
		out = append(out, Address{Prefix: pfx(s)})
	}
	return out
}

// healthyHost is a host on which nothing is wrong.
func healthyHost() *fake {
	return &fake{
		tun: TUN{Vnet: true, MultiQueue: true},
		files: map[string]string{
			"/proc/self/status":  "Name:\tweft\nUid:\t998\t998\t998\t998\nCapEff:\t0000000000001000",
			"/proc/self/uid_map": "         0          0 4294967295",
			"/proc/sys/kernel/apparmor_restrict_unprivileged_userns": "0",
			"/proc/sys/net/ipv4/ip_forward":                          "1",
			"/proc/sys/net/ipv4/conf/all/rp_filter":                  "0",
			"/proc/sys/net/ipv4/conf/flannel0/rp_filter":             "0",
			"/proc/sys/net/ipv4/conf/flannel0/forwarding":            "1",
			"/proc/sys/net/ipv4/conf/eth0/rp_filter":                 "2",
			"/proc/thread-self/net/netstat":                          "TcpExt: SyncookiesSent IPReversePathFilter\nTcpExt: 0 0",
			"/proc/sys/net/netfilter/nf_conntrack_count":             "312",
			"/proc/sys/net/netfilter/nf_conntrack_max":               "65536",
			"/proc/sys/net/core/rmem_max":                            "8388608",
			"/proc/sys/net/core/wmem_max":                            "8388608",
			"/proc/sys/net/bridge/bridge-nf-call-iptables":           "1",
			DefaultSubnetFile:                                        subnetEnv,
		},
		links: []Link{
			{Name: "lo", Index: 1, Kind: "device", MTU: 65536, Up: true, Addrs: addrs("127.0.0.1/8")},
			{Name: "eth0", Index: 2, Kind: "device", MTU: 1500, Up: true, Addrs: addrs("192.0.2.11/24")},
			{Name: "eth1", Index: 3, Kind: "device", MTU: 1500, Up: true, Addrs: addrs("198.51.100.11/24")},
			{Name: "flannel0", Index: 4, Kind: "tun", MTU: 1450, Up: true, Held: true, Addrs: addrs("10.244.1.0/32")},
			{Name: "cni0", Index: 5, Kind: "bridge", MTU: 1450, Up: true, Addrs: addrs("10.244.1.1/24")},
		},
		routes: []Route{
			{Dst: pfx("0.0.0.0/0"), Link: "eth0", Via: ip("192.0.2.1")},
			{Dst: pfx("192.0.2.0/24"), Link: "eth0"},
			{Dst: pfx("198.51.100.0/24"), Link: "eth1"},
			{Dst: pfx("10.244.0.0/16"), Link: "flannel0"},
			{Dst: pfx("10.244.1.0/24"), Link: "cni0"},
		},
		sockets: []Socket{{Local: at("192.0.2.11:8472"), PID: 77, Command: "weft"}, {Local: at("127.0.0.1:323"), PID: 9, Command: "chronyd"}},
		chains: []Chain{
			{Place: "iptables-nft", Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Drop: true, Rules: []Rule{
				{Verdict: "jump", Target: "DOCKER", Other: true}, {Verdict: "jump", Target: "FLANNEL-FWD"}}},
			{Place: "iptables-nft", Family: "ip", Table: "filter", Name: "FLANNEL-FWD", Rules: []Rule{
				{Verdict: "accept", Src: pfx("10.244.0.0/16")}, {Verdict: "accept", Dst: pfx("10.244.0.0/16")}}},
			{Place: "iptables-nft", Family: "ip", Table: "filter", Name: "INPUT", Hook: "input", Rules: []Rule{{Verdict: "drop", In: "eth9"}}},
		},
	}
}

// healthyNode is a node on which nothing is wrong.
func healthyNode() *control.Status {
	skew, rtt := 0.01, 0.0006
	return &control.Status{
		Schema: control.Schema, Time: now, Health: control.OK,
		Node: control.NodeInfo{Name: "n1", Version: "v0.5.0", Platform: "linux/amd64", PID: 77, Started: now.Add(-74 * time.Hour),
			Subnet: pfx("10.244.1.0/24"), Network: pfx("10.244.0.0/16"), Public: ip("192.0.2.11"), Backend: "vxlan",
			Devices: []string{"flannel0"}, MTU: 1450, Iface: "eth0", IfaceMTU: 1500, IfaceWhy: "default route", SubnetFile: DefaultSubnetFile},
		Engine: control.Engine{Open: true, Features: []string{"vnet", "tso", "gso", "gro", "mmsg"}, SourceCheck: "strict",
			Ports: []control.Port{{Kind: "vxlan", Address: at("192.0.2.11:8472"), VNI: 1}}},
		Store: control.Store{Kind: "etcd", Where: "https://10.0.0.1:2379", Connected: true, Contact: now.Add(-3 * time.Second),
			Changed: now.Add(-4 * time.Minute), Leases: 3, Expires: now.Add(22*time.Hour + 41*time.Minute), ClockSkew: &skew},
		Peers: []control.Peer{
			{Name: "n2", Subnet: pfx("10.244.2.0/24"), Public: ip("192.0.2.12"), Backend: "vxlan", Via: "vxlan", Endpoint: at("192.0.2.12:8472"),
				State: control.PeerOK, RTT: &rtt, MTU: 1450, PathMTU: 1500, Weft: "v0.5.0", Observed: at("192.0.2.11:8472"),
				Expires: now.Add(time.Hour), Heard: now.Add(-time.Second)},
			{Name: "n3", Subnet: pfx("10.244.3.0/24"), Public: ip("192.0.2.13"), Backend: "vxlan", Via: "vxlan", Endpoint: at("192.0.2.13:8472"),
				State: control.PeerOK, RTT: &rtt, MTU: 1450, Weft: "v0.5.0", Expires: now.Add(time.Hour), Heard: now.Add(-time.Second)},
		},
	}
}

// A patient is what a test makes ill.
type patient struct {
	*fake
	*control.Status
	Subject
	probe PeerProbe // of n2
}

func newPatient() *patient {
	p := &patient{fake: healthyHost(), Status: healthyNode()}
	p.probe = PeerProbe{Small: Answered, Large: Answered, LargeSize: 1450, Underlay: Answered, Random: Answered, VXLAN: Answered}
	p.Subject = Subject{Buffer: 7 << 20, Now: func() time.Time { return now }}
	return p
}

func (p *patient) run(ctx context.Context) control.Report {
	s := p.Subject
	s.System, s.Status = p.fake, p.Status
	s.Peer = func(_ context.Context, peer control.Peer) PeerProbe {
		if peer.Name == "n2" {
			return p.probe
		}
		return PeerProbe{Note: "not asked"}
	}
	return Run(ctx, s)
}
