package lease

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// noSubnet4 stands in a key for "no IPv4 subnet" when there is an IPv6 one.
const noSubnet4 = "0.0.0.0-0"

// Key names a lease in a store, as flannel does: "10.5.1.0-24", dual-stack
// "10.5.1.0-24&fd00:10:5:1::-64", IPv6 only "0.0.0.0-0&fd00:10:5:1::-64".
func Key(subnet, subnet6 netip.Prefix) string {
	s := noSubnet4
	if subnet.IsValid() {
		s = keyPart(subnet)
	}
	if subnet6.IsValid() {
		s += "&" + keyPart(subnet6)
	}
	return s
}

// Key names l in a store; see the function [Key].
func (l Lease) Key() string { return Key(l.Subnet, l.Subnet6) }

func keyPart(p netip.Prefix) string {
	return p.Addr().String() + "-" + strconv.Itoa(p.Bits())
}

// ParseKey is the inverse of [Key] and accepts exactly what Key writes, so
// that no two keys can mean one lease. Prefix lengths go to 31 and 127, as in
// flannel (subnet/subnet.go).
//
// It differs from flannel in three ways, all of which touch only keys that no
// flannel writes: text before the address is refused (flannel's pattern is
// anchored at the end only), and so are IPv6 text that is not canonical and
// lengths with leading zeros. A subnet with host bits set ("10.5.1.7-24") is
// returned as it stands, as flannel does; masking it would make two keys mean
// one lease, and it is for [Check] to refuse it.
func ParseKey(key string) (subnet, subnet6 netip.Prefix, err error) {
	v4, v6, dual := strings.Cut(key, "&")
	subnet, err = parseKeyPart(v4, 31)
	if err == nil && !subnet.Addr().Is4() {
		err = fmt.Errorf("%q is not IPv4", v4)
	}
	if err == nil && dual {
		subnet6, err = parseKeyPart(v6, 127)
		if err == nil && !subnet6.Addr().Is6() {
			err = fmt.Errorf("%q is not IPv6", v6)
		}
		if v4 == noSubnet4 {
			subnet = netip.Prefix{}
		}
	}
	if err != nil {
		return netip.Prefix{}, netip.Prefix{}, fmt.Errorf("lease key %q: %w", key, err)
	}
	return subnet, subnet6, nil
}

func parseKeyPart(s string, maxBits int) (netip.Prefix, error) {
	text, length, ok := strings.Cut(s, "-")
	if !ok {
		return netip.Prefix{}, fmt.Errorf("%q is not ADDRESS-LENGTH", s)
	}
	addr, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not an address", text)
	}
	bits, err := strconv.Atoi(length)
	if err != nil || bits < 0 || bits > maxBits {
		return netip.Prefix{}, fmt.Errorf("length %q is not in 0..%d", length, maxBits)
	}
	// Zones, IPv4 inside IPv6 and every other spelling end here.
	p := netip.PrefixFrom(addr, bits)
	if addr.Is4In6() || addr.Zone() != "" || keyPart(p) != s {
		return netip.Prefix{}, fmt.Errorf("%q is not in canonical form", s)
	}
	return p, nil
}
