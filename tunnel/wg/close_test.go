package wg

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"sync"
	"testing"
	"time"

	"weft/tunnel"
)

// flow keeps packets going from one node to another until stop.
func flow(from, to *node, stop <-chan struct{}, wg *sync.WaitGroup) {
	l := from.Lane(to.key())
	wg.Go(func() {
		for i := 0; ; i++ {
			var batch []item
			for _, p := range numbered(inner4(from.n), inner4(to.n), i, 20, 400) {
				batch = append(batch, item{data: p, lane: l})
			}
			select {
			case from.near.in <- batch:
			case <-stop:
				return
			}
		}
	})
	wg.Go(func() {
		for {
			select {
			case <-to.near.out:
			case <-stop:
				return
			}
		}
	})
}

// within fails, with everybody's stack, if f does not return.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(limit):
		panic(what + " does not return") // a deadlock: the stacks tell
	}
}

// A tunnel can be closed while packets flow both ways.
func TestCloseWhileBusy(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	b.feed(a, packet(inner4(2), inner4(1), nil))
	a.get()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	flow(a, b, stop, &wg)
	flow(b, a, stop, &wg)
	for range 2000 { // packets, so that all is under way
		<-b.near.out
	}
	within(t, "Close", b.Close)
	within(t, "the second Close", b.Close)
	within(t, "Close", a.Close)
	close(stop)
	wg.Wait()
	for _, d := range []*node{a, b} {
		select {
		case <-d.Ended():
		default:
			t.Error("it has not ended")
		}
		if err := d.Err(); err != nil {
			t.Errorf("closed, and ended for the reason %v", err)
		}
		if err := d.bind.Send([][]byte{make([]byte, 100)}, newEndpoint(netip.MustParseAddrPort("127.0.0.1:9"))); !errors.Is(err, tunnel.ErrClosed) {
			t.Errorf("Send after Close: %v", err)
		}
		if err := d.SetPeers(nil); err != nil {
			t.Logf("SetPeers after Close: %v", err)
		}
		d.PortDrops()
		d.Losses()
		if d.Features() != 0 {
			t.Error("no port, and features")
		}
	}
}

// The port can be changed while packets flow, peers come and go, and somebody
// asks; the peers find each other again. Nothing waits for anything for ever.
func TestReopenWhileBusy(t *testing.T) {
	a, b := pair(t, 0, nil)
	a.meet(b)
	b.feed(a, packet(inner4(2), inner4(1), nil))
	a.get()
	var wg sync.WaitGroup
	stop := make(chan struct{})
	flow(a, b, stop, &wg)
	flow(b, a, stop, &wg)
	asked := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-asked:
				return
			default:
			}
			extra := Peer{Key: PublicKey{9, byte(i)}, Endpoint: netip.MustParseAddrPort("127.0.0.1:9"), Allowed: subnets(3), Keepalive: 1}
			if err := b.SetPeers([]Peer{a.as(0), extra}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	asking.Go(func() {
		for {
			select {
			case <-asked:
				return
			default:
				b.PortDrops()
				b.Losses()
				b.Features()
				if _, err := b.Peers(); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 15 {
		within(t, "listen_port", func() { must(t, b.dev.IpcSet("listen_port=0\n")) })
		within(t, "fwmark", func() { _ = b.dev.IpcSet("fwmark=0\n") })
		for range 5 {
			a.get() // what b sends gets through, by which a learns its port
		}
	}
	close(asked)
	asking.Wait()
	close(stop)
	wg.Wait()
	if err := b.Err(); err != nil {
		t.Error(err)
	}
}

// A tunnel that is closed while peers are set is closed all the same.
func TestCloseWhileSetting(t *testing.T) {
	for round := range 20 {
		a := newNode(t, 1, nil)
		var wg sync.WaitGroup
		begun := make(chan struct{})
		wg.Go(func() {
			for i := range 50 {
				p := Peer{Key: PublicKey{9, byte(i)}, Endpoint: a.at(0), Allowed: subnets(3), Keepalive: 25}
				err := a.SetPeers([]Peer{p})
				if i == round {
					close(begun)
				}
				if err != nil {
					return
				}
			}
		})
		<-begun
		within(t, "Close", a.Close)
		within(t, "SetPeers", wg.Wait)
	}
}

// A tunnel whose pods' side fails ends, and says why; even at once.
func TestNearFails(t *testing.T) {
	why := fmt.Errorf("the device is gone: %w", os.ErrNotExist)
	d := newNode(t, 1, func(o *Options) { o.Near = failing{o.Near, why} })
	select {
	case <-d.Ended():
	case <-time.After(limit):
		t.Fatal("it has not ended")
	}
	if !errors.Is(d.Err(), why) {
		t.Errorf("ended for the reason %v", d.Err())
	}
}

type failing struct {
	Near
	why error
}

func (f failing) Read([][]byte, int, []Outgoing) (int, error) { return 0, f.why }

// A tunnel that cannot have its port is not made, and leaves nothing.
func TestNewFails(t *testing.T) {
	a := newNode(t, 1, nil)
	near := newFakeNear()
	_, err := New(Options{Name: "wg-test", MTU: 1420, Key: NewPrivateKey(), Local: loopback, Port: a.at(0).Port(), Near: near, Open: a.open, Log: a.log})
	if err == nil {
		t.Fatal("two tunnels have one port")
	}
	select {
	case <-near.done:
	default:
		t.Error("the pods' side was not stopped")
	}
}

// Datagrams of a family without a port are counted as refused; the port that
// there is has the number asked for.
func TestOneFamily(t *testing.T) {
	a := newNode(t, 1, func(o *Options) { o.Local[1] = netip.Addr{} })
	b := newNode(t, 2, nil)
	must(t, a.SetPeers([]Peer{b.as(0)}))
	must(t, b.SetPeers([]Peer{a.as(0)}))
	a.meet(b)
	must(t, a.SetPeers([]Peer{b.as(1)}))
	a.feed(b, numbered(inner4(1), inner4(2), 0, 7, 100)...)
	l := a.Lane(b.key())
	a.awaitCount(l, func(c *counted) bool { return c.refused >= 7 })
	a.counted(l, func(c *counted) {
		if c.refused != 7 || !errors.Is(a.last, errNoFamily) || c.packets != 1 {
			t.Errorf("counted %+v, %v", *c, a.last)
		}
	})
}

// A bind opens once, closes as often as one likes, and its receivers end with it.
func TestBind(t *testing.T) {
	a := newNode(t, 1, nil)
	o := a.bind.now
	if _, _, err := a.bind.Open(0); err == nil {
		t.Error("opened twice")
	}
	must(t, a.dev.Down())
	if o.users.Load() != 0 || !o.stop.Stopped() || o.enter() {
		t.Errorf("%d users are left", o.users.Load())
	}
	must(t, a.bind.Close())
	fns, port, err := a.bind.Open(0)
	must(t, err)
	if len(fns) != 3 || port == 0 || a.at(0).Port() != port || a.at(1).Port() != port {
		t.Errorf("%d receivers, port %d", len(fns), port)
	}
	must(t, a.bind.SetMark(0))
	must(t, a.bind.Close()) // its receivers never ran
	for _, f := range fns {
		if n, err := f(nil, nil, nil); n != 0 || err == nil {
			t.Errorf("a receiver of a closed bind: %d, %v", n, err)
		}
	}
	if _, err := a.bind.ParseEndpoint("nonsense"); err == nil {
		t.Error("nonsense is an endpoint")
	}
}
