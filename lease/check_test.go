package lease_test

import (
	"encoding/json"
	"strings"
	"testing"

	"weft/lease"
)

func config(t testing.TB, text string) *lease.Config {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const dualConf = `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"}`

func TestCheck(t *testing.T) {
	v4 := config(t, `{"Network":"10.5.0.0/16"}`)
	v6 := config(t, `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"}`)
	dual := config(t, dualConf)
	vxlan := config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"vxlan"}}`)
	hostGW := config(t, `{"Network":"10.5.0.0/16","Backend":{"Type":"host-gw"}}`)
	own := peer("10.5.1.0-24&fd00:10:5:1::-64", "192.168.50.1")

	typed := func(l lease.Lease, kind, data string) lease.Lease {
		l.Attrs.BackendType, l.Attrs.BackendData = kind, json.RawMessage(data)
		return l
	}
	for _, tc := range []struct {
		name string
		cfg  *lease.Config
		l    lease.Lease
		want string // "": usable
	}{
		{"plain", v4, peer("10.5.2.0-24", "192.168.50.2"), ""},
		{"other length", v4, peer("10.5.2.0-25", "192.168.50.2"), ""},
		{"loopback, for labs", v4, peer("10.5.2.0-24", "127.0.0.2"), ""},
		{"IPv4 link-local", v4, peer("10.5.2.0-24", "169.254.1.2"), ""},
		{"dual seen by IPv4", v4, peer("10.5.2.0-24&fd00:bad::-64", "192.168.50.2"), ""},
		{"dual seen by IPv6", v6, peer("99.5.2.0-24&fd00:10:5:2::-64", "fd00:50::2"), ""},
		{"IPv4 seen by dual", dual, peer("10.5.2.0-24", "192.168.50.2"), ""},
		{"IPv6 only", dual, peer("0.0.0.0-0&fd00:10:5:2::-64", "fd00:50::2"), ""},
		{"written type udp", v4, typed(peer("10.5.2.0-24", "192.168.50.2"), "udp", ""), ""},
		{"vxlan", vxlan, typed(peer("10.5.2.0-24", "192.168.50.2"), "vxlan", `{"VtepMAC":"96:59:b2:3f:04:ee"}`), ""},

		{"outside", v4, peer("10.6.2.0-24", "192.168.50.2"), "10.6.2.0/24 is not a part of Network 10.5.0.0/16"},
		{"everything", v4, peer("0.0.0.0-0", "192.168.50.2"), "not a part of"},
		{"larger than the network", v4, peer("10.4.0.0-14", "192.168.50.2"), "not a part of"},
		{"the whole network", v4, peer("10.5.0.0-16", "192.168.50.2"), "not a part of"},
		{"IPv6 outside", dual, peer("10.5.2.0-24&fd00:bad::-64", "192.168.50.2"), "not a part of IPv6Network"},
		{"host bits", v4, peer("10.5.2.7-24", "192.168.50.2"), "10.5.2.7/24 has host bits set"},
		{"our subnet", v4, peer("10.5.1.0-24", "192.168.50.2"), "overlaps this node's own 10.5.1.0/24"},
		{"half of our subnet", v4, peer("10.5.1.128-25", "192.168.50.2"), "overlaps this node's own"},
		{"around our subnet", v4, peer("10.5.0.0-20", "192.168.50.2"), "overlaps this node's own"},
		{"our IPv6 subnet", dual, peer("10.5.2.0-24&fd00:10:5:1::-64", "192.168.50.2"), "overlaps this node's own"},
		{"our address", v4, peer("10.5.2.0-24", "192.168.50.1"), "PublicIP: 192.168.50.1 is this node's own"},
		{"no address", v4, lease.Lease{Subnet: prefix("10.5.2.0/24")}, "no node address"},
		{"unspecified", v4, peer("10.5.2.0-24", "0.0.0.0"), "no node address"},
		{"multicast", v4, peer("10.5.2.0-24", "224.0.0.1"), "not the address of one node"},
		{"broadcast", v4, peer("10.5.2.0-24", "255.255.255.255"), "not the address of one node"},
		{"IPv6 link-local", dual, peer("10.5.2.0-24", "fe80::2"), "means nothing without an interface"},
		{"address in its own subnet", v4, peer("10.5.2.0-24", "10.5.2.9"), "lies inside its own subnet"},
		{"no family in use", v4, peer("0.0.0.0-0&fd00:10:5:2::-64", "fd00:50::2"), "no subnet of an address family in use"},
		{"vxlan in udp", v4, typed(peer("10.5.2.0-24", "192.168.50.2"), "vxlan", `{"VtepMAC":"96:59:b2:3f:04:ee"}`), ""},
		{"udp in vxlan", vxlan, peer("10.5.2.0-24", "192.168.50.2"), ""},
		{"other type", v4, typed(peer("10.5.2.0-24", "192.168.50.2"), "host-gw", ""), `BackendType: "host-gw" does not talk to "udp"`},
		{"other type in vxlan", vxlan, typed(peer("10.5.2.0-24", "192.168.50.2"), "ipip", "{}"), `BackendType: "ipip" does not talk to "vxlan"`},
		{"empty type in host-gw", hostGW, peer("10.5.2.0-24", "192.168.50.2"), "does not talk"},
		{"vxlan with data of one family", dual, typed(peer("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2"), "vxlan", `{"VtepMAC":"96:59:b2:3f:04:ee"}`), ""},
		{"vxlan without data", vxlan, typed(peer("10.5.2.0-24", "192.168.50.2"), "vxlan", ""), "BackendData: missing"},
	} {
		err := lease.Check(tc.cfg, own, tc.l)
		switch {
		case tc.want == "" && err != nil:
			t.Errorf("%s: refused: %v", tc.name, err)
		case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
			t.Errorf("%s: %v, want %q", tc.name, err, tc.want)
		}
	}
}

func TestUsable(t *testing.T) {
	own := peer("10.5.1.0-24", "192.168.50.1")
	var s lease.Set
	s.Apply(lease.Update{Full: true, Events: added(
		own,
		peer("10.5.0.0-17", "6.6.6.6"), // greedy: loses against all below, though not against our own
		peer("10.5.2.0-24", "192.168.50.2"),
		peer("10.5.3.0-24", "192.168.50.3"),
		peer("10.5.3.128-25", "192.168.50.4"), // longer: wins
		peer("10.5.4.0-24", "192.168.50.5"),
		peer("10.5.4.0-24&fd00:10:5:4::-64", "192.168.50.6"), // both families: wins
		peer("10.5.128.0-18", "192.168.50.7"),
		peer("10.5.200.0-24", "192.168.50.1"), // our address on a left-over
		peer("11.0.0.0-24", "192.168.50.8"),
	)})
	ok, refused := lease.Usable(config(t, dualConf), own, &s)
	var got []string
	for _, l := range ok {
		got = append(got, l.Key())
	}
	if want := "10.5.2.0-24 10.5.3.128-25 10.5.4.0-24&fd00:10:5:4::-64 10.5.128.0-18"; strings.Join(got, " ") != want {
		t.Errorf("usable: %s\nwant    %s", strings.Join(got, " "), want)
	}
	got = nil
	for _, r := range refused {
		got = append(got, r.Lease.Key())
	}
	if want := "10.5.0.0-17 10.5.3.0-24 10.5.4.0-24 10.5.200.0-24 11.0.0.0-24"; strings.Join(got, " ") != want {
		t.Errorf("refused: %s\nwant     %s", strings.Join(got, " "), want)
	}
	if ok, _ = lease.Usable(config(t, `{"Network":"10.5.0.0/16"}`), own, &s); ok[2].Subnet6.IsValid() {
		t.Errorf("%v: the IPv6 half is of no use here", ok[2])
	}
}
