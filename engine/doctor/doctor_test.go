package doctor

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/trace"
)

// show writes the checks with an id.
func show(r control.Report, id string) string {
	var b strings.Builder
	for _, c := range r.Checks {
		if c.ID == id {
			fmt.Fprintf(&b, "\n%s %s %s | %s | %s | %s", c.Verdict, c.ID, c.Peer, c.Text, c.Cause, c.Fix)
		}
	}
	return b.String()
}

// Where nothing is wrong nothing is found, every check of the table has spoken,
// and in the order of the table.
func TestHealthy(t *testing.T) {
	r := newPatient().run(t.Context())
	if r.Node != "n1" || r.Schema != control.Schema {
		t.Errorf("report of %q, schema %d", r.Node, r.Schema)
	}
	var order []string
	for _, c := range r.Checks {
		if c.Verdict != control.Pass && !(c.ID == "modules" || c.ID == "br_netfilter") {
			t.Errorf("%s %s %s: %s (%s)", c.Verdict, c.ID, c.Peer, c.Text, c.Cause)
		}
		if c.Peer == "" && (len(order) == 0 || order[len(order)-1] != c.ID) {
			order = append(order, c.ID)
		}
	}
	var want []string
	for _, row := range Table() {
		if !strings.HasPrefix(row.ID, "peer-") && row.ID != "peer" {
			want = append(want, row.ID)
		}
	}
	if !slices.Equal(order, want) {
		t.Errorf("order %v, want %v", order, want)
	}
}

// An illness is one thing gone wrong, and what is to be found.
type illness struct {
	name    string
	make    func(*patient)
	id      string
	verdict control.Verdict
	words   string // in the text, the cause or the fix, parted by ...
}

func (ill illness) matches(c control.Check) bool {
	rest := c.Text + " | " + c.Cause + " | " + c.Fix
	for _, w := range strings.Split(ill.words, "...") {
		at := strings.Index(rest, w)
		if at < 0 {
			return false
		}
		rest = rest[at+len(w):]
	}
	return c.ID == ill.id && c.Verdict == ill.verdict
}

func drop(reason encap.Drop, in uint64, latest time.Time) func(*patient) {
	return func(p *patient) {
		p.Status.Drops = append(p.Status.Drops, control.Drops{Reason: reason.String(), Number: int(reason), In: in, Latest: latest,
			Meaning: "the meaning", Hint: "the hint"})
	}
}

func file(name, text string) func(*patient) {
	return func(p *patient) {
		if text == "" {
			delete(p.files, name)
		} else {
			p.files[name] = text
		}
	}
}

func unreadable(name string) func(*patient) {
	return func(p *patient) { p.unread = map[string]error{name: fs.ErrPermission} }
}

// inner is the start of an IPv4 packet.
func inner(src, dst string) []byte {
	p := make([]byte, 28)
	p[0] = 0x45
	copy(p[12:], ip(src).AsSlice())
	copy(p[16:], ip(dst).AsSlice())
	return p
}

func record(reason encap.Drop, remote, src string, vni uint32) trace.Record {
	return trace.Record{Drop: reason, Dir: trace.In, Remote: at(remote), VNI: vni, Prefix: 8, Snap: append(make([]byte, 8), inner(src, "10.244.1.5")...)}
}

func both(list ...func(*patient)) func(*patient) {
	return func(p *patient) {
		for _, f := range list {
			f(p)
		}
	}
}

func noDaemon(p *patient) { p.Status, p.Subject.Why = nil, "no socket" }

func TestIllnesses(t *testing.T) {
	list := slices.Concat(hostIlls, nodeIlls, clusterIlls, peerIlls)
	sick := map[string]bool{}
	for _, ill := range list {
		t.Run(ill.id+"/"+ill.name, func(t *testing.T) {
			p := newPatient()
			ill.make(p)
			r := p.run(t.Context())
			if !slices.ContainsFunc(r.Checks, ill.matches) {
				t.Errorf("want %s %q, found%s", ill.verdict, ill.words, show(r, ill.id))
			}
			for _, c := range r.Checks {
				if c.Text == "" || c.ID == "" || c.Verdict == control.Skip && c.Cause == "" || c.Verdict == control.Fail && c.ID != "peer" && c.Fix == "" {
					t.Errorf("half a finding: %+v", c)
				}
			}
		})
		if ill.verdict != control.Pass {
			sick[ill.id] = true
		}
	}
	for _, row := range Table() {
		if !sick[row.ID] {
			t.Errorf("no illness shows that check %q can find one", row.ID)
		}
		if row.About == "" {
			t.Errorf("check %q does not say what it looks at", row.ID)
		}
	}
}

var hostIlls = []illness{
	{"no node", func(p *patient) { p.tunErr, p.Engine.Open = fs.ErrNotExist, false }, "tun", control.Fail, "does not open...no device node...mknod"},
	{"no right", func(p *patient) { p.tunErr, p.Engine.Open = unix.EACCES, false }, "tun", control.Fail, "chmod 666"},
	{"no driver", func(p *patient) { p.tunErr, p.Engine.Open = unix.ENODEV, false }, "tun", control.Fail, "no TUN driver...modprobe tun"},
	{"device cgroup", func(p *patient) { p.tunErr, p.Engine.Open = unix.EPERM, false }, "tun", control.Fail, "cgroup...--device /dev/net/tun"},
	{"held already", func(p *patient) { p.tunErr = fs.ErrNotExist }, "tun", control.Warn, "holds its device already"},
	{"none", file("/proc/self/status", "Uid:\t998\t998\t998\t998\nCapEff:\t0000000000000000"), "caps", control.Warn, "no capability (unprivileged uid 998)...setcap"},
	{"none and no daemon", both(noDaemon, file("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t0")), "caps", control.Info, "needs NET_ADMIN"},
	{"not the node's", both(func(p *patient) { p.Subject.Beside = true }, file("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t0")), "caps", control.Info, "this process has no capability"},
	{"not the node's", func(p *patient) { p.Subject.Beside = true }, "caps", control.Pass, "this process has NET_ADMIN only"},
	{"nonsense", file("/proc/self/status", "CapEff:\tx"), "caps", control.Skip, "CapEff"},
	{"root", file("/proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff"), "caps", control.Pass, "NET_ADMIN, ...others (root)"},
	{"apparmor", file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1"), "userns", control.Info, "only root...AppArmor profile"},
	{"settings hidden", file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", ""), "userns", control.Skip, "none of the settings"},
	{"vxlan loaded", file("/sys/module/vxlan/initstate", "live"), "modules", control.Info, "vxlan: loaded, wireguard: absent"},
	{"off", file("/proc/sys/net/ipv4/ip_forward", "0"), "ip_forward", control.Fail, "sysctl -w net.ipv4.ip_forward=1"},
	{"off on the device", file("/proc/sys/net/ipv4/conf/flannel0/forwarding", "0"), "ip_forward", control.Fail, "sysctl -w net.ipv4.conf.flannel0.forwarding=1"},
	{"IPv6 off", both(func(p *patient) { p.Node.Subnet6 = pfx("fd00:1::/64") }, file("/proc/sys/net/ipv6/conf/all/forwarding", "0")), "ip_forward", control.Fail, "net.ipv6.conf.all.forwarding=1"},
	{"hidden", unreadable("/proc/sys/net/ipv4/ip_forward"), "ip_forward", control.Skip, "permission denied"},
	{"strict beside another way", both(file("/proc/sys/net/ipv4/conf/flannel0/rp_filter", "1"), file("/proc/thread-self/net/netstat", "TcpExt: A IPReversePathFilter\nTcpExt: 0 17"),
		func(p *patient) {
			p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.2.0/24"), Link: "eth1"})
		}), "rp_filter", control.Fail, "net.ipv4.conf.flannel0.rp_filter is strict...10.244.2.1 (back through eth1)...17 packets...rp_filter=2"},
	{"strict, but all is well", file("/proc/sys/net/ipv4/conf/all/rp_filter", "1"), "rp_filter", control.Pass, "no link drops"},
	{"loose beside another way", both(file("/proc/sys/net/ipv4/conf/flannel0/rp_filter", "2"), file("/proc/sys/net/ipv4/conf/all/rp_filter", "1"),
		func(p *patient) {
			p.fake.routes = append(p.fake.routes, Route{Dst: pfx("10.244.2.0/24"), Link: "eth1"})
		}), "rp_filter", control.Pass, "no link drops"},
	{"strict underlay", both(file("/proc/sys/net/ipv4/conf/all/rp_filter", "1"), file("/proc/sys/net/ipv4/conf/eth0/rp_filter", "0"), func(p *patient) {
		p.ways = map[netipAddr]Route{ip("192.0.2.12"): {Link: "eth1"}}
	}), "rp_filter", control.Fail, "eth0.rp_filter is strict...192.0.2.12 (back through eth1)...all.rp_filter=1"},
	{"hidden", unreadable("/proc/sys/net/ipv4/conf/all/rp_filter"), "rp_filter", control.Skip, "permission denied"},
	{"no daemon", noDaemon, "rp_filter", control.Info, "not known without a daemon"},
	{"docker", func(p *patient) { p.fake.chains = p.fake.chains[:1] }, "forward-policy", control.Fail,
		"ip filter FORWARD (iptables-nft) drops by policy...iptables-nft -I FORWARD -s 10.244.0.0/16 -j ACCEPT"},
	{"docker, no daemon", both(noDaemon, func(p *patient) { p.fake.chains = p.fake.chains[:1] }), "forward-policy", control.Warn, "a node adds such a rule when it starts"},
	{"only under conditions", func(p *patient) { p.fake.chains[1].Rules[0].Other, p.fake.chains[1].Rules[1].Other = true, true }, "forward-policy", control.Warn, "only under conditions"},
	{"a rule by name", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "nftables", Family: "inet", Table: "fw", Name: "fwd", Hook: "forward",
			Rules: []Rule{{Verdict: "drop", Dst: pfx("10.244.2.0/24")}}})
	}, "forward-policy", control.Fail, "inet fw fwd (nftables) drops to 10.244.2.0/24...nft list chain inet fw fwd"},
	{"raw", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "iptables-nft", Family: "ip", Table: "raw", Name: "PREROUTING", Hook: "prerouting",
			Rules: []Rule{{Verdict: "drop", Src: pfx("10.244.2.0/24")}}})
	}, "forward-policy", control.Fail, "ip raw PREROUTING (iptables-nft) drops from 10.244.2.0/24...`iptables-nft -t raw -S`"},
	{"mangle, by policy", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "iptables-legacy", Family: "ip", Table: "mangle", Name: "POSTROUTING", Hook: "postrouting", Drop: true})
	}, "forward-policy", control.Fail, "ip mangle POSTROUTING (iptables-legacy) drops by policy...iptables-legacy -t mangle -I POSTROUTING -s 10.244.0.0/16"},
	{"raw and the port", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "iptables-nft", Family: "ip", Table: "raw", Name: "PREROUTING", Hook: "prerouting",
			Rules: []Rule{{Verdict: "drop", UDP: true, Port: 8472}}})
	}, "port-policy", control.Fail, "ip raw PREROUTING (iptables-nft) drops udp port 8472"},
	{"a network policy", func(p *patient) {
		p.fake.chains[1].Rules = append(p.fake.chains[1].Rules, Rule{Verdict: "drop", Dst: pfx("10.244.1.9/32"), Other: true})
	}, "forward-policy", control.Info, "under further conditions"},
	{"drops all", func(p *patient) { p.fake.chains[0].Rules = []Rule{{Verdict: "drop"}} }, "forward-policy", control.Fail, "drops everything"},
	{"hidden", func(p *patient) { p.fake.chains, p.chainsErr = nil, fs.ErrPermission }, "forward-policy", control.Skip, "permission denied"},
	{"half hidden", func(p *patient) { p.chainsErr = fs.ErrPermission }, "forward-policy", control.Skip, "some packet filters cannot be listed"},
	{"firewall on the port", func(p *patient) {
		p.fake.chains[2].Rules = []Rule{{Verdict: "drop", UDP: true, Port: 8472}}
	}, "port-policy", control.Fail, "ip filter INPUT (iptables-nft) drops udp port 8472"},
	{"policy", func(p *patient) { p.fake.chains[2].Drop = true }, "port-policy", control.Fail, "drops by policy...-I INPUT -p udp --dport 8472 -j ACCEPT"},
	{"a peer is locked out", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "nftables", Family: "inet", Table: "fw", Name: "in", Hook: "input",
			Rules: []Rule{{Verdict: "drop", Src: pfx("192.0.2.12/32")}}})
	}, "port-policy", control.Fail, "from 192.0.2.12/32"},
	{"policy, and an accept by wildcard", func(p *patient) {
		p.fake.chains[2].Drop, p.fake.chains[2].Rules = true, []Rule{{Verdict: "accept", In: "eth*"}}
	}, "port-policy", control.Pass, "no rule drops"},
	{"no daemon", noDaemon, "port-policy", control.Skip, "no daemon answered"},
	{"both", func(p *patient) {
		p.fake.chains = append(p.fake.chains, Chain{Place: "iptables-legacy", Family: "ip", Table: "filter", Name: "FORWARD", Hook: "forward", Rules: []Rule{{Verdict: "accept"}}})
	}, "nft-legacy", control.Warn, "both iptables-legacy (1) and iptables-nft (5)"},
	{"hidden", func(p *patient) { p.fake.chains, p.chainsErr = nil, fs.ErrPermission }, "nft-legacy", control.Skip, "permission"},
	{"absent", file("/proc/sys/net/bridge/bridge-nf-call-iptables", ""), "br_netfilter", control.Info, "absent"},
	{"full", file("/proc/sys/net/netfilter/nf_conntrack_count", "65536"), "conntrack", control.Fail, "full...nf_conntrack_max=131072"},
	{"nearly full", file("/proc/sys/net/netfilter/nf_conntrack_count", "60000"), "conntrack", control.Warn, "60000 of 65536"},
	{"nonsense", file("/proc/sys/net/netfilter/nf_conntrack_max", "many"), "conntrack", control.Skip, "not a number"},
	{"absent", file("/proc/sys/net/netfilter/nf_conntrack_count", ""), "conntrack", control.Pass, "not tracked"},
	{"small and bound", both(file("/proc/sys/net/core/rmem_max", "212992"), file("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t0"),
		func(p *patient) { p.Engine.Ports[0].Drops = 2 }), "udp-rcvbuf", control.Warn, "212992, 7340032 wanted; 2 datagrams...sysctl -w net.core.rmem_max=7340032"},
	{"small, in a user namespace", both(file("/proc/sys/net/core/rmem_max", "212992"), file("/proc/self/uid_map", "0 1000 1")), "udp-rcvbuf", control.Warn, "NET_ADMIN on the host"},
	{"small, but overridden", file("/proc/sys/net/core/rmem_max", "212992"), "udp-rcvbuf", control.Pass, "overrides the limit"},
	{"small, no daemon", both(noDaemon, file("/proc/sys/net/core/rmem_max", "212992")), "udp-rcvbuf", control.Info, "would have to do with less"},
	{"overrun", func(p *patient) { p.Engine.Ports[0].Drops = 9 }, "udp-rcvbuf", control.Warn, "9 datagrams...more processors"},
	{"hidden", file("/proc/sys/net/core/rmem_max", ""), "udp-rcvbuf", control.Skip, "rmem_max"},
	{"overrun, limit hidden", both(file("/proc/sys/net/core/rmem_max", ""), func(p *patient) { p.Engine.Ports[0].Drops = 9 }), "udp-rcvbuf", control.Warn, "9 datagrams"},
	{"small and bound", both(file("/proc/sys/net/core/wmem_max", "212992"), file("/proc/self/status", "Uid:\t1\t1\t1\t1\nCapEff:\t0")), "udp-sndbuf", control.Warn, "net.core.wmem_max=7340032"},
}

// A run that is cut short says so for each check it did not make.
func TestNoTime(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	r := newPatient().run(ctx)
	for _, c := range r.Checks {
		if c.Peer == "" && (c.Verdict != control.Skip || !strings.Contains(c.Cause, "no time left")) {
			t.Errorf("%+v, want it skipped", c)
		}
	}
	if len(r.Checks) < len(Table())-len(peerRows) {
		t.Errorf("%d checks", len(r.Checks))
	}
}

// Peers that time was not left for are said not to be asked, and nothing else
// is said of their answers.
func TestNoTimeForPeers(t *testing.T) {
	p := newPatient()
	p.Peers = nil
	for i := range 2 * maxProbes {
		p.Peers = append(p.Peers, control.Peer{Name: fmt.Sprintf("p%d", i), Public: ip("192.0.2.12"), State: control.PeerOK})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int32
	s := p.Subject
	s.System, s.Status = p.fake, p.Status
	s.Peer = func(ctx context.Context, peer control.Peer) PeerProbe {
		if _, bound := ctx.Deadline(); !bound {
			t.Errorf("%s is given all the time", peer.Name)
		}
		if asked.Add(1) == maxProbes {
			cancel() // only now: as many are asked at once
		}
		<-ctx.Done()
		return PeerProbe{}
	}
	r := Run(ctx, s)
	skipped := 0
	for _, c := range r.Checks {
		if strings.Contains(c.Text, "✗") || c.Peer != "" && (c.Verdict == control.Fail || c.Verdict == control.Warn) {
			t.Errorf("%s %s %s: %s, of one that was not asked", c.Verdict, c.ID, c.Peer, c.Text)
		}
		if c.ID == "peer-state" && c.Verdict == control.Skip && strings.Contains(c.Cause, "time was over") {
			skipped++
		}
	}
	if asked.Load() != maxProbes || skipped != len(p.Peers) {
		t.Errorf("%d peers were asked, %d skipped; want %d and %d", asked.Load(), skipped, maxProbes, len(p.Peers))
	}
}
