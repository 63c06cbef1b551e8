package lease_test

import (
	"encoding/json"
	"strings"
	"testing"

	"weft/lease"
)

// wg is the lease of a node that encrypts, as it is in a store; data is its
// BackendData.
func wg(key, ip, data string) lease.Lease {
	l := peer(key, ip)
	l.Attrs.BackendType, l.Attrs.BackendData = "wireguard", json.RawMessage(data)
	return l
}

// A lease that says wireguard must be known to nodes that send in the clear, as
// long as it makes sense otherwise, however little else it says. A node that
// encrypts looks at its data as before, and nobody else is concerned.
func TestCheckSealed(t *testing.T) {
	const key = `{"PublicKey":"c2VjcmV0IG9mIG5vYm9keSwga25vd24gdG8gYWxsIDA="}`
	networks := map[string]*lease.Config{}
	for _, kind := range []string{"udp", "vxlan", "wireguard", "host-gw", "alloc"} {
		for family, conf := range map[string]string{
			"4":  `{"Network":"10.5.0.0/16","Backend":{"Type":"` + kind + `"}}`,
			"6":  `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48","Backend":{"Type":"` + kind + `"}}`,
			"46": strings.TrimSuffix(dualConf, "}") + `,"Backend":{"Type":"` + kind + `"}}`,
		} {
			networks[kind+family] = config(t, conf)
		}
	}
	const all, clear = "udp4 udp6 udp46 vxlan4 vxlan6 vxlan46", "host-gw4 host-gw6 host-gw46 alloc4 alloc6 alloc46"
	for _, tc := range []struct {
		name string
		in   string // networks
		l    lease.Lease
		want string // "": believed
	}{
		{"with a key", all + " wireguard4", wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2", key), ""},
		{"without data", all, wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2", ""), ""},
		{"with data that makes no sense", all, wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2", `"text"`), ""},
		{"reached by IPv6", all, wg("10.5.2.0-24&fd00:10:5:2::-64", "fd00:50::2", ""), ""},
		{"one family in use", "udp4 vxlan4 udp46 vxlan46", wg("10.5.2.0-24", "192.168.50.2", ""), ""},
		{"no family in use", "udp6 vxlan6", wg("10.5.2.0-24", "192.168.50.2", key), "no subnet of an address family in use"},
		{"without data among its own kind", "wireguard4 wireguard46", wg("10.5.2.0-24", "192.168.50.2", ""), "BackendData: missing"},
		{"elsewhere", clear, wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2", key), "does not talk to"},
		{"written otherwise", all, func() lease.Lease {
			l := wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2", key)
			l.Attrs.BackendType = "WireGuard"
			return l
		}(), "does not talk to"},
		{"outside", "udp4 vxlan4 udp46 vxlan46", wg("10.6.2.0-24", "192.168.50.2", key), "not a part of Network"},
		{"IPv6 outside", "udp6 vxlan6 udp46 vxlan46", wg("10.5.2.0-24&fd00:bad::-64", "192.168.50.2", key), "not a part of IPv6Network"},
		{"our subnet", "udp4 vxlan4 udp46 vxlan46", wg("10.5.1.128-25", "192.168.50.2", key), "overlaps this node's own"},
		{"our address", all, wg("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.1", key), "is this node's own"},
		{"no address", all, wg("10.5.2.0-24&fd00:10:5:2::-64", "0.0.0.0", key), "no node address"},
		{"a loop", "udp4 vxlan4", wg("10.5.2.0-24", "10.5.2.7", key), "lies inside its own subnet"},
	} {
		own := peer("10.5.1.0-24&fd00:10:5:1::-64", "192.168.50.1")
		for _, in := range strings.Fields(tc.in) {
			err := lease.Check(networks[in], own, tc.l)
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("%s in %s: refused: %v", tc.name, in, err)
			case tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("%s in %s: %v, want %q", tc.name, in, err, tc.want)
			}
		}
	}
}

// Who holds what where leases in the clear and sealed ones overlap.
func TestUsableSealed(t *testing.T) {
	clear := func(key, ip string) lease.Lease { return peer(key, ip) }
	seal := func(key, ip string) lease.Lease { return wg(key, ip, "") }
	for _, tc := range []struct {
		name   string
		leases []lease.Lease
		want   string // accepted; sealed ones with a star
		lost   string
	}{
		{"apart", []lease.Lease{clear("10.5.2.0-24", "192.168.50.2"), seal("10.5.3.0-24", "192.168.50.3")}, "10.5.2.0-24 10.5.3.0-24*", ""},
		{"one subnet", []lease.Lease{clear("10.5.2.0-24", "192.168.50.2"), seal("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.3")},
			"10.5.2.0-24&fd00:10:5:2::-64*", "10.5.2.0-24"},
		{"one subnet, the clear one with both families", []lease.Lease{clear("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2"), seal("10.5.2.0-24", "192.168.50.3")},
			"10.5.2.0-24*", "10.5.2.0-24&fd00:10:5:2::-64"},
		{"one IPv6 subnet", []lease.Lease{clear("10.5.2.0-24&fd00:10:5:9::-64", "192.168.50.2"), seal("10.5.3.0-24&fd00:10:5:9::-64", "192.168.50.3")},
			"10.5.3.0-24&fd00:10:5:9::-64*", "10.5.2.0-24&fd00:10:5:9::-64"},
		{"IPv6 subnets in another order than IPv4", []lease.Lease{seal("10.5.3.0-24&fd00:10:5:9::-64", "192.168.50.2"), seal("10.5.4.0-24&fd00:10:5:2::-64", "192.168.50.3"),
			clear("10.5.5.0-24&fd00:10:5:2::-64", "192.168.50.4")},
			"10.5.3.0-24&fd00:10:5:9::-64* 10.5.4.0-24&fd00:10:5:2::-64*", "10.5.5.0-24&fd00:10:5:2::-64"},
		{"a sealed half", []lease.Lease{clear("10.5.2.0-24", "192.168.50.2"), seal("10.5.2.128-25", "192.168.50.3")}, "10.5.2.128-25*", "10.5.2.0-24"},
		{"a sealed first half", []lease.Lease{clear("10.5.2.0-24", "192.168.50.2"), seal("10.5.2.0-25", "192.168.50.3")}, "10.5.2.0-25*", "10.5.2.0-24"},
		{"a clear half", []lease.Lease{clear("10.5.2.128-25", "192.168.50.2"), seal("10.5.2.0-24", "192.168.50.3")}, "10.5.2.0-24* 10.5.2.128-25", ""},
		{"a clear first half", []lease.Lease{clear("10.5.2.0-25", "192.168.50.2"), seal("10.5.2.0-24", "192.168.50.3")}, "10.5.2.0-24* 10.5.2.0-25", ""},
		{"a sealed one over half the network", []lease.Lease{clear("10.5.130.0-24", "192.168.50.2"), clear("10.5.131.0-24", "192.168.50.3"), seal("10.5.128.0-17", "192.168.50.4")},
			"10.5.128.0-17* 10.5.130.0-24 10.5.131.0-24", ""},
		{"sealed ones in each other", []lease.Lease{seal("10.5.2.0-24", "192.168.50.2"), seal("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.3"), seal("10.5.2.64-26", "192.168.50.4")},
			"10.5.2.0-24* 10.5.2.0-24&fd00:10:5:2::-64* 10.5.2.64-26*", ""},
		{"who loses against a sealed one pushes nobody out", []lease.Lease{clear("10.5.2.0-24&fd00:10:5:2::-64", "192.168.50.2"),
			clear("10.5.2.0-23", "192.168.50.3"), seal("10.5.7.0-24&fd00:10:5:2::-64", "192.168.50.4")},
			"10.5.2.0-23 10.5.7.0-24&fd00:10:5:2::-64*", "10.5.2.0-24&fd00:10:5:2::-64"},
	} {
		var s lease.Set
		s.Apply(lease.Update{Full: true, Events: added(tc.leases...)})
		ok, refused := lease.Usable(config(t, dualConf), peer("10.5.1.0-24", "192.168.50.1"), &s)
		var got, lost []string
		for _, l := range ok {
			name := l.Key()
			if l.Attrs.Sealed() {
				name += "*"
			}
			got = append(got, name)
		}
		for _, r := range refused {
			lost = append(lost, r.Lease.Key())
		}
		if strings.Join(got, " ") != tc.want || strings.Join(lost, " ") != tc.lost {
			t.Errorf("%s: accepted %v, refused %v (%v)\nwant %s, refused %s", tc.name, got, lost, refused, tc.want, tc.lost)
		}
	}
}
