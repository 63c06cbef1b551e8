package ping

import (
	"fmt"
	"io"
	"strings"

	"weft/engine/control"
)

// A screen prints replies for people: each line begins with its layer, and
// within a layer lines are as those of ping(8).
type screen struct {
	w     io.Writer
	layer string // of the line before
}

func (s *screen) show(p control.PingReply) error {
	var b strings.Builder
	name := p.Layer
	if p.Verdict != "" {
		name = "verdict"
	}
	if name != s.layer {
		b.WriteByte('\n')
		s.layer = name
	}
	fmt.Fprintf(&b, "%-8s  %s\n", name, line(p))
	_, err := io.WriteString(s.w, b.String())
	return err
}

func line(p control.PingReply) string {
	switch {
	case p.Verdict != "":
		return p.Verdict
	case p.Summary != nil:
		return summary(p.Summary) + aside(p.Note)
	case p.RTT == nil:
		text := fmt.Sprintf("no answer: seq=%d", p.Seq)
		if p.Size > 0 {
			text += fmt.Sprintf(" size=%d", p.Size)
		}
		return text + aside(p.Note)
	}
	from := "" // the engine learns no address of a WireGuard peer
	if p.From.IsValid() {
		from = " from " + p.From.String()
	}
	return fmt.Sprintf("%d bytes%s: seq=%d time=%s ms", p.Size, from, p.Seq, ms(p.RTT)) + aside(p.Note)
}

// aside is a note behind a line.
func aside(note string) string {
	if note == "" {
		return ""
	}
	return "  (" + note + ")"
}

func summary(s *control.PingSummary) string {
	if s.Skipped != "" {
		return "skipped: " + s.Skipped
	}
	text := fmt.Sprintf("%d sent, %d answered", s.Sent, s.Answered)
	if s.Sent > 0 {
		text += fmt.Sprintf(", %.3g%% lost", 100*float64(s.Sent-s.Answered)/float64(s.Sent))
	}
	if s.Min != nil && s.Avg != nil && s.Max != nil {
		text += fmt.Sprintf(", rtt min/avg/max %s/%s/%s ms", ms(s.Min), ms(s.Avg), ms(s.Max))
	}
	if s.Largest > 0 {
		text += fmt.Sprintf(", largest %d bytes", s.Largest)
	}
	return text
}

// ms writes seconds as milliseconds.
func ms(seconds *float64) string { return fmt.Sprintf("%.3f", *seconds*1000) }
