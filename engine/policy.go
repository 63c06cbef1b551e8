package engine

import (
	"fmt"
	"sync/atomic"

	"weft/encap"
)

// policies counts the frames that came in by their group policy, the 16 bits
// that a kernel with GBP takes from a packet's mark.
type policies struct {
	accepted, refused [1 << 16]atomic.Uint64
}

// note counts the frame in datagram, which codec has opened.
func (p *policies) note(codec *encap.VXLAN, datagram []byte) {
	id, _ := codec.Policy(datagram)
	p.accepted[id].Add(1)
}

// refuse counts a frame whose policy is not accepted.
func (p *policies) refuse(codec *encap.VXLAN, datagram []byte) {
	id, _ := codec.Policy(datagram)
	p.refused[id].Add(1)
}

// policyCounts is how often policies were seen, by number, a refused one with
// a mark.
type policyCounts map[string]uint64

// since returns how many frames each policy has had beyond before, which it
// brings up to date. Only policies with news are named.
func (p *policies) since(before policyCounts) policyCounts {
	news := policyCounts{}
	for _, part := range [...]struct {
		counts *[1 << 16]atomic.Uint64
		format string
	}{{&p.accepted, "0x%04x"}, {&p.refused, "0x%04x refused"}} {
		for id := range part.counts {
			n := part.counts[id].Load()
			if n == 0 {
				continue
			}
			name := fmt.Sprintf(part.format, id)
			if d := n - before[name]; d > 0 {
				news[name], before[name] = d, n
			}
		}
	}
	return news
}
