package masq

import (
	"net/netip"
	"strings"
	"testing"
)

var (
	p4 = netip.MustParsePrefix("10.5.1.0/24")
	c4 = netip.MustParsePrefix("10.5.0.0/16")
	p6 = netip.MustParsePrefix("fd00:10:5:1::/64")
	c6 = netip.MustParsePrefix("fd00:10:5::/48")
)

func dual() Rules {
	return Rules{Network: c4, Subnet: p4, Network6: c6, Subnet6: p6, Masq: true, RandomFully: true, Forward: true}
}

func saved(t *testing.T, r Rules) string {
	t.Helper()
	want, err := wanted(r)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range want {
		for _, c := range xtChains(f, true) {
			for _, line := range c.rules {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.String()
}

// The lines are what flanneld's own rules look like in iptables-save.
const (
	masq4Lines = `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.1.0/24 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.5.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s 10.5.0.0/16 -d 10.5.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
`
	forward4Lines = `-A FLANNEL-FWD -s 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.5.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
`
	masq6Lines = `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:10:5:1::/64 -d fd00:10:5::/48 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:10:5::/48 -d fd00:10:5:1::/64 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s fd00:10:5::/48 -d fd00:10:5:1::/64 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s fd00:10:5::/48 ! -d ff00::/8 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
-A FLANNEL-POSTRTG ! -s fd00:10:5::/48 -d fd00:10:5::/48 -m comment --comment "flanneld masq" -j MASQUERADE --random-fully
`
	forward6Lines = `-A FLANNEL-FWD -s fd00:10:5::/48 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d fd00:10:5::/48 -m comment --comment "flanneld forward" -j ACCEPT
`
)

func TestRuleLists(t *testing.T) {
	tests := []struct {
		name string
		edit func(*Rules)
		want string
	}{
		{"dual stack", func(*Rules) {}, masq4Lines + forward4Lines + masq6Lines + forward6Lines},
		{"IPv4 only", func(r *Rules) { r.Network6, r.Subnet6 = netip.Prefix{}, netip.Prefix{} }, masq4Lines + forward4Lines},
		{"IPv6 only", func(r *Rules) { r.Network, r.Subnet = netip.Prefix{}, netip.Prefix{} }, masq6Lines + forward6Lines},
		{"forward only", func(r *Rules) { r.Masq = false }, forward4Lines + forward6Lines},
		{"masquerade only", func(r *Rules) { r.Forward = false }, masq4Lines + masq6Lines},
		{"not random", func(r *Rules) { r.RandomFully = false },
			strings.ReplaceAll(masq4Lines+forward4Lines+masq6Lines+forward6Lines, " --random-fully", "")},
		{"host bits", func(r *Rules) { r.Network = netip.MustParsePrefix("10.5.7.7/16") },
			masq4Lines + forward4Lines + masq6Lines + forward6Lines},
		{"nothing", func(r *Rules) { *r = Rules{} }, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := dual()
			tt.edit(&r)
			if got := saved(t, r); got != tt.want {
				t.Errorf("got:\n%swant:\n%s", got, tt.want)
			}
		})
	}
}

func TestRulesRefuseWhatDoesNotFit(t *testing.T) {
	tests := map[string]Rules{
		"subnet elsewhere":   {Network: c4, Subnet: netip.MustParsePrefix("10.6.1.0/24")},
		"subnet missing":     {Network: c4},
		"network missing":    {Subnet6: p6},
		"subnet wider":       {Network: p4, Subnet: c4},
		"families exchanged": {Network: c6, Subnet: p6},
		"families mixed":     {Network6: c6, Subnet6: p4},
	}
	for name, r := range tests {
		if _, err := wanted(r); err == nil {
			t.Errorf("%s: %+v is accepted", name, r)
		}
	}
}

func (s side) matches(a netip.Addr) bool {
	return !s.in.IsValid() || s.in.Contains(a) != s.not
}

// judge walks the rules as the kernel does.
func judge(rules []rule, mark uint32, src, dst string) verdict {
	for _, r := range rules {
		if (!r.marked || mark&serviceMark == serviceMark) &&
			r.src.matches(netip.MustParseAddr(src)) && r.dst.matches(netip.MustParseAddr(dst)) {
			return r.do
		}
	}
	return leave
}

func TestMasqueradeMeaning(t *testing.T) {
	want, err := wanted(dual())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name     string
		mark     uint32
		src, dst string
		want     verdict
	}{
		{"pod to the world", 0, "10.5.1.2", "192.0.2.2", masquerade},
		{"pod to a remote pod", 0, "10.5.1.2", "10.5.2.2", leave},
		{"remote pod to a pod", 0, "10.5.2.2", "10.5.1.2", leave},
		{"pod to its neighbour", 0, "10.5.1.2", "10.5.1.3", leave},
		{"world to a pod", 0, "192.0.2.2", "10.5.1.2", leave},
		{"host to a remote pod", 0, "192.0.2.1", "10.5.2.2", masquerade},
		{"host to the world", 0, "192.0.2.1", "192.0.2.2", leave},
		{"pod to multicast", 0, "10.5.1.2", "224.0.0.251", leave},
		{"service traffic", 0x4000, "10.5.1.2", "192.0.2.2", leave},
		{"service traffic with another bit", 0x4001, "10.5.1.2", "192.0.2.2", leave},
		{"somebody else's mark", 0x8001, "10.5.1.2", "192.0.2.2", masquerade},
		{"pod to the world", 0, "fd00:10:5:1::2", "2001:db8::2", masquerade},
		{"pod to a remote pod", 0, "fd00:10:5:1::2", "fd00:10:5:2::2", leave},
		{"host to a remote pod", 0, "2001:db8::1", "fd00:10:5:2::2", masquerade},
		{"pod to multicast", 0, "fd00:10:5:1::2", "ff02::fb", leave},
	}
	for _, tt := range tests {
		rules := want[0].masq
		if strings.Contains(tt.src, ":") {
			rules = want[1].masq
		}
		if got := judge(rules, tt.mark, tt.src, tt.dst); got != tt.want {
			t.Errorf("%s, %s to %s, mark %#x: verdict %d, want %d", tt.name, tt.src, tt.dst, tt.mark, got, tt.want)
		}
	}
}
