package lease

import (
	"errors"
	"fmt"
	"net/netip"
)

// ranges is what net-conf.json says about the subnets of one family.
type ranges struct {
	network  netip.Prefix
	length   int // 0: derive
	min, max netip.Addr
}

// A family holds the limits that differ between IPv4 and IPv6.
type family struct {
	prefix    string // of the keys of the family
	maxLen    int    // longest subnet: four addresses
	maxPrefix int    // longest network for which a length can be derived
	wide      int    // networks up to this length get subnets of
	usual     int    // this length
}

var (
	family4 = family{prefix: "", maxLen: 30, maxPrefix: 28, wide: 22, usual: 24}
	family6 = family{prefix: "IPv6", maxLen: 126, maxPrefix: 124, wide: 62, usual: 64}
)

// derive fills in what is not set and checks the rest:
//
//	network  |0|1|2| … … … … … |n|   cut into subnets of 2^length
//	            ^min            ^max  the first subnet is not handed out
func (r *ranges) derive(f family) error {
	if !r.network.IsValid() || r.network.Bits() == 0 {
		return errors.New(f.prefix + "Network: missing or empty")
	}
	if err := r.deriveLen(f); err != nil {
		return err
	}
	if unset(r.min) {
		first := netip.PrefixFrom(r.network.Addr(), r.length)
		second, _ := nextPrefix(first) // there are at least four
		r.min = second.Addr()
	}
	if unset(r.max) {
		r.max = prefixAt(lastAddr(r.network), r.length).Addr()
	}
	if err := r.check(f.prefix+"SubnetMin", r.min, f); err != nil {
		return err
	}
	return r.check(f.prefix+"SubnetMax", r.max, f)
}

func (r *ranges) deriveLen(f family) error {
	bits := r.network.Bits()
	switch {
	case r.length > f.maxLen:
		return fmt.Errorf("%sSubnetLen: %d is above %d", f.prefix, r.length, f.maxLen)
	case r.length > 0 && r.length < bits+2:
		return fmt.Errorf("%sSubnetLen: %d leaves fewer than four subnets in %sNetwork %s",
			f.prefix, r.length, f.prefix, r.network)
	case r.length > 0:
	case bits > f.maxPrefix:
		return fmt.Errorf("%sNetwork: %s is too small; /%d is the longest", f.prefix, r.network, f.maxPrefix)
	case bits <= f.wide:
		r.length = f.usual
	default:
		r.length = bits + 2
	}
	return nil
}

func (r *ranges) check(key string, a netip.Addr, f family) error {
	if !r.network.Contains(a) {
		return fmt.Errorf("%s: %s is outside %sNetwork %s", key, a, f.prefix, r.network)
	}
	if prefixAt(a, r.length).Addr() != a {
		return fmt.Errorf("%s: %s is not the start of a subnet of %sSubnetLen %d", key, a, f.prefix, r.length)
	}
	return nil
}

func unset(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }
