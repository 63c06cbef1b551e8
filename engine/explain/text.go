package explain

import (
	"fmt"
	"strings"
	"time"

	"weft/engine/control"
)

// String is a route as ip(8) would write it, and where it stands.
func (r *Route) String() string {
	var b strings.Builder
	switch {
	case r.Type == "none":
		return "no route"
	case r.Refuse != "":
		return "refused: " + r.Refuse
	case r.Type == "unicast":
		b.WriteString("route")
	default:
		b.WriteString(r.Type)
	}
	if r.Dst.IsValid() {
		fmt.Fprintf(&b, " %v", r.Dst)
	}
	if r.Via.IsValid() {
		fmt.Fprintf(&b, " via %v", r.Via)
	}
	if r.Device != "" {
		fmt.Fprintf(&b, " dev %s", r.Device)
	}
	switch {
	case r.Table == "":
	case r.Rule == 0:
		fmt.Fprintf(&b, "  (table %s)", r.Table)
	default:
		fmt.Fprintf(&b, "  (rule %d, table %s)", r.Rule, r.Table)
	}
	return b.String()
}

// lease describes what the lookup found.
func (w *walk) lease() string {
	p := &w.peer
	parts := []string{p.Subnet.String(), "peer " + p.label()}
	if p.Kind != "" {
		kind := "backend " + p.Kind
		if p.Kind == "vxlan" {
			kind += fmt.Sprintf(" vni %d", p.VNI)
		}
		parts = append(parts, kind)
	}
	if p.Endpoint.IsValid() {
		parts = append(parts, fmt.Sprintf("to %v", p.Endpoint))
	}
	if p.Key != "" {
		parts = append(parts, "key "+p.Key)
	}
	switch left := p.Expires.Sub(w.Now); {
	case p.Expires.IsZero():
		parts = append(parts, "lease does not expire")
	case left <= 0:
		parts = append(parts, "lease expired "+ago(w.Now, p.Expires))
	default:
		parts = append(parts, "lease expires in "+span(left))
	}
	return strings.Join(parts, "  ")
}

// facts are those of a peer, for programs.
func (p *Peer) facts() map[string]string {
	m := map[string]string{"subnet": p.Subnet.String(), "backend": p.Kind}
	for k, v := range map[string]string{"name": p.Name, "key": p.Key} {
		if v != "" {
			m[k] = v
		}
	}
	if p.Public.IsValid() {
		m["public"] = p.Public.String()
	}
	if p.Endpoint.IsValid() {
		m["endpoint"] = p.Endpoint.String()
	}
	if p.Kind == "vxlan" {
		m["vni"] = fmt.Sprint(p.VNI)
	}
	if !p.Expires.IsZero() {
		m["expires"] = p.Expires.UTC().Format(time.RFC3339)
	}
	return m
}

// state says how the peer fares.
func (w *walk) state() string {
	p := &w.peer
	var text string
	switch p.State {
	case control.PeerOK:
		text = "answers"
	case control.PeerSilent:
		text = "sends, but does not answer echoes"
	case control.PeerDown:
		text = "down"
	case control.PeerUnusable:
		text = "unusable"
	default:
		text = "not enough is known of it yet"
	}
	text = p.label() + ": " + text + because(p.Reason)
	if p.Kind != "wireguard" {
		return text
	}
	switch {
	case p.Answers != nil && !*p.Answers:
		return p.label() + ": does not answer handshakes" + because(p.Reason)
	case p.Handshake.IsZero():
		return text + "; no handshake yet"
	}
	return text + "; handshake " + ago(w.Now, p.Handshake)
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// ago says how long before now t was.
func ago(now, t time.Time) string { return span(now.Sub(t)) + " ago" }

// span writes a duration with its two largest units.
func span(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%dd%02dh", int(d.Hours())/24, int(d.Hours())%24)
}
