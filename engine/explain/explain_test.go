package explain

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"weft/encap"
	"weft/engine/control"
)

var update = flag.Bool("update", false, "write testdata/answers.txt anew")

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ip(s string) netip.Addr     { return netip.MustParseAddr(s) }
func cidr(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// A fakeKernel answers from a table of routes, longest prefix first, and counts
// 127.0.0.0/8 and what is in local as the host's own.
type fakeKernel struct {
	routes   []Route
	sysctls  map[string]string
	filter   map[string]Judgement // by "in>out"
	refuse   map[string]string    // by the interface the packet comes in by
	broken   error
	lookups  []Lookup
	passages []Passage
}

func (k *fakeKernel) Route(_ context.Context, l Lookup) (Route, error) {
	k.lookups = append(k.lookups, l)
	if k.broken != nil {
		return Route{}, k.broken
	}
	if why := k.refuse[l.In]; why != "" && l.In != "" {
		return Route{Type: "refused", Refuse: why}, nil
	}
	best := Route{Type: "none"}
	for _, r := range k.routes {
		if r.Dst.Contains(l.Dst) && (!best.Dst.IsValid() || r.Dst.Bits() > best.Dst.Bits()) {
			best = r
		}
	}
	return best, nil
}

func (k *fakeKernel) Sysctl(name string) (string, error) {
	if v, ok := k.sysctls[name]; ok {
		return v, nil
	}
	return "1", nil
}

func (k *fakeKernel) Filter(_ context.Context, p Passage) (Judgement, error) {
	k.passages = append(k.passages, p)
	if k.broken != nil {
		return Judgement{}, k.broken
	}
	if j, ok := k.filter[p.In+">"+p.Out]; ok {
		return j, nil
	}
	return Judgement{Verdict: "accept", Text: "nft has no chain at the forward hook"}, nil
}

// A scene is a node with its peers and its kernel, to be changed by a case.
type scene struct {
	Facts
	kernel *fakeKernel
	peers  []*Peer
	q      control.Question
}

func unicast(dst, dev string) Route {
	return Route{Type: "unicast", Dst: cidr(dst), Device: dev, Table: "main", Rule: 32766}
}

// newScene is node n1 of an overlay 10.244.0.0/16 over vxlan, with the peer n2.
func newScene() *scene {
	s := &scene{q: control.Question{Src: ip("10.244.1.5"), Dst: ip("10.244.2.7"), Proto: "tcp", Port: 80, Size: 1400, DF: true}}
	s.kernel = &fakeKernel{filter: map[string]Judgement{}, sysctls: map[string]string{}, refuse: map[string]string{}, routes: []Route{
		unicast("0.0.0.0/0", "eth0"), unicast("10.244.0.0/16", "flannel0"), unicast("10.244.1.0/24", "cni0"),
		unicast("fd00:244::/32", "flannel0"), unicast("fd00:244:1::/64", "cni0"), unicast("::/0", "eth0"),
		{Type: "local", Dst: cidr("10.244.1.0/32"), Device: "lo", Table: "local"},
		{Type: "local", Dst: cidr("192.0.2.11/32"), Device: "lo", Table: "local"},
	}}
	s.kernel.routes[1].MTU = 1450
	s.peers = []*Peer{{Name: "n2", Subnet: cidr("10.244.2.0/24"), Public: ip("192.0.2.12"), Kind: "vxlan", VNI: 1,
		Endpoint: netip.MustParseAddrPort("192.0.2.12:8472"), Overhead: 50, State: control.PeerOK, Expires: now.Add(22*time.Hour + 41*time.Minute)},
		{Name: "n3", Subnet: cidr("10.244.3.0/24"), Public: ip("192.0.2.13"), Kind: "udp",
			Endpoint: netip.MustParseAddrPort("192.0.2.13:8285"), Overhead: 28, State: control.PeerOK}}
	s.Facts = Facts{
		Node: control.NodeInfo{Name: "n1", Subnet: cidr("10.244.1.0/24"), Network: cidr("10.244.0.0/16"), Public: ip("192.0.2.11"),
			Backend: "vxlan", Devices: []string{"flannel0"}, MTU: 1450, Iface: "eth0", IfaceMTU: 1500},
		Engine: control.Engine{Open: true, SourceCheck: "strict"}, Listed: true, Now: now, Kernel: s.kernel,
		Lookup: func(a netip.Addr) (Peer, bool) {
			for _, p := range s.peers {
				if p.Subnet.Contains(a) {
					return *p, true
				}
			}
			return Peer{}, false
		},
	}
	return s
}

// dual gives the scene IPv6.
func (s *scene) dual() {
	s.Node.Subnet6, s.Node.Network6 = cidr("fd00:244:1::/64"), cidr("fd00:244::/32")
	six := *s.peers[0]
	six.Subnet = cidr("fd00:244:2::/64")
	s.peers = append(s.peers, &six)
	s.q.Src, s.q.Dst, s.q.DF = ip("fd00:244:1::5"), ip("fd00:244:2::7"), false
}

func (s *scene) wireguard() *Peer {
	p := s.peers[0]
	p.Kind, p.VNI, p.Endpoint, p.Overhead = "wireguard", 0, netip.MustParseAddrPort("192.0.2.12:51820"), 60
	p.Key, p.Handshake, p.Limit = "aPxGwq8zERHQ3Q1cOZFdJ+cvJX5Ka4mLN38AyYKYF10=", now.Add(-65*time.Second), 1440
	return p
}

func (s *scene) sees(v View) {
	v.Time = now.Add(-12 * time.Second)
	s.View = func(context.Context, Peer, netip.Addr) (View, error) { return v, nil }
}

// good is how n2 sees us when all is well.
var good = View{Subnet: cidr("10.244.1.0/24"), Kind: "vxlan", Endpoint: netip.MustParseAddrPort("192.0.2.11:8472"), Limit: 1450}

// cases are questions with what makes them special, and the verdicts to expect;
// the whole answers are in testdata/answers.txt.
var cases = []struct {
	name    string
	set     func(*scene)
	verdict string
	drop    encap.Drop
	back    bool // the way back fails
}{
	{"plain", func(*scene) {}, Deliver, 0, false},
	{"weft peer", func(s *scene) { s.sees(good) }, Deliver, 0, false},
	{"too big", func(s *scene) { s.q.Size = 1500 }, TooBig, 0, false},
	{"too big for the path", func(s *scene) {
		s.q.Size = 1400
		s.peers[0].Limit, s.peers[0].PathMTU, s.peers[0].Probed = 1350, 1400, now.Add(-14*time.Second)
	}, TooBig, encap.TooBig, false},
	{"too big, and lost when smaller", func(s *scene) { s.q.Size, s.peers[0].State = 1500, control.PeerDown }, TooBig, 0, false},
	{"too big from the host", func(s *scene) { s.q.Size, s.q.Src = 1500, ip("10.244.1.0") }, TooBig, 0, false},
	{"fragments", func(s *scene) { s.q.Size, s.q.DF = 4000, false }, Fragment, 0, false},
	{"IPv6", (*scene).dual, Deliver, 0, false},
	{"IPv6 too big", func(s *scene) { s.dual(); s.q.Size = 2000 }, TooBig, 0, false},
	{"IPv6 off", func(s *scene) { s.dual(); s.Node.Subnet6 = netip.Prefix{} }, NotOurs, 0, false},
	{"no lease of our own", func(s *scene) { s.Node.Subnet = netip.Prefix{} }, NotOurs, 0, false},
	{"own subnet", func(s *scene) { s.q.Dst = ip("10.244.1.9") }, NotOurs, 0, false},
	{"own subnet, no pod", func(s *scene) {
		s.q.Dst, s.q.Src = ip("10.244.1.9"), ip("10.244.1.0")
		s.kernel.routes[2] = Route{Type: "blackhole", Dst: cidr("10.244.1.0/24"), Table: "main"}
	}, Drop, 0, false},
	{"own subnet loops", func(s *scene) { s.q.Dst = ip("10.244.1.9"); s.kernel.routes[2].Dst = cidr("10.244.1.5/32") }, Drop, encap.OwnSubnet, false},
	{"own address", func(s *scene) { s.q.Dst = ip("192.0.2.11") }, NotOurs, 0, false},
	{"no lease", func(s *scene) { s.q.Dst = ip("10.244.77.1") }, Drop, encap.NoRoute, false},
	{"not listed", func(s *scene) { s.q.Dst = ip("10.244.77.1"); s.Listed = false }, Drop, encap.NoRoute, false},
	{"the world", func(s *scene) { s.q.Dst = ip("198.51.100.1") }, NotOurs, 0, false},
	{"multicast", func(s *scene) { s.q.Dst, s.q.Proto, s.q.Port = ip("224.0.0.251"), "udp", 5353 }, NotOurs, 0, false},
	{"multicast into the device", func(s *scene) {
		s.q.Dst = ip("224.0.0.251")
		s.kernel.routes = append(s.kernel.routes, Route{Type: "multicast", Dst: cidr("224.0.0.0/4"), Device: "flannel0"})
	}, Drop, encap.Multicast, false},
	{"link-local", func(s *scene) {
		s.q.Dst = ip("169.254.1.1")
		s.kernel.routes = append(s.kernel.routes, unicast("169.254.0.0/16", "flannel0"))
	}, Drop, encap.LinkLocal, false},
	{"forged source", func(s *scene) { s.q.Src = ip("10.244.3.9") }, Drop, encap.InnerSrcNotLeased, false},
	{"unleased source", func(s *scene) { s.q.Src = ip("10.244.99.9") }, Drop, encap.InnerSrcNotLeased, false},
	{"from the host's own address", func(s *scene) { s.q.Src = ip("192.0.2.11") }, Drop, encap.InnerSrcNotLeased, true},
	{"masqueraded", func(s *scene) { s.q.Src = ip("192.0.2.11"); s.Masq = true }, Deliver, 0, false},
	{"a wrong device", func(s *scene) { s.kernel.routes = append(s.kernel.routes, unicast("10.244.2.0/24", "tun5")) }, NotOurs, 0, false},
	{"another table", func(s *scene) {
		r := unicast("0.0.0.0/1", "wg9")
		r.Table, r.Rule = "51820", 100
		s.kernel.routes = append(s.kernel.routes[:1], r, s.kernel.routes[2])
	}, NotOurs, 0, false},
	{"no kernel route", func(s *scene) { s.kernel.routes = s.kernel.routes[2:3] }, Drop, 0, false},
	{"forwarding off", func(s *scene) { s.kernel.sysctls["net/ipv4/conf/cni0/forwarding"] = "0" }, Drop, 0, false},
	{"refused by the kernel", func(s *scene) { s.kernel.refuse["cni0"] = "a martian" }, Drop, 0, false},
	{"rp_filter on the way back", func(s *scene) { s.kernel.refuse["flannel0"] = "reverse path filtering" }, Deliver, 0, true},
	{"forward policy", func(s *scene) {
		s.kernel.filter["cni0>flannel0"] = Judgement{"drop", "nft ip filter FORWARD: policy drop"}
	}, Drop, 0, false},
	{"forward policy on the way back", func(s *scene) {
		s.kernel.filter["flannel0>cni0"] = Judgement{"drop", "nft ip filter FORWARD: rule 3 drops it"}
	}, Deliver, 0, true},
	{"rules unknown", func(s *scene) {
		s.kernel.filter["cni0>flannel0"] = Judgement{"unknown", "nft ip filter FORWARD: policy drop, or not"}
	}, Deliver, 0, false},
	{"kernel cannot be asked", func(s *scene) { s.kernel.broken = errors.New("operation not permitted") }, Deliver, 0, false},
	{"closed", func(s *scene) { s.Engine.Open = false }, Drop, 0, false},
	{"sealed peer", func(s *scene) {
		s.peers[0].Drop, s.peers[0].Kind, s.peers[0].Endpoint = encap.WantsWireGuard, "wireguard", netip.AddrPort{}
	}, Drop, encap.WantsWireGuard, true},
	{"clear peer", func(s *scene) { s.peers[0].Drop = encap.NotWireGuard }, Drop, encap.NotWireGuard, false},
	{"no socket of the family", func(s *scene) { s.peers[0].Drop = encap.NoFamily }, Drop, encap.NoFamily, false},
	{"wireguard", func(s *scene) { s.wireguard() }, Deliver, 0, false},
	{"wireguard too big", func(s *scene) { s.wireguard(); s.q.Size = 1441 }, TooBig, encap.TooBig, false},
	{"wireguard silent", func(s *scene) {
		p, no := s.wireguard(), false
		p.Answers, p.Handshake = &no, time.Time{}
	}, Drop, encap.WGNoSession, false},
	{"wireguard device of the other family", func(s *scene) {
		s.wireguard().Device = "flannel-wg"
		s.Node.Devices = []string{"flannel-wg", "flannel0"}
	}, NotOurs, 0, false},
	{"peer down", func(s *scene) { s.peers[0].State, s.peers[0].Reason = control.PeerDown, "nothing heard for 5m" }, Drop, 0, false},
	{"peer unusable", func(s *scene) { s.peers[0].State, s.peers[0].Reason = control.PeerUnusable, "no address" }, Drop, 0, false},
	{"peer silent", func(s *scene) { s.peers[0].State = control.PeerSilent }, Deliver, 0, false},
	{"peer new", func(s *scene) { s.peers[0].State = control.PeerNew }, Deliver, 0, false},
	{"direct", func(s *scene) {
		s.peers[0].Direct = true
		r := unicast("10.244.2.0/24", "eth0")
		r.Via, r.MTU = ip("192.0.2.12"), 1500
		s.kernel.routes, s.q.Size = append(s.kernel.routes, r), 1500
	}, Deliver, 0, false},
	{"direct route by another gateway", func(s *scene) {
		s.peers[0].Direct = true
		r := unicast("10.244.2.0/24", "eth0")
		r.Via = ip("192.0.2.99")
		s.kernel.routes = append(s.kernel.routes, r)
	}, NotOurs, 0, false},
	{"not a weft peer", func(s *scene) {
		s.View = func(context.Context, Peer, netip.Addr) (View, error) {
			return View{}, fmt.Errorf("asking: %w", ErrNotWeft)
		}
	}, Deliver, 0, false},
	{"view not told", func(s *scene) {
		s.View = func(context.Context, Peer, netip.Addr) (View, error) {
			return View{}, errors.New("no answer within 1s")
		}
	}, Deliver, 0, false},
	{"peer knows no lease of ours", func(s *scene) { s.sees(View{}) }, Drop, encap.InnerSrcNotLeased, true},
	{"peer takes another node for us", func(s *scene) {
		v := good
		v.Endpoint = netip.MustParseAddrPort("192.0.2.44:8472")
		s.sees(v)
	}, Drop, encap.InnerSrcNotLeased, true},
	{"peer would not send", func(s *scene) { v := good; v.Drop = "peer_wants_wireguard"; s.sees(v) }, Deliver, 0, true},
	{"asymmetric", func(s *scene) {
		v := good
		v.Kind, v.Endpoint = "udp", netip.MustParseAddrPort("192.0.2.11:8285")
		s.sees(v)
	}, Deliver, 0, false},
	{"peer sends from another address", func(s *scene) { v := good; v.From = ip("192.0.2.99"); s.sees(v) }, Deliver, encap.Delivered, true},
	{"the same without a source check", func(s *scene) {
		v := good
		v.From, s.Engine.SourceCheck = ip("192.0.2.99"), "report"
		s.sees(v)
	}, Deliver, 0, false},
	{"no such pod here", func(s *scene) { s.kernel.routes[2].Dst = cidr("10.244.1.8/32") }, Deliver, 0, true},
}

func TestExplain(t *testing.T) {
	var all strings.Builder
	for _, c := range cases {
		s := newScene()
		c.set(s)
		got, err := Explain(t.Context(), s.q, s.Facts)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		drop := ""
		if c.drop != encap.Delivered {
			drop = c.drop.String()
		}
		if got.Verdict != c.verdict || got.Drop != drop {
			t.Errorf("%s: verdict %s, drop %q; want %s, %q: %s", c.name, got.Verdict, got.Drop, c.verdict, drop, got.Text)
		}
		back := false
		for _, st := range got.Return {
			back = back || !st.OK
		}
		if back != c.back {
			t.Errorf("%s: the way back fails: %v, want %v", c.name, back, c.back)
		}
		fmt.Fprintf(&all, "-- %s --\n%s", c.name, render(got))
	}
	if *update {
		if err := os.WriteFile("testdata/answers.txt", []byte(all.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile("testdata/answers.txt")
	if err != nil {
		t.Fatal(err)
	}
	g, w := strings.Split(all.String(), "\n"), strings.Split(string(want), "\n")
	for i := range max(len(g), len(w)) {
		if i >= len(g) || i >= len(w) || g[i] != w[i] {
			t.Fatalf("testdata/answers.txt:%d: another answer (see -update):\n got %q\nwant %q", i+1, at(g, i), at(w, i))
		}
	}
}

func at(lines []string, i int) string {
	if i < len(lines) {
		return lines[i]
	}
	return "(the end)"
}

// render writes an answer for people to read in testdata.
func render(e control.Explanation) string {
	var b strings.Builder
	for i, steps := range [...][]control.Step{e.Steps, e.Return} {
		for _, s := range steps {
			mark := map[bool]string{true: " ", false: "✗"}[s.OK]
			fmt.Fprintf(&b, "%s %s %-7s %s\n", [...]string{"→", "←"}[i], mark, s.Stage, s.Text)
		}
	}
	fmt.Fprintf(&b, "= %s\n", e.Text)
	return b.String()
}

// What only the direction of asking shows: forwarded packets are looked up with
// their source and the interface they come in by, the host's own without one, and
// answers come in by the device.
func TestLookups(t *testing.T) {
	s := newScene()
	if _, err := Explain(t.Context(), s.q, s.Facts); err != nil {
		t.Fatal(err)
	}
	want := []Lookup{{Dst: s.q.Src}, {Dst: s.q.Dst, Src: s.q.Src, In: "cni0"}, {Dst: s.q.Src, Src: s.q.Dst, In: "flannel0"}}
	if fmt.Sprint(s.kernel.lookups) != fmt.Sprint(want) {
		t.Errorf("looked up %v, want %v", s.kernel.lookups, want)
	}
	there := Passage{Src: s.q.Src, Dst: s.q.Dst, Proto: 6, Port: 80, In: "cni0", Out: "flannel0"}
	back := Passage{Src: s.q.Dst, Dst: s.q.Src, Proto: 6, In: "flannel0", Out: "cni0", Reply: true}
	if p := s.kernel.passages; len(p) != 2 || p[0] != there || p[1] != back {
		t.Errorf("filtered %+v, want %+v and %+v", p, there, back)
	}
	s = newScene()
	s.q.Src = ip("10.244.1.0")
	if _, err := Explain(t.Context(), s.q, s.Facts); err != nil {
		t.Fatal(err)
	}
	if l := s.kernel.lookups[1]; l.In != "" || l.Src != s.q.Src {
		t.Errorf("the host's own packet is looked up as %+v", l)
	}
}

// The peer is asked once, for the address that the packet bears in the overlay.
func TestViewIsAskedOnce(t *testing.T) {
	s := newScene()
	s.q.Src, s.Masq = ip("192.0.2.11"), true
	var asked []netip.Addr
	s.View = func(_ context.Context, p Peer, a netip.Addr) (View, error) {
		asked = append(asked, a)
		return good, nil
	}
	if _, err := Explain(t.Context(), s.q, s.Facts); err != nil {
		t.Fatal(err)
	}
	if len(asked) != 1 || asked[0] != ip("10.244.1.0") {
		t.Errorf("asked for %v, want 10.244.1.0 once", asked)
	}
}

func TestMaxSize(t *testing.T) {
	s := newScene()
	s.peers[0].Limit = 1350
	for size, verdict := range map[int]string{1350: Deliver, 1351: TooBig} {
		s.q.Size = size
		if e, err := Explain(t.Context(), s.q, s.Facts); err != nil || e.MaxSize != 1350 || e.Verdict != verdict {
			t.Errorf("%d bytes: %s, at most %d (%v); want %s, 1350", size, e.Verdict, e.MaxSize, err, verdict)
		}
	}
}

// What the packet filter may drop is not promised, in words and for programs.
func TestDoubt(t *testing.T) {
	for _, c := range []struct {
		way  string
		text string
	}{
		{"cni0>flannel0", "DELIVER to n2 192.0.2.12, unless the packet filter drops it: rule 1"},
		{"flannel0>cni0", "; the answer arrives unless the packet filter drops that: rule 1"},
	} {
		s := newScene()
		s.kernel.filter[c.way] = Judgement{"unknown", "rule 1"}
		e, err := Explain(t.Context(), s.q, s.Facts)
		must(t, err)
		doubts := 0
		for _, st := range append(e.Steps, e.Return...) {
			if st.Facts["certain"] == "false" {
				doubts++
			}
		}
		if !strings.Contains(e.Text, c.text) || doubts != 1 {
			t.Errorf("%s: %q, %d steps are not certain; want %q and 1", c.way, e.Text, doubts, c.text)
		}
	}
}
