package lab

import (
	"net/netip"

	"weft/lease"
)

// gateway returns the first host of a leased subnet, which is the node's own
// address on cni0. The zero prefix of a family that is off stays zero.
func gateway(subnet netip.Prefix) netip.Prefix {
	if !subnet.IsValid() {
		return subnet
	}
	return netip.PrefixFrom(subnet.Addr().Next(), subnet.Bits())
}

// pod returns the second host of a leased subnet, which the lab's pod takes.
func pod(subnet netip.Prefix) netip.Prefix {
	if !subnet.IsValid() {
		return subnet
	}
	return netip.PrefixFrom(subnet.Addr().Next().Next(), subnet.Bits())
}

// seed is what node i (from 1) finds in its subnet.env when it starts for the
// first time: the i-th subnet of the network. It asks for that one first, as
// after a restart, so that n1 holds 10.244.1.0/24 and people can think in
// small numbers. ok is false when the network has no such subnet.
func seed(cfg *lease.Config, i int) (e lease.Env, ok bool) {
	ok = true
	if cfg.EnableIPv4 {
		e.Network = cfg.Network
		e.Subnet, ok = nth(cfg.SubnetMin, cfg.SubnetMax, cfg.SubnetLen, i-1)
	}
	if cfg.EnableIPv6 && ok {
		e.IPv6Network = cfg.IPv6Network
		e.IPv6Subnet, ok = nth(cfg.IPv6SubnetMin, cfg.IPv6SubnetMax, cfg.IPv6SubnetLen, i-1)
	}
	return e, ok
}

// nth adds n to the number of the subnet that begins at first, and reports
// whether the result begins no later than last.
func nth(first, last netip.Addr, length, n int) (netip.Prefix, bool) {
	b := first.AsSlice()
	carry := n << (7 - (length-1)%8) // in units of the last byte that the prefix touches
	for i := (length - 1) / 8; i >= 0 && carry > 0; i-- {
		carry += int(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	a, _ := netip.AddrFromSlice(b)
	return netip.PrefixFrom(a, length), carry == 0 && a.Compare(last) <= 0
}
