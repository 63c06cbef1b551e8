// Package probe measures a path between two network namespaces with nothing
// but sockets: ICMP echo for the round trip, one TCP stream for the rate and
// the integrity of what arrives. It stands in for ping and iperf3, which a
// bare machine does not have, and unlike them it checks every payload byte.
package probe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// A Pinger sends ICMP echo requests of one address family and matches the
// replies. It is not safe for use from several goroutines.
type Pinger struct {
	conn *icmp.PacketConn
	id   int // of its requests, so that others' replies are not taken for ours
	v6   bool
	next int // sequence number, counted up for ever, 16 bits of it on the wire
	buf  []byte
}

// NewPinger opens a raw ICMP socket in the network namespace of the calling
// thread. It needs CAP_NET_RAW there, which the creator of the namespace has.
func NewPinger(v6 bool) (*Pinger, error) {
	network, any := "ip4:icmp", "0.0.0.0"
	if v6 {
		network, any = "ip6:ipv6-icmp", "::"
	}
	conn, err := icmp.ListenPacket(network, any)
	if err != nil {
		return nil, fmt.Errorf("open ICMP socket: %w", err)
	}
	return &Pinger{conn: conn, v6: v6, id: rand.IntN(1 << 16), buf: make([]byte, 1<<16)}, nil
}

// Close closes the socket.
func (p *Pinger) Close() error { return p.conn.Close() }

// Echo says which requests to send.
type Echo struct {
	To       netip.Addr
	Count    int
	Size     int           // payload bytes of each
	Interval time.Duration // from one reply to the next request
	Timeout  time.Duration // for one reply
}

// Trips is the outcome of an Echo. Times are milliseconds.
type Trips struct {
	To       string  `json:"to"`
	Sent     int     `json:"sent"`
	Received int     `json:"received"`
	Min      float64 `json:"min_ms"`
	Avg      float64 `json:"avg_ms"`
	Max      float64 `json:"max_ms"`
}

// Ping sends the requests one after the other, each after the reply to the
// one before or its timeout. That fewer replies came than requests went is no
// error; each calls onReply, which may be nil, with its sequence number.
func (p *Pinger) Ping(ctx context.Context, e Echo, onReply func(seq int, rtt time.Duration)) (Trips, error) {
	t := Trips{To: e.To.String()}
	payload := make([]byte, e.Size)
	for i := range payload {
		payload[i] = byte(i)
	}
	var sum float64
	for n := 1; n <= e.Count; n++ {
		rtt, err := p.once(ctx, e, payload)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return t, err
		}
		t.Sent++
		if err == nil {
			ms := float64(rtt.Nanoseconds()) / 1e6
			t.add(ms, &sum)
			if onReply != nil {
				onReply(n, rtt)
			}
		}
		if n < e.Count {
			if err := pause(ctx, e.Interval); err != nil {
				return t, err
			}
		}
	}
	return t, nil
}

func (t *Trips) add(ms float64, sum *float64) {
	if t.Received == 0 {
		t.Min, t.Max = ms, ms
	}
	t.Received++
	t.Min, t.Max = min(t.Min, ms), max(t.Max, ms)
	*sum += ms
	t.Avg = *sum / float64(t.Received)
}

// once sends a request and waits for its reply.
func (p *Pinger) once(ctx context.Context, e Echo, payload []byte) (time.Duration, error) {
	seq, err := p.send(e.To, payload)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	if err := p.conn.SetReadDeadline(start.Add(e.Timeout)); err != nil {
		return 0, err
	}
	for {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		from, echo, err := p.receive()
		if err != nil {
			return 0, err
		}
		if from == e.To && echo.Seq == seq {
			rtt := time.Since(start)
			if !bytes.Equal(echo.Data, payload) {
				return 0, fmt.Errorf("reply %d from %s carries another payload than the request", seq, from)
			}
			return rtt, nil
		}
	}
}

// Await pings all of targets until each has replied once or ctx ends. The
// error then names those that have not.
func (p *Pinger) Await(ctx context.Context, targets ...netip.Addr) error {
	silent := make(map[netip.Addr]bool, len(targets))
	for _, t := range targets {
		silent[t] = true
	}
	const round = 20 * time.Millisecond
	for len(silent) > 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("no reply from %s: %w", anyOf(silent), context.Cause(ctx))
		}
		if err := p.round(silent, round); err != nil {
			return err
		}
	}
	return nil
}

// round asks every silent target once and collects replies for d. A request
// that could not be sent (no route yet) is the same to it as a lost one.
func (p *Pinger) round(silent map[netip.Addr]bool, d time.Duration) error {
	for t := range silent {
		if _, err := p.send(t, nil); errors.Is(err, net.ErrClosed) {
			return err
		}
	}
	if err := p.conn.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	for len(silent) > 0 {
		from, _, err := p.receive()
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
		delete(silent, from)
	}
	return nil
}

// send sends one request and returns its sequence number.
func (p *Pinger) send(to netip.Addr, payload []byte) (seq int, err error) {
	p.next++
	seq = p.next & 0xffff
	m := icmp.Message{Type: ipv4.ICMPTypeEcho, Body: &icmp.Echo{ID: p.id, Seq: seq, Data: payload}}
	if p.v6 {
		m.Type = ipv6.ICMPTypeEchoRequest
	}
	b, err := m.Marshal(nil) // the kernel fills in ICMPv6's checksum
	if err != nil {
		return 0, err
	}
	if _, err := p.conn.WriteTo(b, &net.IPAddr{IP: to.AsSlice(), Zone: to.Zone()}); err != nil {
		return seq, fmt.Errorf("ping %s: %w", to, err)
	}
	return seq, nil
}

// receive returns the next reply to a request of this Pinger. What else
// arrives, damaged messages included, is passed over.
func (p *Pinger) receive() (netip.Addr, *icmp.Echo, error) {
	protocol := 1
	if p.v6 {
		protocol = 58
	}
	for {
		n, from, err := p.conn.ReadFrom(p.buf)
		if err != nil {
			return netip.Addr{}, nil, err
		}
		m, err := icmp.ParseMessage(protocol, p.buf[:n])
		if err != nil || m.Type != ipv4.ICMPTypeEchoReply && m.Type != ipv6.ICMPTypeEchoReply {
			continue
		}
		echo, ok := m.Body.(*icmp.Echo)
		ip, isIP := from.(*net.IPAddr)
		if !ok || !isIP || echo.ID != p.id {
			continue
		}
		addr, _ := netip.AddrFromSlice(ip.IP)
		return addr.Unmap(), echo, nil
	}
}

func anyOf(set map[netip.Addr]bool) string {
	for a := range set {
		if len(set) == 1 {
			return a.String()
		}
		return fmt.Sprintf("%s and %d more", a, len(set)-1)
	}
	return "nobody"
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
