package wg

import (
	"bufio"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"weft/tunnel"
)

// A PeerStatus is what the device knows of a peer.
type PeerStatus struct {
	Key       PublicKey
	Endpoint  netip.AddrPort // where it was seen last
	Handshake time.Time      // of the latest session; zero: never
	Answers   bool           // the latest handshake was answered
	Received  uint64         // bytes of authenticated messages
	Sent      uint64         // bytes of messages
}

// Peers returns the state of every peer.
func (t *Tunnel) Peers() ([]PeerStatus, error) {
	text, err := t.dev.IpcGet()
	if err != nil {
		return nil, err
	}
	peers := parsePeers(text)
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range peers {
		if l := t.lane[peers[i].Key]; l != nil {
			// A session that the peer began may have shown itself by packets alone.
			peers[i].Answers = l.answers.Load() == sessionHeld || peers[i].Handshake.UnixNano() > l.since.Load() && !peers[i].Handshake.IsZero()
		}
	}
	return peers, nil
}

// parsePeers reads the peers out of UAPI's answer to get=1. It is the device's
// own text; what it does not know it skips.
func parsePeers(text string) (peers []PeerStatus) {
	var p *PeerStatus
	var sec, nsec int64
	for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
		key, value, _ := strings.Cut(lines.Text(), "=")
		n, _ := strconv.ParseInt(value, 10, 64)
		switch {
		case key == "public_key":
			peers = append(peers, PeerStatus{})
			p = &peers[len(peers)-1]
			raw, _ := hex.DecodeString(value)
			copy(p.Key[:], raw)
		case p == nil: // the device's own part
		case key == "endpoint":
			p.Endpoint, _ = netip.ParseAddrPort(value)
		case key == "last_handshake_time_sec":
			sec = n
		case key == "last_handshake_time_nsec":
			if nsec = n; sec != 0 || nsec != 0 {
				p.Handshake = time.Unix(sec, nsec)
			}
		case key == "rx_bytes":
			p.Received = uint64(n)
		case key == "tx_bytes":
			p.Sent = uint64(n)
		}
	}
	return peers
}

// Losses returns what was lost so far, by reason. Of what the device dropped
// in silence it counts those that are known to be gone: a datagram that has
// just entered it is neither delivered nor lost.
func (t *Tunnel) Losses() (n [NumLosses]uint64) {
	t.settle(time.Now())
	for i := range n {
		n[i] = t.lost.n[i].Load()
	}
	return n
}

// moments is how long a datagram can be inside the device, at most.
const moments = time.Second

// settle brings the counts of what vanished in the device up to date.
func (t *Tunnel) settle(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.settled) >= moments {
		t.settled = now
		if lost := t.sessions.settle(); lost > 0 {
			t.lost.vanished.Add(lost)
			t.inward.give(int(lost))
		}
		t.lost.settleKeepalives()
	}
	t.lost.forged()
}

// PortDrops returns how many datagrams the kernel threw away because a port's
// receive buffer was full.
func (t *Tunnel) PortDrops() uint64 {
	t.bind.mu.RLock()
	defer t.bind.mu.RUnlock()
	return t.bind.lost + t.bind.now.drops()
}

func (o *opening) drops() (sum uint64) {
	if o == nil {
		return 0
	}
	for _, p := range o.ports {
		if p == nil {
			continue
		}
		if n, err := p.Drops(); err == nil {
			sum += uint64(n)
		}
	}
	return sum
}

// Features returns what the open ports use.
func (t *Tunnel) Features() (f tunnel.Feature) {
	t.bind.mu.RLock()
	defer t.bind.mu.RUnlock()
	if o := t.bind.now; o != nil {
		for _, p := range o.ports {
			if p != nil {
				f |= p.Features()
			}
		}
	}
	return f
}
