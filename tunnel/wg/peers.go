package wg

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

// A Peer is what the tunnel is to know of one.
type Peer struct {
	Key       PublicKey
	PSK       PresharedKey   // zero: none
	Endpoint  netip.AddrPort // where it is found; when it has moved, where it was seen last counts
	Allowed   []netip.Prefix // the inner addresses that are its own
	Keepalive uint16         // seconds between keepalives; 0: none
}

// SetPeers makes want the peers of the tunnel. Those that stay keep their
// sessions, those whose key is gone are removed at once. What somebody did to
// the device by wg(8) is put right as far as it concerns our key and whether a
// peer is there; peers that were added are left alone.
//
// It returns what went wrong with single peers; the others are set.
func (t *Tunnel) SetPeers(want []Peer) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	keys := make(map[PublicKey]bool, len(want))
	for _, p := range want {
		keys[p.Key] = true
	}
	errs := []error{t.recall()}
	for _, p := range want { // first: addresses that change hands always have an owner
		errs = append(errs, t.set(p))
	}
	for _, key := range slices.Collect(maps.Keys(t.lane)) {
		if !keys[key] {
			errs = append(errs, t.remove(key))
		}
	}
	return errors.Join(errs...)
}

// recall forgets having told the device of peers that it does not have, and
// gives it our key if it has another. The caller holds mu.
func (t *Tunnel) recall() error {
	text, err := t.dev.IpcGet()
	if err != nil {
		return fmt.Errorf("wireguard %s: %w", t.opt.Name, err)
	}
	there := map[PublicKey]bool{}
	for _, p := range parsePeers(text) {
		there[p.Key] = true
	}
	maps.DeleteFunc(t.peers, func(key PublicKey, _ Peer) bool { return !there[key] })
	own := "private_key=" + hex.EncodeToString(t.opt.Key[:]) + "\n"
	if strings.HasPrefix(text, own) {
		return nil
	}
	return t.dev.IpcSet(own)
}

// remove removes a peer. The caller holds mu.
func (t *Tunnel) remove(key PublicKey) error {
	err := t.tell(key, "remove=true\n")
	l := t.lane[key]
	t.lost.add(NoSession, uint64(l.flushed()))
	t.lanes.remove(l)
	delete(t.lane, key)
	delete(t.peers, key)
	return err
}

// set adds a peer or changes what is different. What the device did not take
// whole it is told whole the next time. The caller holds mu.
func (t *Tunnel) set(p Peer) error {
	was, known := t.peers[p.Key]
	if t.lane[p.Key] == nil {
		l := t.lanes.add(p.Key, func() { t.calls.Go(func() { t.handshake(p.Key) }) })
		l.told = func() { t.opt.Changed(l, true) }
		t.lane[p.Key] = l
	}
	text := difference(&was, &p, known)
	if text == "" {
		return nil
	}
	delete(t.peers, p.Key)
	if err := t.tell(p.Key, text); err != nil {
		return err
	}
	p.Allowed = slices.Clone(p.Allowed)
	t.peers[p.Key] = p
	return nil
}

// difference is what the device must be told to make of was p, in the language
// of UAPI.
func difference(was, p *Peer, known bool) string {
	var b strings.Builder
	if !known || was.PSK != p.PSK {
		fmt.Fprintf(&b, "preshared_key=%s\n", hex.EncodeToString(p.PSK[:]))
	}
	if !known || was.Endpoint != p.Endpoint {
		fmt.Fprintf(&b, "endpoint=%v\n", p.Endpoint)
	}
	if !known || !slices.Equal(was.Allowed, p.Allowed) {
		if !known {
			b.WriteString("replace_allowed_ips=true\n")
		}
		for _, a := range p.Allowed { // first: nothing is without an owner for a moment
			fmt.Fprintf(&b, "allowed_ip=%v\n", a)
		}
		for _, a := range was.Allowed {
			if !slices.Contains(p.Allowed, a) {
				fmt.Fprintf(&b, "allowed_ip=-%v\n", a)
			}
		}
	}
	if !known || was.Keepalive != p.Keepalive { // last: it sends one at once
		fmt.Fprintf(&b, "persistent_keepalive_interval=%d\n", p.Keepalive)
	}
	return b.String()
}

// tell sets what text says of a peer.
func (t *Tunnel) tell(key PublicKey, text string) error {
	if err := t.dev.IpcSet("public_key=" + hex.EncodeToString(key[:]) + "\n" + text); err != nil {
		return fmt.Errorf("wireguard %s: peer %v: %w", t.opt.Name, key, err)
	}
	return nil
}

// Lane returns the lane of a peer, or nil.
func (t *Tunnel) Lane(key PublicKey) *Lane {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lane[key]
}

// Endpoint returns where a peer of ours was seen last, or else where it should
// be.
func (t *Tunnel) Endpoint(key PublicKey) (netip.AddrPort, bool) {
	peers, err := t.Peers()
	if err != nil {
		return netip.AddrPort{}, false
	}
	i := slices.IndexFunc(peers, func(p PeerStatus) bool { return p.Key == key && p.Endpoint.IsValid() })
	if i < 0 {
		return netip.AddrPort{}, false
	}
	return peers[i].Endpoint, true
}

// callOn begins a handshake with the peer at that address if there is no session
// with it: it sends for one that we do not have, so it must have been ours
// before we started, and it would go on for 15 s before it called on us.
func (t *Tunnel) callOn(at netip.AddrPort, now time.Time) {
	if was := t.called.Load(); now.UnixNano()-was >= int64(callingPause) && t.called.CompareAndSwap(was, now.UnixNano()) {
		t.calls.Go(func() { t.handshakeWith(at) }) // a receiver must not wait for mu: the bind is closed while others hold it
	}
}

// callingPause is how long after one stray datagram others are not looked into.
const callingPause = 100 * time.Millisecond

// handshakeWith begins a handshake with the peer whose lease names that address,
// unless there is a session.
func (t *Tunnel) handshakeWith(at netip.AddrPort) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for key, p := range t.peers {
		if p.Endpoint != at || t.lane[key].answers.Load() == sessionHeld {
			continue
		}
		t.handshake(key)
	}
}

// handshake begins a handshake with a peer. The device begins one in 5 s at most.
func (t *Tunnel) handshake(key PublicKey) {
	peer := t.dev.LookupPeer(device.NoisePublicKey(key))
	if peer == nil {
		return
	}
	if err := peer.SendHandshakeInitiation(false); err != nil {
		t.log.Debug("wireguard: handshake not begun", "iface", t.opt.Name, "err", err)
	}
}
