package trace

import (
	"fmt"
	"math/bits"
	"strings"
	"time"

	"weft/encap"
	engine "weft/engine/trace"
)

// stanza tells of one packet at length: a line for each stage that it passed, in
// order, and for what became of it.
func (l *lines) stanza(r *engine.Record) string {
	var s strings.Builder
	fmt.Fprintf(&s, "#%x %s %v %s %s, %d stages, %v\n", r.ID, strings.TrimSpace(l.clock.of(r)), r.Dir, l.names.peer(r),
		shown[judge(r)], bits.OnesCount32(uint32(r.Way)), time.Duration(r.Took))
	way, fail := r.Way, failedAt[r.Drop]
	if lostPacket(r) {
		way &^= engine.Answered // said behind the verdict, whose consequence it is
		if fail != 0 {
			way = way&(fail-1) | fail // a failed stage is one that was not passed
		}
	}
	for rest := way; rest != 0; rest &= rest - 1 {
		stage := rest & -rest
		if stage == fail {
			l.failure(&s, r, fail)
		} else {
			fmt.Fprintf(&s, "  %-10s %s\n", stageName(stage), l.stage(stage, r))
		}
	}
	if r.Drop != encap.Delivered {
		if way&fail == 0 {
			l.failure(&s, r, 0)
		}
		l.aftermath(&s, r, way)
	}
	s.WriteString("\n")
	return s.String()
}

// failure tells at which stage r failed, and why.
func (l *lines) failure(s *strings.Builder, r *engine.Record, stage engine.Way) {
	name := stageName(stage)
	if r.Drop == encap.TooBig {
		name = "size"
	}
	fmt.Fprintf(s, "  %-10s %s %v: %s\n", name, shown[judge(r)], r.Drop, l.names.reason(r))
	if !lostPacket(r) {
		fmt.Fprintf(s, "  %-10s delivered all the same: --source-check=report\n", "")
	}
}

// aftermath tells what else is known of a dropped packet whose stages were way,
// and what to do about it.
func (l *lines) aftermath(s *strings.Builder, r *engine.Record, way engine.Way) {
	if way&engine.Parsed == 0 {
		fmt.Fprintf(s, "  %-10s %s\n", "packet", inner(r))
	}
	if a := answer(r); a != "" {
		fmt.Fprintf(s, "  %-10s %s\n", "answered", a)
	}
	meaning, hint := engine.Hint(r.Drop)
	if meaning != l.names.reason(r) && meaning != "" {
		wrap(s, "  meaning    ", meaning)
	}
	if hint != "" {
		wrap(s, "  hint       ", hint)
	}
}

// stageName returns the name of one stage; of one that this version does not
// know, its bit.
func stageName(w engine.Way) string {
	if names := w.Names(); len(names) == 1 {
		return names[0]
	}
	if w == 0 {
		return ""
	}
	return fmt.Sprintf("stage %d", bits.TrailingZeros32(uint32(w)))
}

// stage tells what a stage did with r.
func (l *lines) stage(stage engine.Way, r *engine.Record) string {
	p, _ := decode(r.Inner())
	if s := l.outStage(stage, r, &p); s != "" {
		return s
	}
	switch stage {
	case engine.Received:
		s := fmt.Sprintf("%s, %d bytes", ends(r), datagramLen(r))
		if r.Run > 1 {
			s += fmt.Sprintf(", one of %d that came as one", r.Run)
		}
		return s
	case engine.Known:
		if q := l.names.at(r.Remote.Addr()); q != nil {
			return "lease " + lease(q)
		}
		return r.Remote.Addr().String() + " holds a lease"
	case engine.Opened:
		return framing(r)
	case engine.Parsed:
		return inner(r)
	case engine.Checked:
		return fmt.Sprintf("%v is the sender's, %v is ours", p.src, p.dst)
	case engine.Hopped:
		return "TTL lowered by one"
	case engine.Joined:
		return fmt.Sprintf("one of %d packets of a superpacket", r.Joined)
	case engine.Written:
		return "to " + l.device
	case engine.Consumed:
		return "it was for weft itself"
	}
	return ""
}

// outStage tells what a stage of the way out did; empty if stage is none.
func (l *lines) outStage(stage engine.Way, r *engine.Record, p *packet) string {
	switch stage {
	case engine.Read:
		return fmt.Sprintf("from %s, %s", l.device, length(r, p))
	case engine.Routed:
		if q := l.names.at(r.Remote.Addr()); q != nil {
			return fmt.Sprintf("%v is of %s", p.dst, lease(q))
		}
		return fmt.Sprintf("%v is of the node %v", p.dst, r.Remote.Addr())
	case engine.Fragmented:
		return fmt.Sprintf("into %d fragments; the path takes %d bytes", r.Run, r.Limit)
	case engine.Segmented:
		return fmt.Sprintf("into %d packets of %d bytes of payload", r.Packets, r.Size)
	case engine.Wrapped:
		return framing(r)
	case engine.Sealed:
		return "handed to WireGuard for " + r.Remote.String()
	case engine.Sent:
		s := ends(r)
		if r.Packets > 1 {
			return fmt.Sprintf("%s, %d datagrams", s, max(uint32(r.Run), 1))
		}
		return fmt.Sprintf("%s, %d bytes", s, datagramLen(r))
	case engine.Answered:
		return answer(r)
	case engine.Retried:
		return "sent again: the first try was too long for the path"
	}
	return ""
}

// framing tells what stands between the UDP header and the inner packet.
func framing(r *engine.Record) string {
	if r.Prefix == 0 {
		return carrier(r) + ", nothing in front"
	}
	return fmt.Sprintf("%s, %d bytes in front", carrier(r), r.Prefix)
}
