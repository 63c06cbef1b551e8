package pcapng

import (
	"fmt"
	"io"
)

// RAW is the link type of packets that begin with an IPv4 or IPv6 header
// (LINKTYPE_RAW).
const RAW = 101

// A Section says where the file comes from. Empty texts are left out.
type Section struct {
	Hardware, OS, Application, Comment string
}

// An Interface is a place where packets are seen.
type Interface struct {
	Name, Description string
	LinkType          uint16
	Snaplen           uint32 // bytes of a packet that are kept at most; 0: no limit
}

// A Direction is whence a packet came.
type Direction uint32

// The directions, as epb_flags has them.
const (
	Unknown Direction = iota
	Inbound
	Outbound
)

// A Packet is one packet, or the first bytes of it.
type Packet struct {
	Interface int    // as AddInterface returned it
	Time      int64  // nanoseconds since the Unix epoch
	Data      []byte // what was captured
	Len       uint32 // bytes of the whole packet; no less than those captured
	Direction Direction
	ID        uint64   // the same for all that is one packet; 0: not told
	Lost      uint64   // packets that are missing between the interface's latest one and this
	Verdict   []byte   // type and value, as epb_verdict has them; empty: not told
	Comments  []string // empty ones are left out
}

// Stats is what an interface came to.
type Stats struct {
	Start, End     int64 // nanoseconds since the Unix epoch
	Received, Lost uint64
}

// A Writer writes a file of one section. After an error it writes no more.
type Writer struct {
	w          io.Writer
	buf        []byte
	interfaces int
	err        error
}

// NewWriter writes the section's header to w.
func NewWriter(w io.Writer, s Section) (*Writer, error) {
	p := &Writer{w: w}
	b := begin(p.buf, blockSection).u32(0x1a2b3c4d).u16(1).u16(0).u64(^uint64(0))
	b = b.text(optHardware, s.Hardware).text(optOS, s.OS).text(optApplication, s.Application).text(optComment, s.Comment)
	return p, p.write(b)
}

// AddInterface describes an interface and returns its number.
func (p *Writer) AddInterface(i Interface) (int, error) {
	b := begin(p.buf, blockInterface).u16(i.LinkType).u16(0).u32(i.Snaplen)
	b = b.text(optName, i.Name).text(optDescription, i.Description).option(optResolution, []byte{9})
	if err := p.write(b); err != nil {
		return 0, err
	}
	p.interfaces++
	return p.interfaces - 1, nil
}

// WritePacket writes one packet.
func (p *Writer) WritePacket(k *Packet) error {
	if k.Interface < 0 || k.Interface >= p.interfaces {
		return fmt.Errorf("pcapng: interface %d of %d", k.Interface, p.interfaces)
	}
	b := begin(p.buf, blockPacket).u32(uint32(k.Interface)).time(k.Time)
	b = b.u32(uint32(len(k.Data))).u32(max(k.Len, uint32(len(k.Data)))).padded(k.Data)
	for _, c := range k.Comments {
		b = b.text(optComment, c)
	}
	if k.Direction != Unknown {
		b = b.u16(optFlags).u16(4).u32(uint32(k.Direction))
	}
	if k.Lost != 0 {
		b = b.option64(optDropCount, k.Lost)
	}
	if k.ID != 0 {
		b = b.option64(optPacketID, k.ID)
	}
	if len(k.Verdict) != 0 {
		b = b.option(optVerdict, k.Verdict)
	}
	return p.write(b)
}

// WriteStats writes what an interface came to.
func (p *Writer) WriteStats(number int, s Stats) error {
	if number < 0 || number >= p.interfaces {
		return fmt.Errorf("pcapng: interface %d of %d", number, p.interfaces)
	}
	b := begin(p.buf, blockStats).u32(uint32(number)).time(s.End)
	b = b.u16(optStart).u16(8).time(s.Start).u16(optEnded).u16(8).time(s.End)
	b = b.option64(optReceived, s.Received).option64(optDropped, s.Lost)
	return p.write(b)
}

// write finishes a block and writes it whole.
func (p *Writer) write(b block) error {
	if p.err != nil {
		return p.err
	}
	p.buf = b.finish()
	if _, err := p.w.Write(p.buf); err != nil {
		p.err = fmt.Errorf("pcapng: %w", err)
	}
	return p.err
}
