package probe

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func pinger(t *testing.T, v6 bool) *Pinger {
	t.Helper()
	p, err := NewPinger(v6)
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs CAP_NET_RAW:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestPingLoopback(t *testing.T) {
	for _, to := range []string{"127.0.0.1", "::1"} {
		addr := netip.MustParseAddr(to)
		p := pinger(t, addr.Is6())
		replies := 0
		got, err := p.Ping(t.Context(), Echo{To: addr, Count: 3, Size: 1000, Timeout: 10 * time.Second},
			func(int, time.Duration) { replies++ })
		if err != nil {
			t.Fatal(err)
		}
		if got.Sent != 3 || got.Received != 3 || replies != 3 {
			t.Errorf("%s: %+v, %d replies, want 3 of 3", to, got, replies)
		}
		if !(0 < got.Min && got.Min <= got.Avg && got.Avg <= got.Max) {
			t.Errorf("%s: times out of order: %+v", to, got)
		}
	}
}

func TestPingCountsWhatIsLost(t *testing.T) {
	p := pinger(t, false)
	// No reply can be read before a deadline that has gone by.
	got, err := p.Ping(t.Context(), Echo{To: netip.MustParseAddr("127.0.0.1"), Count: 1, Timeout: time.Nanosecond}, nil)
	if err != nil || got.Sent != 1 || got.Received != 0 {
		t.Errorf("%+v, %v, want one sent and none received", got, err)
	}
}

func TestAwait(t *testing.T) {
	p := pinger(t, false)
	loop := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.2")}
	if err := p.Await(t.Context(), loop...); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	cancel(reason)
	if err := p.Await(ctx, loop...); !errors.Is(err, reason) || !strings.Contains(err.Error(), "127.0.0.") {
		t.Errorf("Await with a dead context: %v", err)
	}
}

func TestTripsAdd(t *testing.T) {
	var tr Trips
	var sum float64
	for _, ms := range []float64{2, 1, 6} {
		tr.add(ms, &sum)
	}
	if tr.Min != 1 || tr.Avg != 3 || tr.Max != 6 || tr.Received != 3 {
		t.Errorf("%+v", tr)
	}
}

func listen(t *testing.T) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func TestStream(t *testing.T) {
	const size = 5*blockSize + 17
	l := listen(t)
	type end struct {
		Flow
		err error
	}
	received := make(chan end, 1)
	go func() {
		f, err := Receive(t.Context(), l, true)
		received <- end{f, err}
	}()
	sent, err := Send(t.Context(), l.Addr().String(), Load{Bytes: size, Hash: true})
	if err != nil {
		t.Fatal(err)
	}
	got := <-received
	if got.err != nil || got.Bytes != size || sent.Bytes != size {
		t.Errorf("sent %d, received %d of %d bytes, %v", sent.Bytes, got.Bytes, size, got.err)
	}
	if got.SHA256 != sent.SHA256 || len(got.SHA256) != 64 {
		t.Errorf("hash sent %q, received %q", sent.SHA256, got.SHA256)
	}
	if got.Gbit() <= 0 {
		t.Errorf("no rate from %+v", got.Flow)
	}
}

func TestHashIsOfWhatWasWritten(t *testing.T) {
	var b bytes.Buffer
	f, err := pump(&b, Load{Bytes: 2*blockSize + 1, Hash: true}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	want := sha256.Sum256(b.Bytes())
	if f.SHA256 != hex.EncodeToString(want[:]) {
		t.Errorf("hash %s, want %x", f.SHA256, want)
	}
	if bytes.Equal(b.Bytes()[:blockSize], b.Bytes()[blockSize:2*blockSize]) {
		t.Error("two blocks are equal")
	}
	b.Bytes()[blockSize]++
	spoilt, err := drain(&b, true)
	if err != nil || spoilt.SHA256 == f.SHA256 {
		t.Errorf("a changed byte went unnoticed (%v)", err)
	}
}

func TestStreamEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	reason := errors.New("enough")
	l := listen(t)
	done := make(chan error)
	go func() { _, err := Receive(ctx, l, false); done <- err }()
	cancel(reason)
	if err := <-done; !errors.Is(err, reason) {
		t.Errorf("Receive: %v", err)
	}
	if _, err := Send(t.Context(), "127.0.0.1:1", Load{}); err == nil {
		t.Error("a load without a limit was accepted")
	}
}
