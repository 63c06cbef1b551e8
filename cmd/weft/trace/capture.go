package trace

import (
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"time"

	"weft/cmd/weft/client"
	"weft/cmd/weft/trace/pcapng"
	"weft/encap"
	engine "weft/engine/trace"
)

// capture is the sink that writes a capture file: each packet at each place
// where it was. On the way out that is the device, then the port; on the way in
// the port, then the device; instead of the place that a dropped packet did not
// get to it is "drops". WireGuard's datagrams are sealed elsewhere, so there is
// an outer packet only of those that were never opened.
type capture struct {
	w         *pcapng.Writer
	truePorts bool
	now       func() time.Time

	names   names
	device  string
	snaplen int
	places  map[string]*place
	ports   map[end]*place    // those of them that are ports
	heads   map[flight]string // first comments of packets that went well
	said    []string          // the latest comments
	packet  []byte            // the latest outer packet
	order   []*place
	pending uint64 // lost since the latest packet
	allLost uint64
	start   int64
}

// A place is an interface of the capture.
type place struct {
	number  int
	packets uint64
}

// dropsName is the interface of what was dropped.
const dropsName = "drops"

func newCapture(w io.Writer, truePorts bool) (*capture, error) {
	p, err := pcapng.NewWriter(w, pcapng.Section{Hardware: runtime.GOARCH, OS: runtime.GOOS,
		Application: "weft trace " + client.Version})
	if err != nil {
		return nil, err
	}
	return &capture{w: p, truePorts: truePorts, now: time.Now, start: time.Now().UnixNano(), device: "tun",
		places: map[string]*place{}, ports: map[end]*place{}, heads: map[flight]string{}}, nil
}

// An end is a port that records name.
type end struct {
	kind engine.Kind
	port uint16
}

// A flight is what the first comment of a packet that was not lost says: the same
// for all packets of a flow.
type flight struct {
	way           engine.Way
	local, remote netip.AddrPort
	vni           uint32
	prefix        uint16
	dir           engine.Dir
	kind          engine.Kind
	ecn           uint8
}

// manyFlights bounds what is remembered of comments.
const manyFlights = 4096

func (c *capture) meta(m *engine.Meta) error {
	c.names, c.device, c.snaplen = newNames(m), m.Device, m.Snaplen
	clear(c.heads) // leases may have another meaning
	if _, err := c.inner(); err != nil {
		return err
	}
	_, err := c.drops()
	return err
}

// place returns the interface of a name, and describes it the first time.
func (c *capture) place(name, description string, snaplen int) (*place, error) {
	if p := c.places[name]; p != nil {
		return p, nil
	}
	n, err := c.w.AddInterface(pcapng.Interface{Name: name, Description: description, LinkType: pcapng.RAW, Snaplen: uint32(snaplen)})
	if err != nil {
		return nil, err
	}
	p := &place{number: n}
	c.places[name] = p
	c.order = append(c.order, p)
	return p, nil
}

func (c *capture) inner() (*place, error) {
	return c.place(c.device+" (inner)", "packets of pods, at weft's device", c.snaplen)
}

func (c *capture) drops() (*place, error) {
	return c.place(dropsName, "packets that weft has dropped; the comment says why", 0)
}

func (c *capture) outer(r *engine.Record) (*place, error) {
	port := r.Remote.Port()
	if r.Dir == engine.In {
		port = r.Local.Port()
	}
	at := end{r.Kind, port}
	if p := c.ports[at]; p != nil {
		return p, nil
	}
	text := "datagrams between nodes; outer IP and UDP headers are rebuilt: TTL, identification and UDP checksum are not the wire's"
	if r.Kind == engine.VXLAN && !c.truePorts && port != vxlanPort {
		text += fmt.Sprintf(", and the source port is %d so that VXLAN is decoded (the real one is in the comment)", vxlanPort)
	}
	p, err := c.place(fmt.Sprintf("%v:%d (outer)", r.Kind, port), text, 0)
	if err == nil {
		c.ports[at] = p
	}
	return p, err
}

// record writes r at each place where it was.
func (c *capture) record(r *engine.Record) error {
	comments := c.comments(r)
	if r.Dir == engine.Out {
		if err := c.atDevice(r, comments); err != nil {
			return err
		}
	}
	if err := c.atPort(r, comments); err != nil {
		return err
	}
	if r.Dir == engine.In {
		if err := c.atDevice(r, comments); err != nil {
			return err
		}
	}
	return c.atDrops(r, comments)
}

// atDevice writes the inner packet if it was at the device.
func (c *capture) atDevice(r *engine.Record, comments []string) error {
	if len(r.Inner()) == 0 || r.Dir == engine.In && (lostPacket(r) || judge(r) == consumed) {
		return nil
	}
	p, err := c.inner()
	if err != nil {
		return err
	}
	return c.write(p, r, r.Inner(), r.Len, r.Dir == engine.In, comments)
}

// atPort writes the outer packet if it was at the port and can be told.
func (c *capture) atPort(r *engine.Record, comments []string) error {
	unsent := r.Dir == engine.Out && (lostPacket(r) || r.Way&engine.Sent == 0)
	opened := r.Kind == engine.WireGuard && len(r.Inner()) > 0
	if unsent || opened || r.Kind == engine.NoKind || !r.Remote.Addr().IsValid() {
		return nil
	}
	p, err := c.outer(r)
	if err != nil {
		return err
	}
	return c.write(p, r, c.rebuild(r), c.outerLen(r), r.Dir == engine.Out, comments)
}

// rebuild makes the outer packet of r in a buffer that the next call takes again.
func (c *capture) rebuild(r *engine.Record) []byte {
	c.packet = rebuild(c.packet[:0], r, c.truePorts)
	return c.packet
}

func (c *capture) outerLen(r *engine.Record) uint32 { return uint32(outerHeaders(r) + datagramLen(r)) }

// atDrops writes a dropped packet: the inner one, or if none could be read the
// outer one, or what there is.
func (c *capture) atDrops(r *engine.Record, comments []string) error {
	if !lostPacket(r) {
		return nil
	}
	p, err := c.drops()
	if err != nil {
		return err
	}
	data, n := r.Inner(), r.Len
	if len(data) == 0 && r.Remote.Addr().IsValid() {
		data, n = c.rebuild(r), c.outerLen(r)
	}
	return c.write(p, r, data, n, true, comments)
}

// write writes data as r's packet at p; late: at the time of the verdict.
func (c *capture) write(p *place, r *engine.Record, data []byte, n uint32, late bool, comments []string) error {
	k := pcapng.Packet{Interface: p.number, Time: r.Time, Data: data, Len: n, Direction: pcapng.Outbound, ID: r.ID,
		Lost: c.pending, Verdict: []byte{0, byte(r.Drop)}, Comments: comments}
	if late {
		k.Time += int64(r.Took)
	}
	if r.Dir == engine.In {
		k.Direction = pcapng.Inbound
	}
	c.pending = 0
	p.packets++
	return c.w.WritePacket(&k)
}

// comments tell of r in words: verdict, way, and what a superpacket is.
func (c *capture) comments(r *engine.Record) []string {
	head := c.head(r)
	c.said = append(c.said[:0], head)
	all := c.said
	if r.Packets > 1 {
		p, _ := decode(r.Inner())
		all = append(all, fmt.Sprintf("superpacket: stands for %d packets, %s", r.Packets, length(r, &p)))
	}
	if a := answer(r); a != "" {
		all = append(all, "answered "+a)
	}
	if r.Drop != encap.Delivered {
		if meaning, hint := engine.Hint(r.Drop); meaning != "" {
			all = append(all, meaning+". "+hint)
		}
	}
	return all
}

// head is the first comment. Most packets have that of the one before.
func (c *capture) head(r *engine.Record) string {
	key := flight{r.Way, r.Local, r.Remote, r.VNI, r.Prefix, r.Dir, r.Kind, r.ECN}
	if head, ok := c.heads[key]; ok && r.Drop == encap.Delivered {
		return head
	}
	peer := "-"
	if q := c.names.at(r.Remote.Addr()); q != nil {
		peer = subnet(q).String()
	}
	head := fmt.Sprintf("%s peer=%v lease=%s", shown[judge(r)], r.Remote, peer)
	if r.Drop != encap.Delivered {
		head = fmt.Sprintf("%s: %v peer=%v lease=%s: %s", shown[judge(r)], r.Drop, r.Remote, peer, c.names.reason(r))
	}
	if s := outer(r); s != "" {
		head += "; " + s
	}
	if r.Drop == encap.Delivered {
		if len(c.heads) >= manyFlights {
			clear(c.heads)
		}
		c.heads[key] = head
	}
	return head
}

func (c *capture) lost(n uint64) error {
	c.pending += n
	c.allLost += n
	return nil
}

// close writes the statistics. What the node lost stands with the device, which
// is the first interface.
func (c *capture) close() error {
	for i, p := range c.order {
		s := pcapng.Stats{Start: c.start, End: c.now().UnixNano(), Received: p.packets}
		if i == 0 {
			s.Lost = c.allLost
		}
		if err := c.w.WriteStats(p.number, s); err != nil {
			return err
		}
	}
	return nil
}
