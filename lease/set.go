package lease

import (
	"cmp"
	"iter"
	"net/netip"
	"slices"
)

// A Set is every lease there is, as far as is known. It folds the updates of a
// [Source] into one truth. The zero Set is empty and ready for use. A Set is
// not safe for use by several goroutines at once.
//
// It is a slice in order of subnets. Looking up costs O(log n); a change moves
// at most n pointers, which for ten thousand leases is below a microsecond or
// two. The leases themselves are never changed once they are in the slice.
type Set struct {
	leases []*Lease
}

// Apply folds u into s. It reports whether that changed who can be reached, or
// how: a lease that came, went or has other attributes. A mere renewal is not
// a change, though its new Expires is kept.
func (s *Set) Apply(u Update) (changed bool) {
	if u.Full {
		return s.replace(u.Events)
	}
	for _, e := range u.Events {
		i, found := s.find(e.Lease)
		switch {
		case e.Type == Removed && found:
			s.leases = slices.Delete(s.leases, i, i+1)
			changed = true
		case e.Type == Added && found:
			changed = changed || !s.leases[i].Attrs.Equal(e.Lease.Attrs)
			s.leases[i] = &e.Lease
		case e.Type == Added:
			s.leases = slices.Insert(s.leases, i, &e.Lease)
			changed = true
		}
	}
	return changed
}

// replace makes the leases of a full update all there are.
func (s *Set) replace(events []Event) bool {
	fresh := make([]*Lease, 0, len(events))
	for i := range events {
		if events[i].Type == Added {
			fresh = append(fresh, &events[i].Lease)
		}
	}
	slices.SortStableFunc(fresh, compareSubnets)
	fresh = lastOfEach(fresh)
	same := slices.EqualFunc(s.leases, fresh, func(a, b *Lease) bool {
		return compareSubnets(a, b) == 0 && a.Attrs.Equal(b.Attrs)
	})
	s.leases = fresh
	return !same
}

// lastOfEach keeps the last of neighbours with the same subnets, in place.
func lastOfEach(ls []*Lease) []*Lease {
	kept := ls[:0]
	for _, l := range ls {
		if n := len(kept); n > 0 && compareSubnets(kept[n-1], l) == 0 {
			kept[n-1] = l
			continue
		}
		kept = append(kept, l)
	}
	return kept
}

// All yields every lease in order of Subnet and then Subnet6.
func (s *Set) All() iter.Seq[Lease] {
	return func(yield func(Lease) bool) {
		for _, l := range s.leases {
			if !yield(*l) {
				return
			}
		}
	}
}

// Len returns the number of leases.
func (s *Set) Len() int { return len(s.leases) }

// Get returns the lease with exactly these subnets.
func (s *Set) Get(subnet, subnet6 netip.Prefix) (Lease, bool) {
	i, found := s.find(Lease{Subnet: subnet, Subnet6: subnet6})
	if !found {
		return Lease{}, false
	}
	return *s.leases[i], true
}

func (s *Set) find(l Lease) (int, bool) {
	return slices.BinarySearchFunc(s.leases, &l, compareSubnets)
}

func compareSubnets(a, b *Lease) int {
	return cmp.Or(comparePrefixes(a.Subnet, b.Subnet), comparePrefixes(a.Subnet6, b.Subnet6))
}

// comparePrefixes orders by address and then puts the larger prefix first. The
// zero Prefix comes before all.
func comparePrefixes(a, b netip.Prefix) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
}
