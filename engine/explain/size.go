package explain

import "fmt"

// size compares the packet with what fits: first the device, whose kernel side
// refuses or cuts, then the path, where the engine does.
func (w *walk) size() bool {
	device := w.Node.MTU
	if w.route.MTU > 0 {
		device = w.route.MTU
	}
	limit := device
	if l := w.peer.Limit; !w.direct && l > 0 && l < limit {
		limit = l
	}
	w.out.MaxSize = limit
	facts := map[string]string{"size": fmt.Sprint(w.q.Size), "limit": fmt.Sprint(limit), "deviceMTU": fmt.Sprint(device)}
	why := w.whyLimit(limit, device)
	switch {
	case w.q.Size <= limit:
		w.step(stageSize, facts, "%d ≤ %d (%s)", w.q.Size, limit, why)
	case !w.q.DF:
		w.pieces = fragments(w.q.Size, device, limit)
		w.step(stageSize, facts, "%d > %d (%s)  →  without DF: cut into %d fragments", w.q.Size, limit, why, w.pieces)
	default:
		w.step(stageSize, facts, "%d > %d (%s)  →  with DF: %s", w.q.Size, limit, why, w.refusal(limit, device))
		w.out.Steps[len(w.out.Steps)-1].OK = false
		w.tooBig = true
		if w.q.Size <= device {
			w.out.Drop = "too_big" // by the engine; what the kernel refuses never gets there
		}
	}
	return true
}

// refusal says what the sender of a packet that is too long is told.
func (w *walk) refusal(limit, device int) string {
	switch {
	case w.in == "" && w.here && w.q.Size > device:
		return "EMSGSIZE for the sender on this host"
	case w.q.Dst.Is6():
		return fmt.Sprintf("ICMPv6 packet-too-big %d to %v", limit, w.q.Src)
	}
	if w.q.Size > device {
		limit = device // the kernel speaks first, and does not know the path
	}
	return fmt.Sprintf("ICMP frag-needed %d to %v", limit, w.q.Src)
}

// whyLimit says what a limit comes from.
func (w *walk) whyLimit(limit, device int) string {
	path := w.peer.PathMTU
	if path == 0 {
		path = w.Node.IfaceMTU
	}
	probed := ""
	if !w.peer.Probed.IsZero() {
		probed = ", probed " + ago(w.Now, w.peer.Probed)
	}
	switch {
	case w.direct:
		return fmt.Sprintf("MTU of %s", w.route.Device)
	case path-w.peer.Overhead == limit:
		return fmt.Sprintf("path %d − %s %d%s", path, w.peer.Kind, w.peer.Overhead, probed)
	case limit < device:
		return fmt.Sprintf("path %d, less %s %d and padding%s", path, w.peer.Kind, w.peer.Overhead, probed)
	}
	return fmt.Sprintf("MTU of %s", w.device())
}

// fragments is the number of IPv4 fragments that a packet of size bytes, without
// options, ends up in: cut for the device first, each piece then for the path.
func fragments(size, device, limit int) (n int) {
	const header = 20
	cut := func(size, mtu int) (pieces []int) {
		if size <= mtu {
			return []int{size}
		}
		per := (mtu - header) &^ 7 // all but the last end at a multiple of 8 (RFC 791)
		for payload := size - header; payload > 0; payload -= per {
			pieces = append(pieces, header+min(per, payload))
		}
		return pieces
	}
	for _, piece := range cut(size, device) {
		n += len(cut(piece, limit))
	}
	return n
}
