package engine

import (
	"fmt"
	"sync/atomic"

	"weft/encap"
)

// policies counts the frames that came in by their group policy, the 16 bits
// that a kernel with GBP takes from a packet's mark.
type policies struct {
	seen [1 << 16]atomic.Uint64
}

// note counts the frame in datagram, which codec has opened.
func (p *policies) note(codec *encap.VXLAN, datagram []byte) {
	id, _ := codec.Policy(datagram)
	p.seen[id].Add(1)
}

// since returns how many frames each policy has had beyond before, which it
// brings up to date. Only policies with news are named.
func (p *policies) since(before map[uint16]uint64) map[string]uint64 {
	news := map[string]uint64{}
	for id := range p.seen {
		n := p.seen[id].Load()
		if d := n - before[uint16(id)]; d > 0 {
			news[fmt.Sprintf("0x%04x", id)] = d
			before[uint16(id)] = n
		}
	}
	return news
}
