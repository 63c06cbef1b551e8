package wg

import (
	"context"
	"encoding/base64"
	"fmt"
	"log/slog"

	"golang.zx2c4.com/wireguard/device"
)

// The device tells its log what it does with a message that it does not
// deliver. These are the lines that matter, as it formats them; a test holds
// each against the device.
const (
	sayKeepalive     = "%v - Receiving keepalive packet"
	sayBadSource4    = "IPv4 packet with disallowed source address from %v"
	sayBadSource6    = "IPv6 packet with disallowed source address from %v"
	sayNotIP         = "Packet with invalid IP version from %v"
	sayBadMAC        = "Received packet with invalid mac1"
	sayBadInitiation = "Received invalid initiation message from %s"
	sayBadResponse   = "Received invalid response message from %s"
	sayBadCookie     = "Could not decrypt invalid cookie response"
	sayResponse      = "%v - Received handshake response"
	sayRetrying      = "%s - Handshake did not complete after %d seconds, retrying (try %d)"
	sayGivingUp      = "%s - Handshake did not complete after %d attempts, giving up"
	sayKeysRemoved   = "%s - Removing all keys, since we haven't received a new one in %d seconds"
)

// deviceName is how the device's log calls a peer.
func deviceName(key PublicKey) string {
	s := base64.StdEncoding.EncodeToString(key[:])
	return "peer(" + s[:4] + "…" + s[39:43] + ")"
}

// logger returns the device's log, which is us.
func (t *Tunnel) logger() *device.Logger {
	return &device.Logger{
		Verbosef: t.event,
		Errorf: func(format string, args ...any) {
			if !t.closing.Load() {
				t.log.Warn("wireguard: "+fmt.Sprintf(format, args...), "iface", t.opt.Name)
			}
		},
	}
}

// event takes a line of the device's log as what it is.
func (t *Tunnel) event(format string, args ...any) {
	switch format {
	case sayKeepalive: // a session's first word, if its initiator has no packet to send
		t.lost.keepalivesGood.Add(1)
		t.answered(args)
	case sayBadSource4, sayBadSource6:
		t.lost.add(BadSource, 1)
		t.lost.explained.Add(1)
	case sayNotIP:
		t.lost.add(NotIP, 1)
		t.lost.explained.Add(1)
	case sayBadMAC, sayBadInitiation, sayBadResponse, sayBadCookie:
		t.lost.add(BadHandshake, 1)
	case sayResponse: // an initiation proves nothing of the PSK
		t.answered(args)
	case sayRetrying:
		t.unanswered(args)
	case sayGivingUp, sayKeysRemoved:
		if l := t.laneOf(args); l != nil {
			t.lost.add(NoSession, uint64(l.flushed()))
		}
	}
	if t.log.Enabled(context.Background(), slog.LevelDebug) {
		t.log.Debug("wireguard: "+fmt.Sprintf(format, args...), "iface", t.opt.Name)
	}
}

// laneOf returns the lane of the peer that an event is about.
func (t *Tunnel) laneOf(args []any) *Lane {
	if len(args) == 0 {
		return nil
	}
	peer, ok := args[0].(*device.Peer)
	if !ok {
		return nil
	}
	l, _ := t.lanes.byName.Load(peer.String())
	lane, _ := l.(*Lane)
	return lane
}

// answered notes that a handshake with a peer succeeded.
func (t *Tunnel) answered(args []any) {
	if l := t.laneOf(args); l != nil {
		l.open.Store(true) // what comes now leaves at once
		if l.becomes(sessionHeld) {
			t.opt.Changed(l, true)
		}
	}
}

// unanswered notes that a peer leaves handshakes unanswered.
func (t *Tunnel) unanswered(args []any) {
	if l := t.laneOf(args); l != nil && l.becomes(sessionTrying) {
		t.opt.Changed(l, false)
	}
}
