package doctor

import (
	"fmt"
	"maps"
	"slices"

	"weft/encap"
	"weft/engine/control"
)

// name is what a report calls a peer: PeerName, or its subnet if others would be
// called the same, so that it can be asked about.
func (v *visit) name(p control.Peer) string {
	if name := PeerName(p); v.namesakes()[name] < 2 {
		return name
	}
	return prefixes(p.Subnet, p.Subnet6)
}

// namesakes counts the peers by name.
func namesakes(s *control.Status) map[string]int {
	count := map[string]int{}
	if s != nil {
		for _, p := range s.Peers {
			count[PeerName(p)]++
		}
	}
	return count
}

// heir returns the lease of a peer at the same address that answers, though p
// never did: p's is then one that the host left behind. Empty: there is none.
func (v *visit) heir(p control.Peer) string {
	if p.Echoed > 0 || !p.Public.IsValid() && !p.Public6.IsValid() {
		return ""
	}
	for _, q := range v.Status.Peers {
		if q.Echoed > 0 && q.Public == p.Public && q.Public6 == p.Public6 {
			return prefixes(q.Subnet, q.Subnet6)
		}
	}
	return ""
}

// refused tells why datagrams of a peer were dropped lately; empty: none were.
func (v *visit) refused(p control.Peer) string {
	set := map[string]bool{}
	for i := range v.Drops {
		r := &v.Drops[i]
		from := r.Remote.Addr()
		if !from.IsValid() || from != p.Public && from != p.Public6 || v.Now().UnixNano()-r.Time > recent.Nanoseconds() {
			continue
		}
		switch r.Drop {
		case encap.VXLANVNI:
			set[fmt.Sprintf("%s (VNI %d)", r.Drop, r.VNI)] = true
		case encap.VXLANHeader, encap.VXLANMAC, encap.InnerSrcNotLeased:
			set[r.Drop.String()] = true
		}
	}
	if len(set) == 0 {
		return ""
	}
	return some(slices.Sorted(maps.Keys(set)))
}
