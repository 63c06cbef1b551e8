package tunnel

import (
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/encap"
)

// A relay joins our port to our device with nothing but the Coalescer and the
// Cutter in between, and takes notes.
type relay struct {
	*kernelPeer
	dev                  *TUN
	singles, supers, cut int // packets up to the MTU, longer ones, and what longer ones became
	want                 sumState
}

// newRelay gives our namespace the pod's address behind a TUN device.
func newRelay(t testing.TB, k *kernelPeer, allow Feature, want sumState) *relay {
	t.Helper()
	r := &relay{kernelPeer: k, want: want, dev: testTUN(t, TUNOptions{Allow: allow, Stop: k.port.stop,
		Demoted: func(f Feature, err error) { t.Errorf("%v is switched off: %v", f, err) }})}
	l := link(t, tunName)
	must(t, netlink.LinkSetMTU(l, k.mtu))
	must(t, netlink.LinkSetUp(l))
	host := map[int]string{4: "/32", 6: "/128"}[k.inner]
	assign(t, tunName, podOf[k.inner]+host)
	must(t, netlink.RouteAdd(&netlink.Route{LinkIndex: l.Attrs().Index, Dst: ipNet(vtepOf[k.inner][2] + host), Scope: netlink.SCOPE_LINK}))
	return r
}

// run relays while f runs.
func (r *relay) run(t *testing.T, f func()) {
	var loops sync.WaitGroup
	for _, loop := range []func() error{r.up, r.down} {
		loops.Go(func() {
			if err := loop(); err != ErrClosed {
				t.Error(err)
				r.port.stop.Stop()
			}
		})
	}
	defer loops.Wait()
	defer r.port.stop.Stop()
	f()
}

// down writes what arrives to the device.
func (r *relay) down() (err error) {
	inbox, g := NewInbox(), NewGather()
	join := encap.NewCoalescer(func(s *encap.Super) {
		if !r.dev.Features().Has(Vnet) && s.Offload.Flags != 0 && encap.Finish(s.Packets[0], &s.Offload) {
			s.Offload = encap.Offload{}
		}
		if err == nil {
			err = r.dev.Write(g, Offload(s.Offload), s.Pieces)
		}
		if len(s.Packets) != s.Count {
			r.cut += s.Count
		}
	})
	join.TCP, join.UDP, join.MTU = r.dev.Features().Has(TSO), r.dev.Features().Has(USO), r.mtu
	for err == nil {
		if e := r.port.Recv(inbox); e != nil {
			return e
		}
		for _, m := range inbox.Messages {
			for _, f := range r.open(m) {
				r.note(f)
				h, drop := encap.Parse(f.packet)
				if drop != encap.Delivered {
					r.t.Errorf("%v", drop)
				} else if f.message > f.size && len(f.packet) > f.size {
					drop = join.AddSuper(f.packet, &h, f.size)
				} else {
					drop = join.Add(f.packet, &h, true)
				}
				if drop != encap.Delivered {
					r.t.Errorf("a packet of %d bytes: %v", len(f.packet), drop)
				}
			}
		}
		join.Flush()
	}
	return err
}

func (r *relay) note(f frame) {
	checkIP(r.t, f.packet)
	if len(f.packet) > l4len(r.inner)+60 { // an answer without a socket, as after a close, is always complete
		checkSum(r.t, f.packet, r.want)
	}
	if len(f.packet) > r.mtu {
		r.supers++
	} else {
		r.singles++
	}
}

// up sends what the device gives, datagram by datagram.
func (r *relay) up() error {
	batch, out, cutter := NewBatch(), NewOutbox(), encap.NewCutter(1<<16)
	prefix := append([]byte{8, 0, 0, 0, 0, 0, 1, 0}, macOf[2]...)
	prefix = append(append(prefix, macOf[1]...), map[int][]byte{4: {8, 0}, 6: {0x86, 0xdd}}[r.inner]...)
	to := NewAddr(netip.AddrPortFrom(netip.MustParseAddr(outerOf[r.outer][2]), 8472))
	var segs []encap.Segment
	for {
		if err := r.dev.Read(batch); err != nil {
			return err
		}
		cutter.Reset()
		segs = segs[:0]
		for _, p := range batch.Packets {
			if h, drop := encap.Parse(p.Data); drop == encap.Delivered {
				o := encap.Offload(p.Offload)
				segs, _ = cutter.Cut(segs, p.Data, &h, &o, prefix)
			}
		}
		for _, s := range segs {
			m := []Message{{To: to, Pieces: [][]byte{s.Head, s.Body}, Count: 1, Size: s.Len(), Bytes: s.Len()}}
			if _, err := r.port.Send(out, m); err != nil {
				return err
			}
		}
	}
}

// The peer's TCP superpackets arrive as one datagram of up to 64 KB, without a
// word about the segments: lengths and IPv4 header are those of the
// superpacket, the checksum field holds the sum of its pseudo header. On a
// wire without offloads there are none. What the Coalescer makes of them, our
// kernel takes, be it a superpacket again or cut for a device that wants none,
// and the bytes are those that were sent. (Coalescer.MTU.)
func TestKernelAssumptionTCPSuperpackets(t *testing.T) {
	for name, tc := range map[string]struct {
		off    []string
		allow  Feature
		supers bool
		want   sumState
	}{
		"veth":         {nil, allTUN, true, pseudo},
		"veth, no tso": {nil, Vnet, true, pseudo},
		"veth, plain":  {nil, 0, true, pseudo},
		"tap":          {[]string{tapWire}, allTUN, false, pseudo},
		"tap, tunnels": {[]string{tapTunnelWire}, allTUN, true, pseudo},
		"wire-like":    {offloads, allTUN, false, pseudo},
		"no checksums": {append([]string{checksums}, offloads...), allTUN, false, complete},
	} {
		t.Run(name, func(t *testing.T) {
			onWires(t, tc.off, func(t *testing.T, k *kernelPeer) {
				if tc.allow == 0 && k.outer != k.inner {
					t.Skip("the device's mode has nothing to do with the wire")
				}
				r := newRelay(t, k, tc.allow, k.sums(tc.want))
				l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(podOf[k.inner]), 0).String())
				must(t, err)
				port := uint16(l.Addr().(*net.TCPAddr).Port)
				r.run(t, func() { moveBytes(t, 4<<20, l, func() net.Conn { return k.dial("tcp", port) }) })
				if r.supers > 0 != tc.supers {
					t.Errorf("%d packets up to the MTU, %d longer ones", r.singles, r.supers)
				}
				if tc.supers && r.cut < 2*r.supers {
					t.Errorf("%d superpackets became %d packets", r.supers, r.cut)
				}
			})
		})
	}
}

// The peer's UDP superpackets are rebuilt as they were: a pod's socket gets
// every datagram, at its length. Before Linux 5.11 the peer has none to send.
func TestKernelAssumptionUDPSuperpackets(t *testing.T) {
	for name, allow := range map[string]Feature{"uso": allTUN, "no uso": Vnet | TSO} {
		t.Run(name, func(t *testing.T) {
			onWires(t, nil, func(t *testing.T, k *kernelPeer) {
				r := newRelay(t, k, allow, pseudo)
				c := listen(t, netip.AddrPortFrom(netip.MustParseAddr(podOf[k.inner]), 5000).String())
				var got [][]byte
				r.run(t, func() {
					sendSuper(t, k, 40, 1000, 300)
					for range 41 {
						buf := make([]byte, 2000)
						n, err := c.Read(buf)
						must(t, err)
						got = append(got, buf[:n])
					}
				})
				sameDatagrams(t, got, split(Received{Data: pattern(9, 40300), Size: 1000}))
				supers, cut := 1, 41
				if !k.keepsRuns() {
					supers, cut = 0, 0
				}
				if r.supers != supers || r.cut != cut {
					t.Errorf("%d superpackets became %d packets", r.supers, r.cut)
				}
			})
		})
	}
}
