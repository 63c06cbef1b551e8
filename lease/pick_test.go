package lease_test

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"weft/lease"
)

func claim(t testing.TB, conf, ip, previous string) lease.Claim {
	c := lease.Claim{Config: config(t, conf), Attrs: peer("10.0.0.0-24", ip).Attrs}
	if previous != "" {
		c.Previous = peer(previous, ip)
	}
	return c
}

func TestPlan(t *testing.T) {
	const v4conf = `{"Network":"10.5.0.0/16","SubnetMax":"10.5.3.0"}`
	const v6conf = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48","IPv6SubnetMax":"fd00:10:5:1::"}`
	const dual = `{"Network":"10.5.0.0/16","SubnetMax":"10.5.3.0","EnableIPv6":true,"IPv6Network":"fd00:10:5::/48","IPv6SubnetMax":"fd00:10:5:1::"}`
	for _, tc := range []struct {
		name, conf, previous string
		own, others          []string
		want, drop           string
	}{
		{name: "own", conf: v4conf, own: []string{"10.5.2.0-24"}, previous: "10.5.3.0-24", want: "10.5.2.0-24"},
		{name: "previous", conf: v4conf, previous: "10.5.3.0-24", others: []string{"10.5.1.0-24"}, want: "10.5.3.0-24"},
		{name: "previous is taken", conf: v4conf, previous: "10.5.1.0-24", others: []string{"10.5.1.0-24", "10.5.2.0-24"}, want: "10.5.3.0-24"},
		{name: "previous is half taken", conf: v4conf, previous: "10.5.1.0-24", others: []string{"10.5.1.128-25", "10.5.2.0-24"}, want: "10.5.3.0-24"},
		{name: "previous of another length", conf: v4conf, previous: "10.5.1.0-25", others: []string{"10.5.1.0-24", "10.5.2.0-24"}, want: "10.5.3.0-24"},
		{name: "own fits no longer", conf: v4conf, own: []string{"10.5.9.0-24"}, others: []string{"10.5.1.0-24", "10.5.2.0-24"}, want: "10.5.3.0-24", drop: "10.5.9.0-24"},
		// The lease that is dropped does not stand in the way of the new one.
		{name: "own changes length", conf: v4conf, own: []string{"10.5.3.0-25"}, others: []string{"10.5.1.0-24", "10.5.2.0-24"}, want: "10.5.3.0-24", drop: "10.5.3.0-25"},
		{name: "one larger lease covers several", conf: v4conf, others: []string{"10.5.0.0-23"}, previous: "10.5.1.0-24", want: "10.5.[23].0-24"},
		{name: "a stray default route takes nothing", conf: v4conf, others: []string{"0.0.0.0-0", "10.5.1.0-24", "10.5.3.0-24"}, want: "10.5.2.0-24"},
		{name: "two own, the first does not fit", conf: v4conf, own: []string{"10.9.0.0-24", "10.5.1.0-24"}, want: "10.5.1.0-24", drop: "10.9.0.0-24"},
		{name: "IPv6 goes on", conf: dual, own: []string{"10.5.2.0-24"}, want: "10.5.2.0-24&fd00:10:5:1::-64", drop: "10.5.2.0-24"},
		{name: "IPv6 goes off", conf: v4conf, own: []string{"10.5.2.0-24&fd00:10:5:1::-64"}, want: "10.5.2.0-24", drop: "10.5.2.0-24&fd00:10:5:1::-64"},
		{name: "IPv6 half is taken", conf: strings.Replace(dual, "5:1::", "5:2::", 1), own: []string{"10.5.2.0-24&fd00:10:5:1::-64"}, others: []string{"10.5.1.0-24&fd00:10:5:1::-64"},
			want: "10.5.2.0-24&fd00:10:5:2::-64", drop: "10.5.2.0-24&fd00:10:5:1::-64"},
		{name: "dual beside IPv4 leases", conf: dual, others: []string{"10.5.1.0-24", "10.5.2.0-24"}, want: "10.5.3.0-24&fd00:10:5:1::-64"},
		{name: "previous IPv4, IPv6 new", conf: dual, previous: "10.5.1.0-24", want: "10.5.1.0-24&fd00:10:5:1::-64"},
		{name: "IPv6 only", conf: v6conf, others: []string{"10.5.1.0-24"}, want: "0.0.0.0-0&fd00:10:5:1::-64"},
	} {
		var own, others []lease.Lease
		for _, k := range tc.own {
			own = append(own, peer(k, "1.1.1.1"))
		}
		for i, k := range tc.others {
			others = append(others, peer(k, fmt.Sprintf("2.2.2.%d", i+1)))
		}
		p, err := claim(t, tc.conf, "1.1.1.1", tc.previous).Plan(own, others, rnd())
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		var drop []string
		for _, l := range p.Drop {
			drop = append(drop, l.Key())
		}
		key := p.Lease.Key()
		if tc.want == "10.5.[23].0-24" && (key == "10.5.2.0-24" || key == "10.5.3.0-24") {
			key = tc.want
		}
		if key != tc.want || strings.Join(drop, " ") != tc.drop {
			t.Errorf("%s: %s, drop %q; want %s, drop %q", tc.name, p.Lease.Key(), drop, tc.want, tc.drop)
		}
	}
}

func TestPlanKeepsReservation(t *testing.T) {
	reserved, timed := peer("10.5.2.0-24", "1.1.1.1"), peer("10.5.2.0-24", "1.1.1.1")
	timed.Expires = time.Unix(1, 0)
	c := claim(t, `{"Network":"10.5.0.0/16"}`, "1.1.1.1", "")
	if p, err := c.Plan([]lease.Lease{reserved}, nil, rnd()); err != nil || p.Old == nil || !p.Lease.Expires.IsZero() {
		t.Errorf("reservation: %+v, %v", p, err)
	}
	if p, err := c.Plan([]lease.Lease{timed}, nil, rnd()); err != nil || p.Old == nil || p.Lease.Expires.IsZero() {
		t.Errorf("lease: %+v, %v", p, err)
	}
}

func TestPlanNoSubnet(t *testing.T) {
	for conf, want := range map[string]string{
		`{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.3.0"}`: "SubnetMin 10.5.9.0 is above SubnetMax 10.5.3.0",
		`{"Network":"10.5.0.0/16","SubnetMax":"10.5.1.0"}`:                        "all from SubnetMin 10.5.1.0 to SubnetMax 10.5.1.0 are taken",
	} {
		_, err := claim(t, conf, "1.1.1.1", "").Plan(nil, []lease.Lease{peer("10.5.1.0-24", "2.2.2.2")}, rnd())
		if !errors.Is(err, lease.ErrNoSubnet) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

// A network at the very end of the address space neither wraps nor hangs.
func TestPlanAtTheEnd(t *testing.T) {
	c := claim(t, `{"Network":"255.255.255.0/24","SubnetLen":26}`, "1.1.1.1", "")
	var others []lease.Lease
	for i := range 3 {
		p, err := c.Plan(nil, others, rnd())
		if err != nil {
			t.Fatal(err)
		}
		p.Lease.Attrs.PublicIP = netip.AddrFrom4([4]byte{2, 2, 2, byte(i)})
		others = append(others, p.Lease)
	}
	if _, err := c.Plan(nil, others, rnd()); !errors.Is(err, lease.ErrNoSubnet) {
		t.Errorf("%v after %v", err, others)
	}
}

// The draw is over the first hundred free subnets, and over all of them.
func TestPlanDrawsFromTheFirstHundred(t *testing.T) {
	c, r, seen := claim(t, `{"Network":"10.0.0.0/8"}`, "1.1.1.1", ""), rnd(), map[string]bool{}
	for range 3000 {
		p, err := c.Plan(nil, []lease.Lease{peer("10.0.2.0-24", "2.2.2.2")}, r)
		if err != nil {
			t.Fatal(err)
		}
		seen[p.Lease.Key()] = true
	}
	if len(seen) != 100 || seen["10.0.0.0-24"] || seen["10.0.2.0-24"] || !seen["10.0.1.0-24"] || !seen["10.0.101.0-24"] {
		t.Errorf("%d subnets drawn: %v", len(seen), seen)
	}
}

func TestOwns(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"1.1.1.1", "1.1.1.1", true},
		{"1.1.1.1", "1.1.1.2", false},
		{"fd00::1", "fd00::1", true},
		{"fd00::1", "fd00::2", false}, // IPv6-only nodes are not all one node
		{"1.1.1.1", "fd00::1", false},
		{"0.0.0.0", "0.0.0.0", false},
	} {
		if got := claim(t, `{"Network":"10.5.0.0/16"}`, tc.a, "").Owns(peer("10.5.1.0-24", tc.b)); got != tc.want {
			t.Errorf("%s owns %s: %v", tc.a, tc.b, got)
		}
	}
}
