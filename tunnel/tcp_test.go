package tunnel

import (
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

var (
	ephemeral = netip.MustParseAddrPort("0.0.0.0:0")
	overlay   = NewAddr(netip.MustParseAddrPort("10.5.2.9:4000"))
)

// A host is a namespace with a TUN device in it.
type host struct {
	*space
	dev *TUN
}

// newHost makes a host whose device has the given addresses.
func newHost(t *testing.T, stop *Stopper, allow Feature, addrs ...string) *host {
	h := &host{space: newSpace(t)}
	h.do(func() error {
		var err error
		if h.dev, err = OpenTUN(TUNOptions{Name: tunName, Allow: allow, Stop: stop}); err != nil {
			return err
		}
		l, err := netlink.LinkByName(tunName)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			err = errors.Join(err, netlink.AddrAdd(l, &netlink.Addr{IPNet: ipNet(a), Flags: unix.IFA_F_NODAD}))
		}
		return errors.Join(err, netlink.LinkSetUp(l))
	})
	t.Cleanup(func() { must(t, h.dev.Close()) })
	return h
}

// carry writes to one device what the other gives, as it comes, and counts
// superpackets by type.
func carry(from, to *TUN, supers *[256]atomic.Int64) error {
	batch, g := NewBatch(), NewGather()
	for {
		if err := from.Read(batch); err != nil {
			return err
		}
		for _, p := range batch.Packets {
			supers[p.Offload.GSO&^gsoECN].Add(1)
			if err := to.Write(g, p.Offload, [][]byte{p.Data}); err != nil {
				return err
			}
		}
	}
}

// TestTUNTCP moves a megabyte over a real TCP connection between two
// namespaces that are joined by nothing but our two devices. The kernel cuts
// and joins superpackets at both ends; we only pass them on.
func TestTUNTCP(t *testing.T) {
	for _, tc := range []struct {
		name  string
		allow Feature
		addr  [2]string
		super uint8 // expected on the way; 0: none may be
	}{
		{"tso4", allTUN, [2]string{"10.5.1.1/16", "10.5.2.1/16"}, gsoTCP4},
		{"tso6", allTUN, [2]string{"fd00:10:5:1::1/48", "fd00:10:5:2::1/48"}, gsoTCP6},
		{"no tso", Vnet, [2]string{"10.5.1.1/16", "10.5.2.1/16"}, 0},
		{"no vnet", 0, [2]string{"10.5.1.1/16", "10.5.2.1/16"}, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tunSpace(t)
			stop := stopper(t)
			a, b := newHost(t, stop, tc.allow, tc.addr[0]), newHost(t, stop, tc.allow, tc.addr[1])
			var supers [256]atomic.Int64
			var pump sync.WaitGroup
			for _, d := range [][2]*TUN{{a.dev, b.dev}, {b.dev, a.dev}} {
				pump.Go(func() {
					if err := carry(d[0], d[1], &supers); err != ErrClosed {
						t.Error(err)
					}
				})
			}
			func() {
				defer pump.Wait()
				defer stop.Stop()
				transfer(t, a, b, netip.MustParsePrefix(tc.addr[1]).Addr())
			}()
			for gso := uint8(1); gso != 0; gso++ {
				if n := supers[gso].Load(); n > 0 != (gso == tc.super) {
					t.Errorf("%d superpackets of type %d", n, gso)
				}
			}
		})
	}
}

// transfer sends random bytes from a to a listener on b and compares hashes.
func transfer(t *testing.T, a, b *host, addr netip.Addr) {
	t.Helper()
	var l net.Listener
	b.do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return err
	})
	moveBytes(t, 1<<20, l, func() (c net.Conn) {
		a.do(func() (err error) {
			c, err = net.DialTimeout("tcp", l.Addr().String(), patience)
			return err
		})
		return c
	})
}

// moveBytes sends n random bytes from a connection to a listener, and compares
// hashes.
func moveBytes(t *testing.T, n int, l net.Listener, dial func() net.Conn) {
	t.Helper()
	got := make(chan [sha256.Size]byte, 1)
	var server sync.WaitGroup
	server.Go(func() {
		defer close(got)
		c, err := l.Accept()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		h := sha256.New()
		if _, err := io.Copy(h, c); err != nil {
			t.Error(err)
		}
		got <- [sha256.Size]byte(h.Sum(nil))
	})
	data := make([]byte, n)
	rand.NewChaCha8([32]byte{7}).Read(data)
	c := dial()
	_, err := c.Write(data)
	must(t, errors.Join(err, c.Close()))
	server.Wait()
	must(t, l.Close())
	if want := sha256.Sum256(data); <-got != want {
		t.Error("other bytes arrive than were sent")
	}
}
