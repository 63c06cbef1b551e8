package engine

import (
	"weft/encap"
	"weft/engine/iface"
	"weft/engine/trace"
)

// A framing is one encapsulation as this node speaks it. Every node speaks all
// of them: to each peer the one that the peer's lease asks for, so that a
// cluster can change its backend one node at a time.
type framing struct {
	id      int    // index in backend.framings
	kind    string // the Backend.Type that asks for it
	trace   trace.Kind
	codec   encap.Encapsulator
	port    uint16 // UDP: where its peers listen, and we
	inner   [2]int // longest inner packet by the family of the outer one, in bytes; 0: no such family
	spread  int    // sockets that send, by family; a power of two, or 0: the port itself
	listens bool   // datagrams may come in this framing
	split   bool   // inner IPv6 prefers outer IPv6: flannel has a device for each family
	kernel  bool   // peers may be kernels: no checksum over IPv4 (RFC 7348), superpackets nobody has cut
}

// spread is the number of source ports that vxlan's datagrams leave from, so
// that routers and network cards can tell flows apart (RFC 7348 section 5). A
// flow keeps its port. More ports would shorten runs: each is a system call.
const spread = 16

// Bytes of the outer headers.
const (
	outer4 = 20 + 8
	outer6 = 40 + 8
)

// size computes the limits for an outer MTU, in bytes.
func (f *framing) size(mtu int, under iface.Underlay) {
	if under.Addr.IsValid() {
		f.inner[0] = mtu - outer4 - f.codec.Overhead()
	}
	if under.Addr6.IsValid() {
		f.inner[1] = mtu - outer6 - f.codec.Overhead()
	}
}

// speaks tells whether a lease of this BackendType asks for f. The udp backend
// came before the field.
func (f *framing) speaks(backendType string) bool {
	return f.kind == backendType || f.kind == "udp" && backendType == ""
}
