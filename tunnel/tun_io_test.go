package tunnel

import (
	"bytes"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// read collects datagrams that the kernel sends into the device until there
// are n.
func read(t testing.TB, d end, n int) (got [][]byte, batches []int) {
	t.Helper()
	batch := NewBatch()
	for len(got) < n {
		must(t, d.Read(batch))
		batches = append(batches, len(batch.Packets))
		for _, p := range batch.Packets {
			got = append(got, payloads(p)...)
		}
	}
	return got, batches
}

// A run that a pod sends with UDP_SEGMENT comes as one superpacket where USO
// is allowed, and cut by the kernel where it is not.
func TestTUNReadUDP(t *testing.T) {
	for _, allow := range []Feature{allTUN, Vnet | TSO, 0} {
		for _, to := range []string{"10.5.2.9:4000", "[fd00:10:5:2::9]:4000"} {
			t.Run(allow.String()+"/"+to, func(t *testing.T) {
				tunSpace(t)
				d := testTUN(t, TUNOptions{Allow: allow, Stop: stopper(t)})
				linkUp(t)
				want := train(0, 20, 1000, 333)
				sendTrain(t, to, want)
				batch := NewBatch()
				must(t, d.Read(batch))
				if d.Features().Has(USO) {
					p := batch.Packets[0]
					at := uint16(l4(p.Data))
					if len(batch.Packets) != 1 || p.Offload != (Offload{Flags: 1, GSO: gsoUDP, HdrLen: at + 8, GSOSize: 1000, CsumStart: at, CsumOffset: 6}) {
						t.Errorf("%d packets, the first with %+v", len(batch.Packets), p.Offload)
					}
				} else if len(batch.Packets) != len(want) {
					t.Errorf("%d packets in the first batch, want %d", len(batch.Packets), len(want))
				}
				var got [][]byte
				for _, p := range batch.Packets {
					got = append(got, payloads(p)...)
				}
				sameDatagrams(t, got, want)
			})
		}
	}
}

// Small packets that wait come in one read, as many as a batch holds, and the
// next batch goes on where that ended. There is room in front of each.
func TestTUNDrain(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	const n = batchPackets + 60
	var want [][]byte
	for i := range n { // of changing length, so that no run can be made of them
		want = append(want, pattern(i, 20+i%7))
		sendTrain(t, "10.5.2.9:4000", want[i:])
	}
	got, batches := read(t, d, n)
	sameDatagrams(t, got, want)
	if fmt.Sprint(batches) != fmt.Sprint([]int{batchPackets, n - batchPackets}) {
		t.Errorf("batches of %v packets", batches)
	}

	// Large packets fill a batch earlier, and none is lost where it ends.
	want = want[:0]
	for i := range n {
		want = append(want, pattern(i, 1400))
		sendTrain(t, "10.5.2.9:4000", want[i:])
	}
	got, batches = read(t, d, n)
	sameDatagrams(t, got, want)
	if len(batches) < n*1428/batchBytes {
		t.Errorf("batches of %v packets", batches)
	}
}

// A full superpacket is a batch of its own.
func TestTUNSuperpacketIsABatch(t *testing.T) {
	tunSpace(t)
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
	linkUp(t)
	if !d.Features().Has(USO) {
		t.Skip("no USO here")
	}
	run := train(0, 46, 1400, 1400)
	for range 2 {
		sendTrain(t, "10.5.2.9:4000", run)
	}
	sendTrain(t, "10.5.2.9:4000", run[:1])
	got, batches := read(t, d, 93)
	sameDatagrams(t, got, append(append(run, run...), run[0]))
	if fmt.Sprint(batches) != "[1 1 1]" {
		t.Errorf("batches of %v packets, want one each", batches)
	}
}

// Superpackets and single packets that are written reach a socket as the right
// datagrams.
func TestTUNWrite(t *testing.T) {
	for _, addr := range [][2]string{{"10.5.2.9:4000", "10.5.1.0:5000"}, {"[fd00:10:5:2::9]:4000", "[fd00:10:5:1::]:5000"}} {
		t.Run(addr[1], func(t *testing.T) {
			tunSpace(t)
			d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t)})
			linkUp(t)
			c := listen(t, addr[1])
			g := NewGather()
			var want [][]byte
			write := func(o Offload, p []byte, datagrams ...[]byte) {
				t.Helper()
				want = append(want, datagrams...)
				pieces := [][]byte{p[:7], nil, p[7 : len(p)/2], p[len(p)/2:]}
				if err := d.Write(g, o, pieces); err != nil {
					t.Errorf("Write with %+v: %v", o, err)
				}
			}
			one := pattern(1, 999)
			write(Offload{}, finish(udpPacket(addr[0], addr[1], one)), one)
			p := udpPacket(addr[0], addr[1], one)
			write(partial(p), p, one)
			if d.Features().Has(USO) {
				run := train(2, 44, 1400, 77)
				p = udpPacket(addr[0], addr[1], bytes.Join(run, nil))
				o := partial(p)
				o.GSO, o.GSOSize, o.HdrLen = gsoUDP, 1400, o.CsumStart+8
				write(o, p, run...)
			}
			write(Offload{}, finish(udpPacket(addr[0], addr[1], []byte("end"))), []byte("end"))
			must(t, c.SetReadDeadline(time.Now().Add(patience)))
			buf := make([]byte, 65536)
			for i := range want {
				n, from, err := c.ReadFromUDPAddrPort(buf)
				if err != nil {
					t.Fatalf("datagram %d of %d: %v", i, len(want), err)
				}
				if from.String() != addr[0] || !bytes.Equal(buf[:n], want[i]) {
					t.Fatalf("datagram %d: %d bytes from %v, want %d from %s; or other bytes", i, n, from, len(want[i]), addr[0])
				}
			}
		})
	}
}

// TestTUNRefused: what the kernel says EINVAL to is demoted if it is a
// superpacket, once and alone; a single packet just fails.
func TestTUNRefused(t *testing.T) {
	tunSpace(t)
	var told demotions
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t), Demoted: told.note})
	linkUp(t)
	had := d.Features()
	p := udpPacket("10.5.2.9:4000", "10.5.1.0:5000", make([]byte, 2000))
	beyond := uint16(len(p)) // checksums cannot begin behind the packet
	g := NewGather()
	if err := d.Write(g, Offload{Flags: 1, CsumStart: beyond, CsumOffset: 6}, [][]byte{p}); err != unix.EINVAL {
		t.Errorf("a bad single packet: %v", err)
	}
	if d.Features() != had || len(told) != 0 {
		t.Fatalf("a bad single packet demotes %v", told)
	}
	for _, o := range []Offload{
		{Flags: 1, GSO: gsoTCP4, HdrLen: 40, GSOSize: 500, CsumStart: beyond, CsumOffset: 16},
		{Flags: 1, GSO: gsoTCP6 | gsoECN, HdrLen: 40, GSOSize: 500, CsumStart: beyond, CsumOffset: 16},
		{Flags: 1, GSO: gsoUDP, HdrLen: 28, GSOSize: 500, CsumStart: beyond, CsumOffset: 6},
	} {
		want := TSO
		if o.GSO == gsoUDP {
			want = USO
		}
		err := d.Write(g, o, [][]byte{p})
		var refused *RefusedError
		if !errors.As(err, &refused) || refused.Feature != want || !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: %v, want %v refused", o, err, want)
		}
		if d.Features().Has(want) {
			t.Errorf("%v still offered", want)
		}
	}
	if want := (demotions{TSO, USO}); fmt.Sprint(told) != fmt.Sprint(want) && had.Has(USO) {
		t.Errorf("told %v, want %v", told, want)
	}
	if !d.Features().Has(Vnet) {
		t.Error("the header is gone too")
	}
}

// Probe takes nothing away from a kernel that keeps its word, puts nothing on
// the network, and needs the link up.
func TestTUNProbe(t *testing.T) {
	tunSpace(t)
	var told demotions
	d := testTUN(t, TUNOptions{Allow: allTUN, Stop: stopper(t), Demoted: told.note})
	if err := d.Probe(); !errors.Is(err, unix.EIO) {
		t.Errorf("with the link down: %v", err)
	}
	linkUp(t)
	had := d.Features()
	must(t, d.Probe())
	if d.Features() != had || len(told) != 0 {
		t.Errorf("%v demoted", told)
	}
	sendTrain(t, "10.5.2.9:4000", [][]byte{[]byte("marker")})
	got, _ := read(t, d, 1)
	sameDatagrams(t, got, [][]byte{[]byte("marker")}) // nothing answered the probe
}

// A device that is deleted under its reader ends the read with an error.
func TestTUNDeleted(t *testing.T) {
	tunSpace(t)
	for name, open := range map[string]func(TUNOptions) (end, error){
		"tun":   func(o TUNOptions) (end, error) { return OpenTUN(o) },
		"plain": func(o TUNOptions) (end, error) { return OpenPlain(o) },
	} {
		d, err := open(TUNOptions{Name: tunName, Persist: true, Allow: allTUN, Stop: stopper(t)})
		must(t, err)
		linkUp(t)
		ended := make(chan error, 1)
		go func() { ended <- d.Read(NewBatch()) }()
		sendTrain(t, "10.5.2.9:4000", [][]byte{{1}})
		must(t, await(t, "a packet", ended)) // the reader works
		go func() { ended <- d.Read(NewBatch()) }()
		must(t, netlink.LinkDel(link(t, tunName)))
		if err := await(t, "Read", ended); err == nil || errors.Is(err, ErrClosed) {
			t.Errorf("%s: Read: %v", name, err)
		}
		p := finish(udpPacket("10.5.2.9:4000", "10.5.1.0:5000", []byte{1}))
		if err := d.Write(NewGather(), Offload{}, [][]byte{p}); !errors.Is(err, unix.EBADFD) {
			t.Errorf("%s: Write: %v", name, err)
		}
		must(t, d.Close())
	}
}

// A Stop ends a read that waits and one that never has to.
func TestTUNStop(t *testing.T) {
	tunSpace(t)
	for name, open := range map[string]func(TUNOptions) (end, error){
		"tun":   func(o TUNOptions) (end, error) { return OpenTUN(o) },
		"plain": func(o TUNOptions) (end, error) { return OpenPlain(o) },
	} {
		for _, reads := range []int{0, 20} { // to be seen before the stop
			stop := stopper(t)
			d, err := open(TUNOptions{Name: tunName, Allow: allTUN, Stop: stop})
			must(t, err)
			linkUp(t)
			quiet := flood(t, reads > 0)
			ended, running := make(chan error, 1), make(chan struct{})
			go func() {
				batch := NewBatch()
				for n := 0; ; n++ {
					if n == reads {
						close(running)
					}
					if err := d.Read(batch); err != nil {
						ended <- err
						return
					}
				}
			}()
			<-running
			stop.Stop()
			if err := await(t, "Read", ended); err != ErrClosed {
				t.Errorf("%s after %d reads: %v", name, reads, err)
			}
			quiet()
			must(t, d.Close())
		}
	}
}

// flood sends small datagrams into the overlay until the function that it
// returns is called.
func flood(t *testing.T, on bool) (quiet func()) {
	if !on {
		return func() {}
	}
	port := testPort(t, PortOptions{Local: ephemeral, Allow: Mmsg, Stop: stopper(t)})
	var sender sync.WaitGroup
	var done atomic.Bool
	sender.Go(func() {
		msgs, out := runs(overlay, train(0, 64, 100, 100), 1), NewOutbox()
		for !done.Load() {
			if _, err := port.Send(out, msgs); err != nil {
				t.Error(err)
				return
			}
		}
	})
	return func() {
		done.Store(true)
		sender.Wait()
	}
}
