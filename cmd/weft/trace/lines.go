package trace

import (
	"fmt"
	"io"
	"time"

	engine "weft/engine/trace"
)

// A clock writes the time of packets in one of three ways.
type clock struct {
	relative, delta bool
	zone            *time.Location
	first, last     int64 // nanoseconds since the Unix epoch; 0: no packet yet
}

func (c *clock) of(r *engine.Record) string {
	if c.first == 0 {
		c.first, c.last = r.Time, r.Time
	}
	last := c.last
	c.last = r.Time
	switch {
	case c.relative:
		return seconds(r.Time - c.first)
	case c.delta:
		return seconds(r.Time - last)
	}
	return r.At().In(c.zone).Format("15:04:05.000000")
}

// seconds writes nanoseconds as seconds with microseconds.
func seconds(ns int64) string { return fmt.Sprintf("%+15.6f", float64(ns)/1e9) }

// lines is the sink that shows a line for each packet, or with verbose a stanza.
type lines struct {
	w       io.Writer
	clock   clock
	verbose bool
	names   names
	device  string
	width   int // of the column of peers
	headed  bool
}

// peerWidth is the narrowest column of peers: an IPv4 subnet and a bit.
const peerWidth = 14

func (l *lines) meta(m *engine.Meta) error {
	l.names, l.device, l.width = newNames(m), m.Device, max(l.width, peerWidth)
	for i := range m.Peers {
		if s := subnet(&m.Peers[i]); s.IsValid() {
			l.width = max(l.width, len(s.String()))
		}
	}
	return nil
}

func (l *lines) record(r *engine.Record) error {
	if l.verbose {
		_, err := io.WriteString(l.w, l.stanza(r))
		return err
	}
	if !l.headed {
		l.headed = true
		l.width = max(l.width, peerWidth)
		if _, err := fmt.Fprintf(l.w, "%-15s DIR %-*s %-7s VERDICT WHAT\n", "TIME", l.width, "PEER", "ID"); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintf(l.w, "%-15s %-3v %-*s #%-6x %-7s %s\n", l.clock.of(r), r.Dir, l.width, l.names.peer(r), r.ID,
		shown[judge(r)], l.names.what(r))
	return err
}

func (l *lines) lost(n uint64) error {
	_, err := fmt.Fprintf(l.w, "… %d lost here: more came than could be shown\n", n)
	return err
}

func (l *lines) close() error { return nil }
