package engine

import (
	"cmp"
	"log/slog"
	"net/netip"

	"weft/lease"
)

// known remembers which peers were logged, so that each change is one line
// however often the set is compiled anew.
type known struct {
	log   *slog.Logger
	peers map[string]lease.Attrs
	bad   map[string]string
}

func newKnown(log *slog.Logger) *known {
	return &known{log: log, peers: map[string]lease.Attrs{}, bad: map[string]string{}}
}

// usable logs how the peers differ from those known.
func (k *known) usable(leases []lease.Lease) {
	now := make(map[string]lease.Attrs, len(leases))
	for _, l := range leases {
		key := l.Key()
		now[key] = l.Attrs
		if was, ok := k.peers[key]; !ok {
			k.log.Info("peer added", "subnet", key, "peer", outerOf(l), "backend", kindOf(l))
		} else if !was.Equal(l.Attrs) {
			k.log.Info("peer changed", "subnet", key, "peer", outerOf(l), "backend", kindOf(l))
		}
	}
	for key := range k.peers {
		if _, ok := now[key]; !ok {
			k.log.Info("peer removed", "subnet", key)
		}
	}
	k.peers = now
}

// refused logs each lease that is not used, once for each reason.
func (k *known) refused(refusals []lease.Refusal) {
	now := make(map[string]string, len(refusals))
	for _, r := range refusals {
		key, why := r.Lease.Key(), r.Err.Error()
		now[key] = why
		if k.bad[key] != why {
			k.log.Warn("lease not used", "subnet", key, "peer", outerOf(r.Lease), "err", why)
		}
	}
	k.bad = now
}

// outerOf names a node by its address, as far as it has one.
func outerOf(l lease.Lease) string {
	for _, a := range [...]netip.Addr{l.Attrs.PublicIP, l.Attrs.PublicIPv6} {
		if a.IsValid() && !a.IsUnspecified() {
			return a.String()
		}
	}
	return "none"
}

// kindOf is the backend that l asks to be spoken to in.
func kindOf(l lease.Lease) string { return cmp.Or(l.Attrs.BackendType, "udp") }
