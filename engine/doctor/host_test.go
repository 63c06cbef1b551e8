package doctor

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"

	"weft/engine/control"
	"weft/engine/internal/nstest"
)

// run runs a program in the namespace of the test's thread.
func run(t *testing.T, line string) {
	t.Helper()
	f := strings.Fields(line)
	if _, err := exec.LookPath(f[0]); err != nil {
		t.Skipf("needs %s", f[0])
	}
	if out, err := exec.Command(f[0], f[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", line, err, out)
	}
}

// up sets a link up and gives it an address.
func up(t *testing.T, name, address string) {
	t.Helper()
	l, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(l); err != nil {
		t.Fatal(err)
	}
	a, err := netlink.ParseAddr(address)
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.AddrAdd(l, a); err != nil {
		t.Fatal(err)
	}
}

// pair makes a veth pair of which the far end is in a namespace of its own,
// with an address.
func pair(t *testing.T, near, far, address string) {
	t.Helper()
	here, err := netns.Get()
	if err != nil {
		t.Fatal(err)
	}
	defer here.Close()
	there, err := netns.New() // moves this thread
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
	v := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: near, MTU: 1400}, PeerName: far, PeerNamespace: netlink.NsFd(there)}
	if err := netlink.LinkAdd(v); err != nil {
		t.Fatal(err)
	}
	if err := netns.Set(there); err != nil {
		t.Fatal(err)
	}
	up(t, far, address)
	if err := netns.Set(here); err != nil {
		t.Fatal(err)
	}
}

func TestHostLinksAndRoutes(t *testing.T) {
	nstest.Enter(t)
	pair(t, "eth0", "far0", "192.0.2.12/24")
	up(t, "eth0", "192.0.2.11/24")
	br := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "cni0"}}
	if err := netlink.LinkAdd(br); err != nil {
		t.Fatal(err)
	}
	up(t, "cni0", "10.244.1.1/24")
	_, dst, _ := net.ParseCIDR("10.244.0.0/16")
	if err := netlink.RouteAdd(&netlink.Route{Dst: dst, Gw: net.IPv4(192, 0, 2, 12)}); err != nil {
		t.Fatal(err)
	}
	_, none, _ := net.ParseCIDR("10.9.0.0/16")
	if err := netlink.RouteAdd(&netlink.Route{Dst: none, Type: unix.RTN_BLACKHOLE}); err != nil {
		t.Fatal(err)
	}
	var h Host
	links, err := h.Links()
	if err != nil {
		t.Fatal(err)
	}
	find := func(name string) Link {
		i := slices.IndexFunc(links, func(l Link) bool { return l.Name == name })
		if i < 0 {
			t.Fatalf("no %s in %v", name, links)
		}
		return links[i]
	}
	if l := find("eth0"); l.Kind != "veth" || l.MTU != 1400 || !l.Up || !slices.ContainsFunc(l.Addrs, func(a Address) bool { return a.Prefix == pfx("192.0.2.11/24") && !a.Duplicate }) {
		t.Errorf("eth0: %+v", l)
	}
	if l := find("cni0"); l.Kind != "bridge" {
		t.Errorf("cni0: %+v", l)
	}
	if l := find("lo"); l.Up {
		t.Errorf("lo: %+v, want it down", l)
	}
	routes, err := h.Routes()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []Route{{Dst: pfx("10.244.0.0/16"), Link: "eth0", Via: ip("192.0.2.12")}, {Dst: pfx("10.9.0.0/16")},
		{Dst: pfx("192.0.2.0/24"), Link: "eth0", Src: ip("192.0.2.11")}} {
		if !slices.Contains(routes, want) {
			t.Errorf("no %+v in %+v", want, routes)
		}
	}
	if r, err := h.RouteTo(ip("10.244.2.1")); err != nil || r.Link != "eth0" || r.Via != ip("192.0.2.12") || r.Src != ip("192.0.2.11") {
		t.Errorf("way to 10.244.2.1: %+v, %v", r, err)
	}
	for _, a := range []string{"203.0.113.1", "10.9.1.1"} {
		if r, err := h.RouteTo(ip(a)); err == nil {
			t.Errorf("way to %s: %+v, want an error", a, r)
		}
	}
}

// Another host with our address answers a probe; a host with another does not,
// and neither do we.
func TestHostClaimed(t *testing.T) {
	for far, want := range map[string]bool{"192.0.2.11/24": true, "192.0.2.12/24": false} {
		t.Run(far, func(t *testing.T) {
			nstest.Enter(t)
			pair(t, "eth0", "far0", far)
			up(t, "eth0", "192.0.2.11/24")
			mac, err := Host{}.Claimed(t.Context(), "eth0", ip("192.0.2.11"))
			if err != nil || (mac != "") != want {
				t.Errorf("claimed by %q, %v; want somebody: %v", mac, err, want)
			}
		})
	}
	t.Run("no Ethernet", func(t *testing.T) {
		nstest.Enter(t)
		if mac, err := (Host{}).Claimed(t.Context(), "lo0", ip("127.0.0.1")); err == nil {
			t.Errorf("claimed by %q", mac)
		}
	})
}

func TestHostSockets(t *testing.T) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	want := c.LocalAddr().(*net.UDPAddr).AddrPort()
	list, err := Host{}.Sockets()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(list, func(s Socket) bool { return s.Local == want })
	if i < 0 || list[i].PID != os.Getpid() || list[i].Command == "" {
		t.Errorf("no socket at %v of pid %d in %+v", want, os.Getpid(), list)
	}
}

func TestHostProcesses(t *testing.T) {
	c := exec.Command("cat") // until its input ends
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Skip(err)
	}
	defer c.Wait()
	defer in.Close()
	pids, err := Host{}.Processes("cat")
	if !slices.Contains(pids, c.Process.Pid) {
		t.Errorf("pids %v, %v; want %d among them", pids, err, c.Process.Pid)
	}
	t.Run("in another namespace", func(t *testing.T) {
		nstest.Enter(t)
		if pids, err := (Host{}).Processes("cat"); slices.Contains(pids, c.Process.Pid) {
			t.Errorf("pids %v, %v; want without %d", pids, err, c.Process.Pid)
		}
	})
}

// The policy that Docker sets is found, and found harmless once a rule accepts.
func TestHostForwardPolicy(t *testing.T) {
	for _, program := range []string{"iptables-nft", "iptables-legacy"} {
		t.Run(program, func(t *testing.T) {
			nstest.Enter(t)
			if out, err := exec.Command(program, "-S").CombinedOutput(); err != nil {
				t.Skipf("%s: %v: %s", program, err, out)
			}
			check := func() control.Check {
				v := newVisit(t.Context(), Subject{System: Host{}, Status: healthyNode()})
				list := checkForwardPolicy(v)
				if len(list) != 1 {
					t.Fatalf("found %+v", list)
				}
				return list[0]
			}
			if c := check(); c.Verdict != control.Pass {
				t.Fatalf("at first: %+v", c)
			}
			run(t, program+" -P FORWARD DROP")
			run(t, program+" -A FORWARD -i docker0 -o docker0 -j ACCEPT")
			run(t, program+" -A FORWARD -m conntrack --ctstate ESTABLISHED -j ACCEPT")
			if c := check(); c.Verdict != control.Fail || !strings.Contains(c.Fix, program+" -I FORWARD -s 10.244.0.0/16 -j ACCEPT") {
				t.Fatalf("with DROP: %+v", c)
			}
			run(t, program+" -N FLANNEL-FWD")
			run(t, program+" -A FORWARD -m comment --comment flanneld -j FLANNEL-FWD")
			run(t, program+" -A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment flanneld -j ACCEPT")
			if c := check(); c.Verdict != control.Pass {
				t.Fatalf("with an accept: %+v", c)
			}
			run(t, program+" -I FLANNEL-FWD -d 10.244.2.0/24 -j REJECT")
			if c := check(); c.Verdict != control.Fail || !strings.Contains(c.Text, "drops to 10.244.2.0/24") {
				t.Fatalf("with a reject: %+v", c)
			}
		})
	}
}

// A firewall on the port is found, whichever program wrote it.
func TestHostPortPolicy(t *testing.T) {
	for name, rules := range map[string][]string{
		"iptables-nft":    {"iptables-nft -A INPUT -p udp --dport 8472 -j DROP"},
		"iptables-legacy": {"iptables-legacy -A INPUT -p udp --dport 8472 -j DROP"},
		"raw":             {"iptables-nft -t raw -A PREROUTING -p udp --dport 8472 -j DROP"},
		"legacy raw":      {"iptables-legacy -t raw -A PREROUTING -p udp --dport 8472 -j DROP"},
		"nft, way out":    {"nft add table inet fw", "nft add chain inet fw out { type filter hook postrouting priority 300 ; }", "nft add rule inet fw out udp dport 8472 drop"},
		"nft":             {"nft add table inet fw", "nft add chain inet fw in { type filter hook input priority 0 ; }", "nft add rule inet fw in udp dport 8472 drop"},
		"nft, a peer":     {"nft add table ip fw", "nft add chain ip fw in { type filter hook input priority 0 ; }", "nft add rule ip fw in ip saddr 192.0.2.0/24 drop"},
		"nft, an interface": {"nft add table inet fw", "nft add chain inet fw in { type filter hook input priority 0 ; }",
			"nft add rule inet fw in iifname eth0 meta l4proto udp drop"},
	} {
		t.Run(name, func(t *testing.T) {
			nstest.Enter(t)
			program := strings.Fields(rules[0])[0]
			if strings.HasPrefix(program, "iptables") {
				if out, err := exec.Command(program, "-S").CombinedOutput(); err != nil {
					t.Skipf("%s: %v: %s", program, err, out)
				}
			}
			check := func() []control.Check {
				return checkPortPolicy(newVisit(t.Context(), Subject{System: Host{}, Status: healthyNode()}))
			}
			if c := check(); c[0].Verdict != control.Pass {
				t.Fatalf("at first: %+v", c)
			}
			for _, r := range rules {
				run(t, r)
			}
			if c := check(); len(c) != 1 || c[0].Verdict != control.Fail {
				t.Errorf("found %+v", c)
			}
		})
	}
}

// The checks of the host see what is switched there, with no daemon.
func TestHostRun(t *testing.T) {
	nstest.Enter(t)
	for value, want := range map[string]control.Verdict{"0": control.Fail, "1": control.Pass} {
		if err := os.WriteFile("/proc/sys/net/ipv4/ip_forward", []byte(value), 0); err != nil {
			t.Skip(err)
		}
		r := Run(t.Context(), Subject{System: Host{}, Why: "none here", SubnetFile: t.TempDir() + "/none"})
		for _, c := range r.Checks {
			if c.ID == "ip_forward" && c.Verdict != want {
				t.Errorf("ip_forward %s: %+v", value, c)
			}
			if c.ID == "lease" && (c.Verdict != control.Skip || !strings.Contains(c.Cause, "no daemon answered")) {
				t.Errorf("without a daemon: %+v", c)
			}
		}
	}
}

func TestSocketLine(t *testing.T) {
	local, inode, ok := socketLine("  118: 00000000000000000000000000000000:2118 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 20415 2 0 0")
	if !ok || local != netip.MustParseAddrPort("[::]:8472") || inode != "20415" {
		t.Errorf("%v %q %v", local, inode, ok)
	}
	for _, line := range []string{"", "sl local_address rem_address st tx rx tr tm retr uid timeout inode", "1: 0100007:0035 0 07 0 0 0 0 0 1 2", "1: 0100007F:XX 0 07 0 0 0 0 0 1 2"} {
		if a, _, ok := socketLine(line); ok {
			t.Errorf("%q is %v", line, a)
		}
	}
}

func TestLegacyRule(t *testing.T) {
	for line, want := range map[string]Rule{
		`-A FORWARD -s 10.244.0.0/16 -m comment --comment "flanneld \"x\" forward" -j ACCEPT`: {Verdict: "accept", Src: pfx("10.244.0.0/16")},
		`-A FORWARD -i docker0 ! -o docker0 -j DOCKER-ISOLATION`:                              {Verdict: "jump", Target: "DOCKER-ISOLATION", In: "docker0", Out: "docker0", Other: true},
		`-A INPUT -p udp -m udp --dport 8472 -j DROP`:                                         {Verdict: "drop", UDP: true, Port: 8472},
		`-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT`:                                         {Verdict: "accept", Port: 22, Other: true},
		`-A INPUT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`:                       {Verdict: "accept", Other: true},
		`-A INPUT -i flannel+ -j REJECT --reject-with icmp-port-unreachable`:                  {Verdict: "drop", In: "flannel*"},
		`-A INPUT -j RETURN`: {},
	} {
		if got := legacyRule(splitRule(line)[2:]); got != want {
			t.Errorf("%s\n got %+v\nwant %+v", line, got, want)
		}
	}
	if c := legacyChain("ip", "filter", "FORWARD", []string{"-P FORWARD DROP", "-A FORWARD -j ACCEPT"}); c.Hook != "forward" || !c.Drop || len(c.Rules) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestNFTRule(t *testing.T) {
	src := func(n uint32) expr.Any {
		return &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: 12, Len: n}
	}
	udp := xt.Unknown{0, 0, 0xff, 0xff, 0x18, 0x21, 0x18, 0x21, 0, 0}
	for name, x := range map[string]struct {
		exprs []expr.Any
		want  Rule
	}{
		"whole bytes":   {[]expr.Any{src(2), &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 244}}, &expr.Verdict{Kind: expr.VerdictAccept}}, Rule{Verdict: "accept", Src: pfx("10.244.0.0/16")}},
		"masked":        {[]expr.Any{src(4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Mask: []byte{255, 240, 0, 0}}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 240, 0, 0}}}, Rule{Src: pfx("10.240.0.0/12")}},
		"odd mask":      {[]expr.Any{src(4), &expr.Bitwise{SourceRegister: 1, DestRegister: 1, Mask: []byte{255, 0, 255, 0}}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{10, 0, 1, 0}}}, Rule{Other: true}},
		"not":           {[]expr.Any{src(2), &expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: []byte{10, 244}}, &expr.Verdict{Kind: expr.VerdictDrop}}, Rule{Verdict: "drop", Other: true}},
		"wildcard":      {[]expr.Any{&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte("flannel")}}, Rule{In: "flannel*"}},
		"set":           {[]expr.Any{src(4), &expr.Lookup{SourceRegister: 1, SetName: "s"}, &expr.Verdict{Kind: expr.VerdictAccept}}, Rule{Verdict: "accept", Other: true}},
		"tcp port":      {[]expr.Any{&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{6}}, &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 2, Len: 2}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0, 22}}}, Rule{Port: 22, Other: true}},
		"iptables udp":  {[]expr.Any{&expr.Match{Name: "udp", Info: &udp}, &expr.Counter{}, &expr.Target{Name: "REJECT"}}, Rule{Verdict: "drop", UDP: true, Port: nativePort(0x18, 0x21)}},
		"another match": {[]expr.Any{&expr.Match{Name: "conntrack"}, &expr.Verdict{Kind: expr.VerdictGoto, Chain: "X"}}, Rule{Verdict: "jump", Target: "X", Other: true}},
	} {
		if got := nftRule(x.exprs); got != x.want {
			t.Errorf("%s\n got %+v\nwant %+v", name, got, x.want)
		}
	}
}

func nativePort(a, b byte) uint16 { return binary.NativeEndian.Uint16([]byte{a, b}) }
