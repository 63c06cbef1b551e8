package trace

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"weft/encap"
	engine "weft/engine/trace"
)

// A path is one way that packets take.
type path struct {
	dir  engine.Dir
	kind engine.Kind
	way  engine.Way
	drop encap.Drop
}

// A load is what took a path.
type load struct{ packets, bytes uint64 }

// paths is the sink that counts each distinct way and shows them all, at the end
// and with live set once a second.
type paths struct {
	w    io.Writer
	live bool // w is a terminal: what was shown last is replaced
	json bool

	mu     sync.Mutex
	sums   map[path]load
	sample int
	gone   uint64 // records lost
	drawn  int    // lines on the screen
	stop   chan struct{}
	done   chan struct{}
	err    error
}

// redraw is how often a live screen is made anew.
const redraw = time.Second

func newPaths(w io.Writer, live, asJSON bool) *paths {
	p := &paths{w: w, live: live && !asJSON, json: asJSON, sums: map[path]load{}, stop: make(chan struct{}), done: make(chan struct{})}
	if !p.live {
		close(p.done)
		return p
	}
	go p.keepDrawing()
	return p
}

func (p *paths) keepDrawing() {
	defer close(p.done)
	t := time.NewTicker(redraw)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
		case <-p.stop:
			return
		}
	}
}

func (p *paths) meta(m *engine.Meta) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sample = m.Sample
	return p.err
}

func (p *paths) record(r *engine.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	k := path{r.Dir, r.Kind, r.Way, r.Drop}
	s := p.sums[k]
	s.packets += uint64(max(1, r.Packets))
	s.bytes += uint64(r.Len)
	p.sums[k] = s
	return p.err
}

func (p *paths) lost(n uint64) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone += n
	return p.err
}

func (p *paths) close() error {
	close(p.stop)
	<-p.done
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.json {
		p.print()
	} else {
		p.draw()
	}
	return p.err
}

// sorted returns the paths, those with most packets first, and all their packets.
func (p *paths) sorted() (all []path, total uint64) {
	for k, s := range p.sums {
		all = append(all, k)
		total += s.packets
	}
	slices.SortFunc(all, func(a, b path) int {
		return cmp.Or(cmp.Compare(p.sums[b].packets, p.sums[a].packets), cmp.Compare(a.dir, b.dir), cmp.Compare(a.kind, b.kind),
			cmp.Compare(a.way, b.way), cmp.Compare(a.drop, b.drop))
	})
	return all, total
}

// verdict is that of a packet on the path, with the reason if it has one.
func (k path) verdict() string {
	v := shown[judge(&engine.Record{Dir: k.dir, Way: k.way, Drop: k.drop})]
	if k.drop != encap.Delivered {
		v += " " + k.drop.String()
	}
	return v
}

// draw shows all, over what it showed last if the screen is live.
func (p *paths) draw() {
	var b bytes.Buffer
	if p.drawn > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\x1b[J", p.drawn)
	}
	from := b.Len()
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "SHARE\tPACKETS\tBYTES\tDIR\tVIA\tVERDICT\tWAY\n")
	all, total := p.sorted()
	for _, k := range all {
		s := p.sums[k]
		fmt.Fprintf(t, "%.1f%%\t%d\t%d\t%v\t%v\t%s\t%s\n", 100*float64(s.packets)/float64(total), s.packets, s.bytes, k.dir,
			cmp.Or(k.kind.String(), "-"), k.verdict(), strings.Join(k.way.Names(), " → "))
	}
	t.Flush() // into memory
	if p.sample > 1 {
		fmt.Fprintf(&b, "one of %d packets was looked at\n", p.sample)
	}
	if p.live {
		p.drawn = bytes.Count(b.Bytes()[from:], []byte("\n"))
	}
	p.write(b.Bytes())
}

func (p *paths) write(b []byte) {
	if p.err == nil {
		_, p.err = p.w.Write(b)
	}
}

// A Path is the JSON object that tells of one way.
type Path struct {
	Schema  int      `json:"schema"`
	Type    string   `json:"type"` // "path"
	Dir     string   `json:"dir"`
	Via     string   `json:"via"`
	Verdict verdict  `json:"verdict"`
	Reason  string   `json:"reason,omitempty"` // of a drop
	Way     []string `json:"way"`
	Packets uint64   `json:"packets"`
	Bytes   uint64   `json:"bytes"` // of inner packets
	Share   float64  `json:"share"` // of all packets, 0 to 1
	Sample  int      `json:"sample"`
}

func (p *paths) print() {
	all, total := p.sorted()
	for _, k := range all {
		s := p.sums[k]
		o := Path{Schema: Schema, Type: "path", Dir: k.dir.String(), Via: k.kind.String(),
			Verdict: judge(&engine.Record{Dir: k.dir, Way: k.way, Drop: k.drop}), Way: k.way.Names(),
			Packets: s.packets, Bytes: s.bytes, Share: float64(s.packets) / float64(total), Sample: max(1, p.sample)}
		if k.drop != encap.Delivered {
			o.Reason = k.drop.String()
		}
		b, err := json.Marshal(o)
		if err != nil {
			p.err = err
			return
		}
		p.write(append(b, '\n'))
	}
}
