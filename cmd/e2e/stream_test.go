package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"weft/cmd/weft/lab"
)

const mega = 1 << 20

// connect opens a TCP connection from one place to an address of another.
func connect(t testing.TB, from, to *lab.Place, addr netip.Addr) (near, far *net.TCPConn) {
	t.Helper()
	var l net.Listener
	must(t, to.Do(func() (err error) {
		l, err = net.Listen("tcp", netip.AddrPortFrom(addr, 0).String())
		return
	}))
	defer l.Close()
	ctx := within(t)
	defer context.AfterFunc(ctx, func() { l.Close() })()
	must(t, from.Do(func() error {
		c, err := new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
		if err == nil {
			near = c.(*net.TCPConn)
		}
		return err
	}))
	c := get(t, l.Accept)
	far = c.(*net.TCPConn)
	t.Cleanup(func() { near.Close(); far.Close() })
	must(t, errors.Join(near.SetDeadline(time.Now().Add(2*limit)), far.SetDeadline(time.Now().Add(2*limit))))
	return near, far
}

// A flow is one direction of a connection.
type flow struct {
	sent, received []byte // SHA-256; set when the direction has ended
	bytes          atomic.Int64
	gap            time.Duration // longest time without a byte
	moved          chan struct{} // told of each read
}

// send writes blocks that differ from each other for as long as more says so.
func (f *flow) send(c *net.TCPConn, more func(sent int64) bool) error {
	h := sha256.New()
	block := make([]byte, 256<<10)
	for i := 0; i < len(block); i += 8 {
		binary.LittleEndian.PutUint64(block[i:], rand.Uint64())
	}
	var sent int64
	for more(sent) {
		binary.LittleEndian.PutUint64(block, uint64(sent))
		h.Write(block)
		n, err := c.Write(block)
		sent += int64(n)
		if err != nil {
			return fmt.Errorf("after %d bytes sent: %w", sent, err)
		}
	}
	f.sent = h.Sum(nil)
	return c.CloseWrite()
}

func (f *flow) receive(c *net.TCPConn) error {
	h := sha256.New()
	buf := make([]byte, 256<<10)
	for last := time.Now(); ; {
		n, err := c.Read(buf)
		now := time.Now()
		f.gap, last = max(f.gap, now.Sub(last)), now
		h.Write(buf[:n])
		f.bytes.Add(int64(n))
		select {
		case f.moved <- struct{}{}:
		default:
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return fmt.Errorf("after %d bytes received: %w", f.bytes.Load(), err)
		}
	}
	f.received = h.Sum(nil)
	return nil
}

// traffic is a TCP connection that is busy in both directions at once.
type traffic struct {
	name  string
	flows [2]*flow
	stop  chan struct{}
	once  sync.Once
	done  chan error
}

// begin starts traffic between two pods: bytes in each direction, or without
// end if that is 0.
func begin(t testing.TB, from, to *lab.Node, addr netip.Addr, bytes int64) *traffic {
	t.Helper()
	near, far := connect(t, from.Pod, to.Pod, addr)
	tr := &traffic{name: fmt.Sprintf("TCP %s to %s at %s", from.Name, to.Name, addr), stop: make(chan struct{}), done: make(chan error, 1)}
	more := func(sent int64) bool {
		select {
		case <-tr.stop:
			return false
		default:
			return bytes == 0 || sent < bytes/slowness
		}
	}
	errs := make(chan error, 4)
	for i, ends := range [2][2]*net.TCPConn{{near, far}, {far, near}} {
		f := &flow{moved: make(chan struct{}, 1)}
		tr.flows[i] = f
		go func() { errs <- f.send(ends[0], more) }()
		go func() { errs <- f.receive(ends[1]) }()
	}
	go func() { tr.done <- errors.Join(<-errs, <-errs, <-errs, <-errs) }()
	t.Cleanup(func() { tr.once.Do(func() { close(tr.stop) }) })
	return tr
}

// wait waits for the end of traffic with a limit, and compares the hashes.
func (tr *traffic) wait(t testing.TB) {
	t.Helper()
	ctx := within(t)
	select {
	case err := <-tr.done:
		if err != nil {
			t.Fatalf("%s: %v", tr.name, err)
		}
	case <-ctx.Done():
		t.Fatalf("%s: stuck after %d and %d bytes", tr.name, tr.flows[0].bytes.Load(), tr.flows[1].bytes.Load())
	}
	for i, f := range tr.flows {
		if len(f.sent) == 0 || !bytes.Equal(f.sent, f.received) {
			t.Errorf("%s, direction %d: what arrived is not what was sent (SHA-256 %x, %x)", tr.name, i, f.sent, f.received)
		}
	}
}

// end ends endless traffic, checks that it was whole, and returns the longest
// time that one direction stood still.
func (tr *traffic) end(t testing.TB) time.Duration {
	t.Helper()
	tr.once.Do(func() { close(tr.stop) })
	tr.wait(t)
	return max(tr.flows[0].gap, tr.flows[1].gap)
}

// progress waits until both directions have carried n more bytes.
func (tr *traffic) progress(t testing.TB, n int64) {
	t.Helper()
	ctx := within(t)
	for i, f := range tr.flows {
		for goal := f.bytes.Load() + n/slowness; f.bytes.Load() < goal; {
			select {
			case <-f.moved:
			case err := <-tr.done:
				t.Fatalf("%s ended: %v", tr.name, err)
			case <-ctx.Done():
				t.Fatalf("%s, direction %d: stuck after %d bytes: %v", tr.name, i, f.bytes.Load(), context.Cause(ctx))
			}
		}
	}
}

// transfer moves bytes in both directions at once.
func transfer(t testing.TB, from, to *lab.Node, addr netip.Addr, bytes int64) {
	t.Helper()
	begin(t, from, to, addr, bytes).wait(t)
}
