package ping

import (
	"context"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/engine/control"
	"weft/engine/ping/echo"
	"weft/engine/ping/internal/line"
)

// A site is a line whose ends hold a subnet each, with a tunnel address and a
// bridge; the router between them stands for the tunnel.
type site struct {
	*line.Line
	facts  Facts
	peer   netip.Prefix
	router netip.Addr
}

func newSite(t *testing.T, six bool) *site {
	l := line.New(t)
	i, bits, host := 0, 24, 32
	own, peer := prefix("10.5.1.0/24"), prefix("10.5.2.0/24")
	if six {
		i, bits, host = 1, 64, 128
		own, peer = prefix("fd05:1::/64"), prefix("fd05:2::/64")
	}
	for h, p := range map[*line.Host]netip.Prefix{l.Near: own, l.Far: peer} {
		h.Bridge("flannel0", netip.PrefixFrom(p.Addr(), host))
		h.Bridge("cni0", netip.PrefixFrom(p.Addr().Next(), bits))
	}
	l.Router.Via("near", own, line.Near[i])
	l.Router.Via("far", peer, line.Far[i])
	settled(t, line.Near[i], line.Far[i])
	settled(t, own.Addr(), peer.Addr())
	settled(t, own.Addr().Next(), peer.Addr().Next())
	p := control.Peer{Name: "n2", Via: "udp", Endpoint: netip.AddrPortFrom(line.Far[i], 8285)}
	if p.Subnet = peer; six {
		p.Subnet, p.Subnet6 = netip.Prefix{}, peer
	}
	return &site{Line: l, peer: peer, router: line.Router[i], facts: Facts{
		Find: func(string) (control.Peer, error) { return p, nil },
		Self: []netip.Addr{own.Addr()}, Outer: []netip.Addr{line.Near[i]},
		Subnets: []netip.Prefix{own}, Devices: []string{"flannel0"},
		Engine: func(ctx context.Context, p control.Peer, size int, df bool) (time.Duration, netip.Addr, error) {
			c, err := echo.Open(own.Addr(), peer.Addr(), df)
			if err != nil {
				return 0, netip.Addr{}, err
			}
			defer c.Close()
			rtt, err := c.Echo(ctx, 1, size)
			return rtt, peer.Addr(), err
		},
	}}
}

// settled returns when an echo between the two has been answered: IPv6 addresses
// and neighbours take the kernel a moment, in which packets are lost.
func settled(t *testing.T, from, to netip.Addr) {
	t.Helper()
	c, err := echo.Open(from, to, false)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for seq := range uint16(300) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		_, err = c.Echo(ctx, seq, 84)
		cancel()
		if err == nil {
			return
		}
	}
	t.Fatalf("%s to %s: %v", from, to, err)
}

// ping runs a request with time enough for every answer that will come.
func (s *site) ping(t *testing.T, r control.PingRequest) (by map[string]*control.PingReply, verdict control.PingReply) {
	t.Helper()
	var all []control.PingReply
	r.Peer, r.Interval = "n2", 0.001
	err := Run(t.Context(), r, s.facts, func(p control.PingReply) error { all = append(all, p); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return summaries(all), all[len(all)-1]
}

func bothFamilies(t *testing.T, f func(*testing.T, *site)) {
	for name, six := range map[string]bool{"IPv4": false, "IPv6": true} {
		t.Run(name, func(t *testing.T) { f(t, newSite(t, six)) })
	}
}

func TestKernelAllLayers(t *testing.T) {
	bothFamilies(t, func(t *testing.T, s *site) {
		by, v := s.ping(t, control.PingRequest{Count: 2, Timeout: 20, Size: 3000})
		for _, l := range layers {
			if sum := by[l].Summary; sum.Answered != 2 {
				t.Errorf("%s: %+v", l, sum)
			}
		}
		if v.Layer != "" {
			t.Errorf("%+v", v)
		}
		if want := s.facts.Subnets[0].Addr().Next().String() + " to "; !strings.HasPrefix(by["pod"].Note, want) {
			t.Errorf("the pod layer went %q, want %q", by["pod"].Note, want)
		}
	})
}

// The far kernel refuses what is for its bridge: the router says so.
func TestKernelRefusal(t *testing.T) {
	bothFamilies(t, func(t *testing.T, s *site) {
		bridge := s.peer.Addr().Next()
		s.Router.Refuse(netip.PrefixFrom(bridge, bridge.BitLen()), unix.RTN_PROHIBIT)
		by, v := s.ping(t, control.PingRequest{Count: 1, Timeout: 20})
		if v.Layer != "pod" || !strings.Contains(v.Verdict, "pod fails (from "+s.router.String()+": administratively prohibited)") {
			t.Errorf("%q %q", v.Layer, v.Verdict)
		}
		if by["kernel"].Summary.Answered != 1 || by["pod"].Summary.Answered != 0 {
			t.Errorf("%+v %+v", by["kernel"].Summary, by["pod"].Summary)
		}
	})
}

// A link with a smaller MTU whose router speaks is found at once, and is no
// fault.
func TestKernelSweepTold(t *testing.T) {
	bothFamilies(t, func(t *testing.T, s *site) {
		s.Router.MTU("far", 1400)
		s.Far.MTU("eth0", 1400)
		by, v := s.ping(t, control.PingRequest{Count: 1, Timeout: 20, Sweep: true})
		for _, l := range layers {
			if sum := by[l].Summary; sum.Largest != 1400 {
				t.Errorf("%s: %+v, want 1400", l, sum)
			}
		}
		if v.Layer != "" {
			t.Errorf("%+v", v)
		}
	})
}

// A veth lets nothing in that is longer than its MTU and a VLAN tag, and says
// nothing: a black hole.
func TestKernelSweepBlackHole(t *testing.T) {
	bothFamilies(t, func(t *testing.T, s *site) {
		s.Near.MTU("eth0", 1410)
		s.Router.MTU("near", 1410)
		s.Router.MTU("far", 1410)
		s.Far.MTU("eth0", 1400)
		const limit = 1400 + 4
		by, v := s.ping(t, control.PingRequest{Count: 1, Sweep: true, Layers: []string{"kernel"}})
		if by["kernel"].Summary.Largest != limit {
			t.Errorf("%+v, want %d", by["kernel"].Summary, limit)
		}
		if v.Layer != "kernel" || !strings.Contains(v.Verdict, "more than 1404 bytes vanish") {
			t.Errorf("%q %q", v.Layer, v.Verdict)
		}
		_, v = s.ping(t, control.PingRequest{Count: 1, Size: limit + 1, DF: true, Layers: []string{"kernel"}})
		if v.Layer != "kernel" || !strings.Contains(v.Verdict, "only packets of 1405 bytes are lost") {
			t.Errorf("%q %q", v.Layer, v.Verdict)
		}
	})
}
