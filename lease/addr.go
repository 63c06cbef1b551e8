package lease

import "net/netip"

// lastAddr returns the highest address in p.
func lastAddr(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b) // 4 or 16 bytes, so it cannot fail
	return a
}

// nextPrefix returns the prefix of the same length that follows p. It reports
// false at the end of the address space instead of wrapping round.
func nextPrefix(p netip.Prefix) (netip.Prefix, bool) {
	a := lastAddr(p).Next()
	return netip.PrefixFrom(a, p.Bits()), a.IsValid()
}

// prefixAt returns the prefix of the given length that holds a.
func prefixAt(a netip.Addr, bits int) netip.Prefix {
	return netip.PrefixFrom(a, bits).Masked()
}
