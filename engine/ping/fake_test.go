package ping

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// A wire stands for what is between two addresses.
type wire struct {
	limit  int  // bytes that pass; 0: any
	told   bool // packets that are too long are refused with the limit
	lie    int  // what is told instead
	dead   bool // nothing passes
	err    error
	lose   func(n int) bool // the n-th packet, from 1
	seen   int
	notDF  int
	closed int
	mtu    int // that the kernel believes in
}

func (w *wire) carry(ctx context.Context, size int, df bool) (time.Duration, error) {
	w.seen++
	if !df {
		w.notDF++
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case w.limit > 0 && size > w.limit && w.told:
		mtu := w.limit
		if w.lie > 0 {
			mtu = w.lie
		}
		return 0, &echo.Refusal{From: netip.MustParseAddr("192.0.2.254"), Text: "fragmentation needed", MTU: mtu, Err: unix.EMSGSIZE}
	case w.dead || w.limit > 0 && size > w.limit || w.lose != nil && w.lose(w.seen):
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return time.Millisecond, nil
}

// A fakeConn is an ICMP socket on a wire.
type fakeConn struct {
	*wire
	df bool
}

func (c fakeConn) Echo(ctx context.Context, _ uint16, size int) (time.Duration, error) {
	return c.carry(ctx, size, c.df)
}
func (c fakeConn) PathMTU() int { return c.mtu }
func (c fakeConn) Close() error { c.closed++; return nil }

// portSize is what the node makes of a datagram to the port, in bytes.
const portSize = 188

// A world is the node n1, the peer n2, and the wires between them.
type world struct {
	peer                                control.Peer
	underlay, port, engine, kernel, pod wire
	opened                              map[string]int
	locals                              []localAddr
	openErr                             error
	facts                               Facts
}

func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }
func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }

func newWorld() *world {
	w := &world{
		peer: control.Peer{Name: "n2", Subnet: prefix("10.5.2.0/24"), Subnet6: prefix("fd05:2::/64"), Public: addr("192.0.2.12"),
			Via: "vxlan", Endpoint: netip.MustParseAddrPort("192.0.2.12:8472"), MTU: 1450, Weft: "1.0"},
		opened: map[string]int{},
		locals: []localAddr{{addr("127.0.0.1"), "lo"}, {addr("10.5.1.0"), "flannel0"}, {addr("fd05:1::"), "flannel0"},
			{addr("10.5.1.1"), "cni0"}, {addr("fd05:1::1"), "cni0"}},
	}
	w.underlay.mtu, w.kernel.mtu, w.pod.mtu = 1500, 1450, 1450
	w.facts = Facts{
		Find: func(name string) (control.Peer, error) {
			if name == "n2" || name == "10.5.2.7" || name == "fd05:2::/64" || name == "192.0.2.12" {
				return w.peer, nil
			}
			return control.Peer{}, fmt.Errorf("no peer %q; there are n2 and n3", name)
		},
		Self: []netip.Addr{addr("10.5.1.0"), addr("fd05:1::")}, Outer: []netip.Addr{addr("192.0.2.11")},
		Subnets: []netip.Prefix{prefix("10.5.1.0/24"), prefix("fd05:1::/64")}, Devices: []string{"flannel0"},
		Engine: func(ctx context.Context, p control.Peer, size int, df bool) (time.Duration, netip.Addr, error) {
			if p.Subnet.IsValid() == p.Subnet6.IsValid() {
				return 0, netip.Addr{}, errors.New("handed over with both subnets")
			}
			rtt, err := w.engine.carry(ctx, size, df)
			return rtt, cmp.Or(p.Subnet, p.Subnet6).Addr(), err
		},
		Underlay: func(ctx context.Context, _ control.Peer) (time.Duration, netip.AddrPort, int, error) {
			rtt, err := w.port.carry(ctx, portSize, false)
			return rtt, netip.MustParseAddrPort("192.0.2.11:8472"), portSize, err
		},
	}
	return w
}

func (w *world) open(from, to netip.Addr, df bool) (conn, error) {
	if w.openErr != nil {
		return nil, w.openErr
	}
	w.opened[fmt.Sprintf("%v %v", from, to)]++
	c := fakeConn{&w.kernel, df}
	switch {
	case to == addr("192.0.2.12"):
		c.wire = &w.underlay
	case to != w.peer.Subnet.Addr() && to != w.peer.Subnet6.Addr():
		c.wire = &w.pod
	}
	return c, nil
}

func (w *world) run(ctx context.Context, r control.PingRequest) (replies []control.PingReply, err error) {
	err = run(ctx, r, &runner{
		facts: w.facts, open: w.open,
		locals: func() ([]localAddr, error) { return w.locals, nil },
		each:   func(p control.PingReply) error { replies = append(replies, p); return nil },
	})
	return replies, err
}

// summaries returns those of replies by layer.
func summaries(replies []control.PingReply) map[string]*control.PingReply {
	by := map[string]*control.PingReply{}
	for i := range replies {
		if replies[i].Summary != nil {
			by[replies[i].Layer] = &replies[i]
		}
	}
	return by
}
