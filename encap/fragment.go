package encap

import "encoding/binary"

// Fragment appends to dst the IPv4 fragments (RFC 791) of the packet p that
// are no longer than mtu bytes, each with prefix in front. p must be IPv4
// without DF; its checksums must be finished. Options stay with the first
// fragment, as most routers do; a packet whose options ask to be copied is
// not fragmented and gives TooBig, as does an mtu too small to make progress.
// A packet that fits makes one fragment; one that is itself a fragment and
// reaches beyond 64 KB is BadIPHeader.
func (c *Cutter) Fragment(dst []Segment, p []byte, h *Header, mtu int, prefix []byte) ([]Segment, Drop) {
	if h.Version != 4 || h.DF(p) || copiedOptions(p[20:ipHeaderLen(p)]) {
		return dst, TooBig
	}
	ihl := ipHeaderLen(p)
	if mtu < ihl+8 {
		return dst, TooBig
	}
	payload := p[ihl:h.Len]
	word := binary.BigEndian.Uint16(p[6:])
	if int(word&0x1fff)*8+len(payload) > 0xffff {
		return dst, BadIPHeader
	}
	for off := 0; ; {
		hl := ihl
		if off > 0 {
			hl = 20
		}
		n := len(payload) - off
		if hl+n > mtu {
			n = (mtu - hl) &^ 7
		}
		block := c.block(len(prefix) + hl)
		copy(block, prefix)
		head := block[len(prefix):]
		copy(head, p[:hl])
		head[0] = 0x40 | uint8(hl/4)
		binary.BigEndian.PutUint16(head[2:], uint16(hl+n))
		more := word & 0x2000 // a fragment that is fragmented again keeps its own
		if off+n < len(payload) {
			more = 0x2000
		}
		binary.BigEndian.PutUint16(head[6:], word&0x8000|more|(word&0x1fff+uint16(off/8)))
		setIPv4Sum(head)
		dst = append(dst, Segment{Head: block, Body: payload[off : off+n]})
		if off += n; off >= len(payload) {
			return dst, Delivered
		}
	}
}

func ipHeaderLen(p []byte) int { return int(p[0]&15) * 4 }

// copiedOptions tells whether an option in opts has its copied flag set, so
// that it would have to stand in every fragment (RFC 791 3.1).
func copiedOptions(opts []byte) bool {
	for len(opts) > 0 {
		switch {
		case opts[0] == 0:
			return false
		case opts[0] == 1:
			opts = opts[1:]
			continue
		case opts[0]&0x80 != 0, len(opts) < 2, opts[1] < 2, int(opts[1]) > len(opts):
			return true
		}
		opts = opts[opts[1]:]
	}
	return false
}
