package probe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
)

// A Form is what a datagram beside the tunnel looks like to the network.
type Form uint8

// The forms.
const (
	Random      Form = iota // noise: neither IP, VXLAN nor WireGuard
	VXLANShaped             // a VXLAN header and an Ethernet frame of a local experiment
	IPShaped                // an IP packet, as the udp encapsulation has it
)

var forms = [...]string{"random", "vxlan-shaped", "ip-shaped"}

func (f Form) String() string {
	if int(f) < len(forms) {
		return forms[f]
	}
	return fmt.Sprintf("form %d", uint8(f))
}

// A Shape is a form and what its headers say.
type Shape struct {
	Form           Form
	VNI            uint32     // VXLANShaped: of 24 bits
	SrcMAC, DstMAC [6]byte    // VXLANShaped: our VTEP and the peer's
	Src, Dst       netip.Addr // IPShaped: our tunnel address and the peer's
}

// A Datagram is an underlay probe or its answer. Whatever its form, it has 160
// bytes, of which the last 56 say what it is:
//
//	+--------------------------------------------------+--------------------+
//	|  headers of the form, if any  |      noise       |        tail        |
//	+-------------------------------+------------------+--------------------+
//	 0                                                  104              160
//
//	 random        nothing; the first byte has its highest bit set and 8 not,
//	               so it is no IP version, no VXLAN flags, no WireGuard type
//	 vxlan-shaped  VXLAN header (RFC 7348), Ethernet header with type 88b5, which
//	               IEEE 802 keeps for local experiments
//	 ip-shaped     IPv4 or IPv6 header, protocol 253 (RFC 3692), TTL 1: whoever
//	               takes it for a packet drops it, as it may go no further
//
//	 0                   1                   2                   3
//	+---------------------------------------------------------------+
//	|                   nonce, 8 bytes, in clear                    |  0
//	+---------------------------------------------------------------+
//	|                     "weft"            "udp?"                  |  8
//	+---------------+---------------+---------------+---------------+
//	|   version 1   | 1 ask, 2 tell |     form      |       0       | 16
//	+---------------+---------------+---------------+---------------+
//	|      port of the address      |               0               | 20
//	+-------------------------------+-------------------------------+
//	|             token and seal, the answer repeats them           | 24
//	+---------------------------------------------------------------+
//	|   the outer address that the probe came from, in an answer    | 40
//	+---------------------------------------------------------------+
//
// All behind the nonce is masked with a stream made of the nonce, so that no
// two datagrams have bytes in common that a device on the path could match. It
// hides nothing from who reads this.
type Datagram struct {
	Shape
	Tell     bool           // it is an answer
	Observed netip.AddrPort // in an answer: where the probe came from
	mark     mark
}

// DatagramSize is the bytes of each underlay probe and of its answer.
const DatagramSize = underlaySize

const (
	underlaySize    = 160
	tailSize        = 56
	underlayVersion = 1
	etherTest       = 0x88b5
	vxlanFlags      = 0x08 // there is a VNI
)

var underlayMagic = binary.BigEndian.Uint64([]byte("weftudp?"))

// Append appends the datagram to b; nonce should be random.
func (d *Datagram) Append(b []byte, nonce uint64) ([]byte, error) {
	at := len(b)
	b = grow(b, underlaySize)
	p := b[at:]
	n := noise(nonce)
	n.fill(p[:underlaySize-tailSize])
	if err := d.putHeaders(p); err != nil {
		return nil, err
	}
	t := p[underlaySize-tailSize:]
	clear(t)
	binary.BigEndian.PutUint64(t, nonce)
	binary.BigEndian.PutUint64(t[8:], underlayMagic)
	t[16], t[17], t[18] = underlayVersion, 1, uint8(d.Form)
	d.mark.put(t[24:])
	if d.Tell {
		t[17] = 2
		binary.BigEndian.PutUint16(t[20:], d.Observed.Port())
		put16(t[40:], d.Observed.Addr())
	}
	mask(t)
	return b, nil
}

// mask hides the tail t behind its nonce, or shows it again.
func mask(t []byte) {
	n := noise(^binary.BigEndian.Uint64(t))
	for i := 8; i < tailSize; i += 8 {
		binary.BigEndian.PutUint64(t[i:], binary.BigEndian.Uint64(t[i:])^n.next())
	}
}

func (d *Datagram) putHeaders(p []byte) error {
	switch d.Form {
	case Random:
		p[0] = p[0]&0x77 | 0x80
	case VXLANShaped:
		if d.VNI >= 1<<24 {
			return fmt.Errorf("VNI: %d has more than 24 bits", d.VNI)
		}
		binary.BigEndian.PutUint64(p, vxlanFlags<<56|uint64(d.VNI)<<8)
		copy(p[8:], d.DstMAC[:])
		copy(p[14:], d.SrcMAC[:])
		binary.BigEndian.PutUint16(p[20:], etherTest)
	case IPShaped:
		if !d.Src.IsValid() || !d.Dst.IsValid() || d.Src.Is4() != d.Dst.Is4() {
			return fmt.Errorf("probe from %s to %s: not two addresses of one family", d.Src, d.Dst)
		}
		putIP(p, d.Src, d.Dst, protoTest, 1)
	default:
		return errors.New("no such form of a probe: " + d.Form.String())
	}
	return nil
}

// Recognise reads a datagram that Append of any node made, the nonce aside. For
// any other it is a comparison of lengths, or of one hash.
func Recognise(b []byte) (d Datagram, ok bool) {
	if len(b) != underlaySize {
		return d, false
	}
	t := b[underlaySize-tailSize:]
	n := noise(^binary.BigEndian.Uint64(t))
	if binary.BigEndian.Uint64(t[8:])^n.next() != underlayMagic {
		return d, false
	}
	var clear [tailSize]byte
	copy(clear[:], t)
	mask(clear[:])
	return d, d.parse(b, clear[:])
}

// parse reads the datagram b, whose tail without its mask is t.
func (d *Datagram) parse(b, t []byte) bool {
	if t[16] != underlayVersion || (t[17] != 1 && t[17] != 2) {
		return false
	}
	d.Form, d.Tell, d.mark = Form(t[18]), t[17] == 2, getMark(t[24:])
	if d.Tell {
		d.Observed = getAddrPort(t[40:], t[20:])
	}
	switch d.Form {
	case Random:
		return b[0]&0x88 == 0x80
	case VXLANShaped:
		head := binary.BigEndian.Uint64(b)
		d.VNI = uint32(head >> 8 & (1<<24 - 1))
		d.DstMAC, d.SrcMAC = [6]byte(b[8:]), [6]byte(b[14:])
		return head&^(uint64(1<<24-1)<<8) == vxlanFlags<<56 && binary.BigEndian.Uint16(b[20:]) == etherTest
	case IPShaped:
		p, ok := parseIP(b, false)
		d.Src, d.Dst = p.src, p.dst
		return ok && p.proto == protoTest && p.size == underlaySize
	}
	return false
}

// answer is what the receiver of d sends back to its sender, who was seen at
// from.
func (d *Datagram) answer(from netip.AddrPort) Datagram {
	a := Datagram{Shape: d.Shape, Tell: true, Observed: from, mark: d.mark}
	a.SrcMAC, a.DstMAC = d.DstMAC, d.SrcMAC
	a.Src, a.Dst = d.Dst, d.Src
	return a
}
