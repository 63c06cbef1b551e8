package engine

import (
	"bytes"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
	"weft/tunnel/tunneltest"
)

// TestKernelTakesAnything: a capability is switched off for good when the
// kernel says EINVAL to a superpacket, so nobody may be able to provoke that
// from afar. Whatever a peer sends, be it never so strange, what we make of it
// the kernel must take, even if only to throw it away.
func TestKernelTakesAnything(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("a network namespace without a user namespace needs root; see TestUserNSKernelTakesAnything")
	}
	inChild(t, 0, testKernelTakesAnything)
}

func TestUserNSKernelTakesAnything(t *testing.T) {
	inChild(t, unix.CLONE_NEWUSER, testKernelTakesAnything)
}

func testKernelTakesAnything(t *testing.T) {
	underlay(t)
	stop, err := tunnel.NewStopper()
	must(t, err)
	defer stop.Close()
	dev, err := tunnel.OpenTUN(tunnel.TUNOptions{Name: Device, Allow: allTUN, Stop: stop,
		Demoted: func(f tunnel.Feature, err error) { t.Errorf("%v is switched off: %v", f, err) }})
	must(t, err)
	defer dev.Close()
	link, err := netlink.LinkByName(Device)
	must(t, err)
	must(t, netlink.LinkSetUp(link))
	must(t, dev.Probe())
	udp := newRig(t, usual())
	udp.down.dev = dev
	vxlan := newCluster(t, tunneltest.NewWire(), allTUN, allPort, "vxlan", "vxlan")[0]
	vxlan.down.dev = dev
	rng := rand.New(rand.NewPCG(8, 9))
	feedStrangely(t, udp, rng, func() tunnel.Received {
		data := strangeRun(rng)
		return tunnel.Received{Data: bytes.Join(data, nil), Size: len(data[0])}
	})
	feedStrangely(t, vxlan, rng, func() tunnel.Received { return strangeSuper(rng) })
}

// feedStrangely lets r take many messages of which the device must not refuse
// what becomes of them.
func feedStrangely(t *testing.T, r *rig, rng *rand.Rand, next func() tunnel.Received) {
	supers := 0
	for range 3000 {
		m := next()
		before := r.counts[1].calls.Load()
		packets := r.counts[1].packets.Load()
		m.From = outer(2)
		r.ports[0].Inject(m)
		r.drain()
		if r.counts[1].packets.Load()-packets > r.counts[1].calls.Load()-before {
			supers++
		}
		if t.Failed() {
			t.Fatalf("by a message of %d×%d: % x", len(m.Data), m.Size, m.Data[:min(120, len(m.Data))])
		}
	}
	for _, reason := range []encap.Drop{encap.TunError, encap.TunFull} {
		if n := r.drops()[reason.String()]; n != 0 {
			t.Errorf("%d packets dropped as %v", n, reason)
		}
	}
	if supers < 100 {
		t.Errorf("only %d of the messages became superpackets: the test is about nothing", supers)
	}
}

// strangeSuper is a frame with a superpacket as a kernel peer sends it uncut,
// of any size, and with a byte of its headers turned over now and then.
func strangeSuper(rng *rand.Rand) tunnel.Received {
	src, dst := pod(2, 2), pod(1, 2)
	if rng.IntN(2) == 0 {
		src, dst = pod6(2, 2), pod6(1, 2)
	}
	payload := pattern(rng.IntN(100), 1+rng.IntN([]int{100, 3000, 65000}[rng.IntN(3)]))
	p := ip(src, dst, tcp, tcpSegment(1, 2, 7, 0x10|uint8(rng.IntN(256)*rng.IntN(2)), payload))
	size := 0
	if rng.IntN(2) == 0 {
		p = ip(src, dst, udp, udpDatagram(1, 2, payload))
		size = 1 + rng.IntN(len(payload))
	}
	f := frame(partial(p).Data)
	if rng.IntN(3) == 0 {
		f[22+ipLen(p)+rng.IntN(8)] ^= byte(rng.Uint32())
	}
	if size == 0 {
		size = len(f)
	}
	return tunnel.Received{Data: f, Size: size}
}

// strangeRun is a run of packets from one flow, of any kind and shape, with
// some bytes of the headers turned over: in all packets alike, so that they
// still go together, or in one.
func strangeRun(rng *rand.Rand) (out [][]byte) {
	src, dst := pod(2, 2), pod(1, 2)
	if rng.IntN(2) == 0 {
		src, dst = pod6(2, 2), pod6(1, 2)
	}
	size := 1 + rng.IntN([]int{3, 100, 1400, 9000}[rng.IntN(4)])
	n := 2 + rng.IntN(min(63, 65000/(size+80)))
	options := 4 * rng.IntN(11)
	first := 0
	if rng.IntN(4) > 0 {
		first = ipLenOf(src) + rng.IntN(32) // any transport byte
	}
	mask := byte(rng.Uint32())
	for i := range n {
		var p []byte
		if rng.IntN(4) == 0 && i == 0 || len(out) > 0 && protoOf(out[0]) == udp {
			p = ip(src, dst, udp, udpDatagram(1, 2, pattern(i, size)))
		} else {
			seg := append(make([]byte, 20+options), pattern(i, size)...)
			copy(seg, tcpSegment(1, 2, uint32(1+i*size), 0x10, nil)[:20])
			seg[12] = byte(5+options/4) << 4
			p = ip(src, dst, tcp, seg)
		}
		p = finished(p)
		if first > 0 && first < len(p) && rng.IntN(20) > 0 {
			p[first] ^= mask
		}
		out = append(out, p)
	}
	return out
}

func ipLenOf(addr string) int { return ipLen(ip(addr, addr, icmp, nil)) }
