package ping

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"weft/engine/ping/echo"
)

// A way is one manner of sending echoes.
type way struct {
	name  string // said with each echo, where a layer has several
	port  bool   // it is the datagram to the tunnel's port
	floor int    // bytes of the shortest packet
	// echo sends one and waits for the answer until ctx ends. A notTried says
	// that this way cannot be gone at all.
	echo func(ctx context.Context, seq, size int, df bool) (trip, error)
	// ceiling returns the bytes of the longest packet that is believed to
	// pass; 0: not known.
	ceiling func() int
	close   func()
}

// A trip is an echo that was answered.
type trip struct {
	rtt  time.Duration
	from netip.Addr
	note string
	size int // bytes of the packet, where the node chose it
}

// notTried says why nothing was sent.
type notTried struct{ why string }

func (n notTried) Error() string { return n.why }

// icmpWay has the kernel carry the echoes, as it would any packet from the one
// address to the other.
func (r *runner) icmpWay(name string, from, to netip.Addr) *way {
	var conns [2]conn // that may be fragmented, that may not
	get := func(df bool) (conn, error) {
		i := 0
		if df {
			i = 1
		}
		if conns[i] != nil {
			return conns[i], nil
		}
		c, err := r.open(from, to, df)
		if errors.Is(err, echo.ErrPermission) || errors.Is(err, echo.ErrNotOurs) {
			return nil, notTried{err.Error()}
		}
		if err == nil {
			conns[i] = c
		}
		return c, err
	}
	return &way{
		name: name, floor: echo.Floor(to),
		echo: func(ctx context.Context, seq, size int, df bool) (trip, error) {
			c, err := get(df)
			if err != nil {
				return trip{}, err
			}
			rtt, err := c.Echo(ctx, uint16(seq), size)
			return trip{rtt: rtt, from: to}, err
		},
		ceiling: func() int {
			if c, err := get(true); err == nil {
				return c.PathMTU()
			}
			return 0
		},
		close: func() {
			for _, c := range conns {
				if c != nil {
					c.Close()
				}
			}
		},
	}
}

// engineWay has the node send the echoes itself.
func (r *runner) engineWay(to netip.Addr) *way {
	peer := r.peer
	if r.family == inet6 {
		peer.Subnet = netip.Prefix{}
	} else {
		peer.Subnet6 = netip.Prefix{}
	}
	return &way{
		floor: echo.Floor(to),
		echo: func(ctx context.Context, _, size int, df bool) (trip, error) {
			rtt, from, err := r.facts.Engine(ctx, peer, size, df)
			return trip{rtt: rtt, from: from}, err
		},
		ceiling: func() int { return r.peer.MTU },
	}
}

// portWay has the node send datagrams to the peer's tunnel port. Their size is
// the node's to choose, and they may be fragmented.
func (r *runner) portWay() *way {
	port := r.peer.Endpoint.Port()
	return &way{
		name: fmt.Sprintf("port %d", port), port: true,
		echo: func(ctx context.Context, _, _ int, _ bool) (trip, error) {
			rtt, observed, size, err := r.facts.Underlay(ctx, r.peer)
			if errors.Is(err, ErrNotWeft) {
				return trip{}, notTried{err.Error()}
			}
			return trip{rtt: rtt, from: r.peer.Endpoint.Addr(), note: r.seen(observed), size: size}, err
		},
		ceiling: func() int { return 0 },
	}
}

// seen remarks on the address that the peer saw us at.
func (r *runner) seen(observed netip.AddrPort) string {
	a := observed.Addr().Unmap()
	switch {
	case !a.IsValid():
		return ""
	case len(r.facts.Outer) > 0 && !slices.Contains(r.facts.Outer, a):
		return fmt.Sprintf("it sees us as %s, which is not ours: there is NAT on the way", observed)
	}
	return fmt.Sprintf("it sees us as %s", observed)
}

// A localAddr is an address of this host.
type localAddr struct {
	addr netip.Addr
	link string
}

func (a localAddr) on(links []string) bool { return slices.Contains(links, a.link) }

// localAddrs lists the addresses of the interfaces that are up.
func localAddrs() (all []localAddr, err error) {
	links, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	for _, l := range links {
		if l.Flags&net.FlagUp == 0 {
			continue
		}
		addrs, err := l.Addrs()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", l.Name, err)
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok {
				addr, _ := netip.AddrFromSlice(n.IP)
				all = append(all, localAddr{addr.Unmap(), l.Name})
			}
		}
	}
	return all, nil
}
