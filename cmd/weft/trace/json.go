package trace

import (
	"encoding/json"
	"io"
	"net/netip"
	"time"

	"weft/encap"
	engine "weft/engine/trace"
)

// Schema is the version of the JSON objects that trace and drops print. Fields
// are added without changing it; it grows when one changes its meaning or goes.
const Schema = 1

// timeFormat is RFC 3339 with all nine digits of nanoseconds, in UTC.
const timeFormat = "2006-01-02T15:04:05.000000000Z07:00"

// A Packet is the JSON object that tells of one packet or superpacket. Sizes are
// in bytes, durations in seconds.
type Packet struct {
	Schema   int            `json:"schema"`
	Type     string         `json:"type"` // "packet"
	Time     string         `json:"time"` // RFC 3339 with nanoseconds, UTC
	ID       uint64         `json:"id"`   // the same as in a capture; unique in this run of the node
	Dir      string         `json:"dir"`  // out: from the pods to the wire, or in
	Verdict  verdict        `json:"verdict"`
	Via      string         `json:"via"`             // udp, vxlan or wireguard; empty: not known
	Way      []string       `json:"way"`             // the stages, in order
	Took     float64        `json:"took"`            // until the verdict
	Packets  uint32         `json:"packets"`         // that it stands for; above 1: a superpacket
	Len      uint32         `json:"len"`             // of the inner packet; of the datagram if inner is missing
	Size     uint16         `json:"size,omitempty"`  // payload of each packet of a superpacket
	Limit    uint16         `json:"limit,omitempty"` // longest inner packet that fits the path, if that mattered
	Run      uint16         `json:"run"`             // in: datagrams that came as one; out: datagrams made of it
	Joined   uint16         `json:"joined,omitempty"`
	VNI      *uint32        `json:"vni,omitempty"`
	ECN      uint8          `json:"ecn"`      // of the outer header
	Prefix   uint16         `json:"prefix"`   // bytes between the UDP header and the inner packet
	Captured int            `json:"captured"` // bytes of the inner packet that the node sent
	Local    netip.AddrPort `json:"local"`    // empty: not known
	Remote   netip.AddrPort `json:"remote"`
	Peer     *Peer          `json:"peer,omitempty"`  // missing: no lease has the remote address
	Inner    *Inner         `json:"inner,omitempty"` // missing: none could be read
	Drop     *Drop          `json:"drop,omitempty"`
	Text     string         `json:"text"` // as the screen has it
}

// A Peer is the other node.
type Peer struct {
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	Public  netip.Addr   `json:"public,omitzero"`
	Public6 netip.Addr   `json:"public6,omitzero"`
	Backend string       `json:"backend"`
}

// Inner is what the inner headers say, as far as they were captured.
type Inner struct {
	Version  uint8      `json:"version"`
	Src      netip.Addr `json:"src"`
	Dst      netip.Addr `json:"dst"`
	Proto    uint8      `json:"proto"`
	Protocol string     `json:"protocol"`
	TTL      uint8      `json:"ttl"`
	TOS      uint8      `json:"tos"`
	DF       bool       `json:"df"`
	Fragment *Fragment  `json:"fragment,omitempty"`
	SrcPort  *uint16    `json:"srcPort,omitempty"`
	DstPort  *uint16    `json:"dstPort,omitempty"`
	Flags    string     `json:"flags,omitempty"` // of TCP, in tcpdump's letters
	Seq      *uint32    `json:"seq,omitempty"`
	Ack      *uint32    `json:"ack,omitempty"`
	Type     *uint8     `json:"icmpType,omitempty"`
	Code     *uint8     `json:"icmpCode,omitempty"`
	EchoID   *uint16    `json:"echoID,omitempty"`
	EchoSeq  *uint16    `json:"echoSeq,omitempty"`
}

// A Fragment tells where a fragment belongs.
type Fragment struct {
	Offset int  `json:"offset"`
	More   bool `json:"more"`
}

// A Drop is why a packet was dropped, or would have been.
type Drop struct {
	Number  int    `json:"number"`
	Reason  string `json:"reason"`
	Meaning string `json:"meaning"`
	Hint    string `json:"hint"`
	Detail  string `json:"detail"` // the addresses or numbers that decided it
}

// Lost is the JSON object for records that are missing at this place.
type Lost struct {
	Schema int    `json:"schema"`
	Type   string `json:"type"` // "lost"
	Lost   uint64 `json:"lost"`
}

// objects is the sink that prints them.
type objects struct {
	enc   *json.Encoder
	names names
}

func newObjects(w io.Writer) *objects {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return &objects{enc: enc}
}

func (o *objects) meta(m *engine.Meta) error     { o.names = newNames(m); return nil }
func (o *objects) record(r *engine.Record) error { return o.enc.Encode(o.names.object(r)) }
func (o *objects) lost(n uint64) error           { return o.enc.Encode(Lost{Schema, "lost", n}) }
func (o *objects) close() error                  { return nil }

// object tells of r.
func (n *names) object(r *engine.Record) Packet {
	k := Packet{Schema: Schema, Type: "packet", Time: r.At().UTC().Format(timeFormat), ID: r.ID, Dir: r.Dir.String(),
		Verdict: judge(r), Via: r.Kind.String(), Way: r.Way.Names(), Took: time.Duration(r.Took).Seconds(), Packets: r.Packets,
		Len: r.Len, Size: r.Size, Limit: r.Limit, Run: r.Run, Joined: r.Joined, ECN: r.ECN, Prefix: r.Prefix,
		Captured: len(r.Inner()), Local: r.Local, Remote: r.Remote, Text: n.what(r)}
	if k.Way == nil {
		k.Way = []string{}
	}
	if r.Kind == engine.VXLAN {
		vni := r.VNI // r is the reader's, so no pointer into it
		k.VNI = &vni
	}
	if p := n.at(r.Remote.Addr()); p != nil {
		k.Peer = &Peer{Subnet: p.Subnet, Subnet6: p.Subnet6, Public: p.Public, Public6: p.Public6, Backend: p.Backend}
	}
	if p, ok := decode(r.Inner()); ok {
		k.Inner = p.object()
	}
	if r.Drop != encap.Delivered {
		meaning, hint := engine.Hint(r.Drop)
		k.Drop = &Drop{int(r.Drop), r.Drop.String(), meaning, hint, n.reason(r)}
	}
	return k
}

func (p *packet) object() *Inner {
	i := &Inner{Version: p.version, Src: p.src, Dst: p.dst, Proto: p.proto, Protocol: protocol(p.proto), TTL: p.ttl, TOS: p.tos, DF: p.df}
	if p.frag {
		i.Fragment = &Fragment{p.offset, p.more}
	}
	if src, dst, ok := p.ports(); ok {
		i.SrcPort, i.DstPort = &src, &dst
	}
	if p.proto == tcp && len(p.transport) >= 14 {
		seq, ack := be.Uint32(p.transport[4:]), be.Uint32(p.transport[8:])
		i.Seq, i.Flags = &seq, flags(p.transport[13])
		if p.transport[13]&0x10 != 0 {
			i.Ack = &ack
		}
	}
	if kind, code, ok := p.message(); ok {
		i.Type, i.Code = &kind, &code
	}
	if _, id, seq, ok := p.echo(); ok {
		i.EchoID, i.EchoSeq = &id, &seq
	}
	return i
}
