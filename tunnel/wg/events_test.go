package wg

import (
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"golang.zx2c4.com/wireguard/conn"
	"golang.zx2c4.com/wireguard/device"
)

// A deaf bind sends into nothing: the real one, but for its ports, which would
// wait outside of the bubble's time.
type deaf struct {
	*bind
	sent atomic.Int64
}

func (d *deaf) Open(uint16) ([]conn.ReceiveFunc, uint16, error) { return nil, 1, nil }
func (d *deaf) Close() error                                    { return nil }
func (d *deaf) SetMark(uint32) error                            { return nil }
func (d *deaf) Send(bufs [][]byte, to conn.Endpoint) error {
	d.note(bufs, to.(*endpoint).dst)
	d.sent.Add(int64(len(bufs)))
	return nil
}

// quiet makes a tunnel whose datagrams get lost.
func quiet(t *testing.T, changed func(*Lane, bool)) (*node, *deaf) {
	t.Helper()
	d := &node{t: t, n: 1, near: newFakeNear(), lines: newLines(), count: map[*Lane]*counted{}}
	o := Options{Name: "wg-test", MTU: 1420, Key: NewPrivateKey(), Near: d.near, Changed: changed, Log: slog.New(d.lines)}
	d.Tunnel = newTunnel(o)
	b := &deaf{bind: d.bind}
	d.dev = device.NewDevice(newNearEnd(d.Tunnel), b, d.logger())
	close(d.made)
	must(t, d.dev.IpcSet(fmt.Sprintf("private_key=%x\n", o.Key[:])))
	must(t, d.dev.Up())
	return d, b
}

// kept are peers of devices in bubbles. Their queues are drained when they are
// collected, by a goroutine that is in no bubble, which is not allowed.
var kept []*device.Peer

// silentPeer gives d a peer that nobody is.
func (d *node) silentPeer() *Lane {
	peer := Peer{Key: NewPrivateKey().Public(), Endpoint: netip.MustParseAddrPort("192.0.2.1:51820"), Allowed: subnets(2)}
	must(d.t, d.SetPeers([]Peer{peer}))
	kept = append(kept, d.dev.LookupPeer(device.NoisePublicKey(peer.Key)))
	return d.Lane(peer.Key)
}

// A peer that never answers: the device says so after 5 s, gives up after 95,
// and then all that waited is counted. The next packet begins anew.
func TestGivingUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told []bool
		d, b := quiet(t, func(_ *Lane, answers bool) { told = append(told, answers) })
		defer d.Close()
		l := d.silentPeer()
		for round := range 2 {
			told = nil
			began := b.sent.Load()
			for range 200 {
				d.put([]item{{data: packet(inner4(1), inner4(2), nil), lane: l}})
			}
			synctest.Wait()
			if l.inside.Load() != staged || b.sent.Load() != began+1 {
				t.Fatalf("round %d: %d wait; %d messages were sent", round, l.inside.Load(), b.sent.Load()-began)
			}
			time.Sleep(6 * time.Second)
			synctest.Wait()
			if round == 0 && (len(told) != 1 || told[0] || l.answers.Load() != sessionTrying) {
				t.Errorf("round %d: told %v", round, told)
			}
			if got := d.Losses(); got != lost(NoSession, uint64(round)*staged) {
				t.Errorf("round %d: lost too early: %v", round, got)
			}
			time.Sleep(110 * time.Second)
			synctest.Wait()
			if got := d.Losses(); got != lost(NoSession, uint64(round+1)*staged) || l.inside.Load() != 0 {
				t.Errorf("round %d: lost %v, %d are inside", round, got, l.inside.Load())
			}
		}
	})
}

// Nine minutes after its last session a peer's keys are removed, with what
// waits for it.
func TestKeysRemoved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, _ := quiet(t, func(*Lane, bool) {})
		defer d.Close()
		l := d.silentPeer()
		d.put([]item{{data: packet(inner4(1), inner4(2), nil), lane: l}})
		time.Sleep(2 * time.Minute) // it gives up, and 540 s later forgets
		l.open.Store(true)          // as with keys that are there
		l.Admit(3)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		d.lines.await(t, "Removing all keys", 1)
		if got := d.Losses(); got != lost(NoSession, 1+3) || l.open.Load() {
			t.Errorf("lost %v, open %v", got, l.open.Load())
		}
	})
}

// Both ends of a session know that the other one answers: the initiator by the
// answer, the other end by the first word.
func TestAnswers(t *testing.T) {
	told := make(chan bool, 16)
	a, b := pair(t, 0, func(o *Options) { o.Changed = func(_ *Lane, answers bool) { told <- answers } })
	a.meet(b)
	if answers := <-told; !answers {
		t.Error("told that the peer does not answer")
	}
	a.lines.await(t, "Received handshake response", 1)
	for _, d := range []*node{a, b} {
		peers, err := d.Peers()
		if err != nil || len(peers) != 1 || !peers[0].Answers {
			t.Errorf("node %d: %+v, %v", d.n, peers, err)
		}
	}
	l := b.Lane(a.key())
	l.becomes(sessionTrying) // as when a later handshake is left unanswered
	if peers, err := b.Peers(); err != nil || peers[0].Answers {
		t.Errorf("it answers: %+v, %v", peers, err)
	}
	c := newNode(t, 3, nil)
	must(t, b.SetPeers([]Peer{a.as(0), c.as(0)}))
	lively := b.as(0)
	lively.Keepalive = 25
	must(t, c.SetPeers([]Peer{lively}))
	b.lines.await(t, "Receiving keepalive packet", 1)
	if s, ok := b.status(c.key()); !ok || !s.Answers || b.Lane(c.key()).answers.Load() != sessionHeld {
		t.Errorf("it does not answer: %+v", s)
	}
}

// deviceName is the device's own name for a peer.
func TestDeviceName(t *testing.T) {
	a, b := pair(t, 0, nil)
	for range 20 {
		key := NewPrivateKey().Public()
		p, err := a.dev.NewPeer(device.NoisePublicKey(key))
		must(t, err)
		if got := deviceName(key); got != p.String() {
			t.Errorf("%s, the device says %s", got, p)
		}
	}
	if l := a.laneOf([]any{a.dev.LookupPeer(device.NoisePublicKey(b.key()))}); l == nil || l != a.Lane(b.key()) {
		t.Error("the lane of a peer is not found by its name")
	}
	for _, args := range [][]any{nil, {1}, {"peer(abcd…wxyz)"}} {
		if l := a.laneOf(args); l != nil {
			t.Errorf("%v is a peer", args)
		}
	}
}
