package explain

import (
	"bytes"
	"encoding/binary"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
	"golang.org/x/sys/unix"
)

// A field is bytes of which each is known or not. A nil field is not known.
type field struct {
	b     []byte
	known []bool
}

// known makes a field of bytes that are known.
func known(b []byte) *field {
	f := &field{b, make([]bool, len(b))}
	for i := range f.known {
		f.known[i] = true
	}
	return f
}

// set writes known bytes.
func (f *field) set(at int, b []byte) {
	for i, x := range b {
		f.b[at+i], f.known[at+i] = x, true
	}
}

// part returns bytes of f, or nil if they are not all known.
func (f *field) part(at, n int) *field {
	if f == nil || at < 0 || n < 0 || at+n > len(f.b) {
		return nil
	}
	for _, ok := range f.known[at : at+n] {
		if !ok {
			return nil
		}
	}
	return known(bytes.Clone(f.b[at : at+n]))
}

// A packet is what rules can look at, as far as the passage tells it.
type packet struct {
	p         Passage
	network   *field
	transport *field
	untracked bool // its connection is not looked up yet
}

// conntrack is the priority at which connections are looked up, at the hooks
// prerouting and output: NF_IP_PRI_CONNTRACK.
const conntrack = -200

// at is the packet as a chain of that priority sees it at a hook: before routing
// there is no interface that it leaves by, and before conntrack no connection.
func (pk *packet) at(h hook, priority int) *packet {
	if h == prerouting || h == input {
		pk.p.Out = ""
	}
	pk.untracked = (h == prerouting || h == output) && priority < conntrack
	return pk
}

func newPacket(p Passage) *packet {
	blank := func(n int) *field { return &field{make([]byte, n), make([]bool, n)} }
	pk := &packet{p: p, transport: blank(4)}
	if p.Dst.Is4() {
		pk.network = blank(20)
		pk.network.set(9, []byte{p.Proto})
		pk.network.set(12, p.Src.AsSlice())
		pk.network.set(16, p.Dst.AsSlice())
	} else {
		pk.network = blank(40)
		pk.network.set(6, []byte{p.Proto})
		pk.network.set(8, p.Src.AsSlice())
		pk.network.set(24, p.Dst.AsSlice())
	}
	if p.Port != 0 {
		pk.transport.set(2, binary.BigEndian.AppendUint16(nil, p.Port))
	}
	return pk
}

// state is the bit of the connection's state, which nft (NF_CT_STATE_BIT) and
// xtables (XT_CONNTRACK_STATE_BIT) number alike. What has none yet is invalid to
// both.
func (pk *packet) state() uint32 {
	if pk.untracked {
		return expr.CtStateBitINVALID
	}
	if pk.p.Reply {
		return expr.CtStateBitESTABLISHED
	}
	return expr.CtStateBitNEW
}

// match runs a rule's expressions up to its verdict.
func (pk *packet) match(r *nftables.Rule) match {
	regs, result := map[uint32]*field{}, yes
	for _, x := range r.Exprs {
		m := yes
		switch x := x.(type) {
		case *expr.Meta:
			if !x.SourceRegister {
				regs[x.Register] = pk.meta(x.Key)
			}
		case *expr.Payload:
			if x.OperationType == expr.PayloadLoad {
				regs[x.DestRegister] = pk.load(x)
			}
		case *expr.Ct:
			if !x.SourceRegister {
				regs[x.Register] = nil
				if x.Key == expr.CtKeySTATE {
					regs[x.Register] = known(binary.NativeEndian.AppendUint32(nil, pk.state()))
				}
			}
		case *expr.Bitwise:
			regs[x.DestRegister] = mask(regs[x.SourceRegister], x)
		case *expr.Immediate:
			regs[x.Register] = known(x.Data)
		case *expr.Cmp:
			m = compare(regs[x.Register], x)
		case *expr.Match:
			m = pk.xtables(x)
		case *expr.Counter, *expr.Log, *expr.Verdict, *expr.Reject, *expr.Target:
		default:
			m = maybe
		}
		if m == no {
			return no
		}
		result = min(result, m)
	}
	return result
}

func (pk *packet) meta(key expr.MetaKey) *field {
	name := func(s string) *field { return known(append([]byte(s), make([]byte, max(0, unix.IFNAMSIZ-len(s)))...)) }
	switch key {
	case expr.MetaKeyIIFNAME:
		return name(pk.p.In)
	case expr.MetaKeyOIFNAME:
		return name(pk.p.Out)
	case expr.MetaKeyL4PROTO:
		return known([]byte{pk.p.Proto})
	case expr.MetaKeyNFPROTO:
		if pk.p.Dst.Is6() {
			return known([]byte{unix.NFPROTO_IPV6})
		}
		return known([]byte{unix.NFPROTO_IPV4})
	}
	return nil
}

func (pk *packet) load(x *expr.Payload) *field {
	switch x.Base {
	case expr.PayloadBaseNetworkHeader:
		return pk.network.part(int(x.Offset), int(x.Len))
	case expr.PayloadBaseTransportHeader:
		return pk.transport.part(int(x.Offset), int(x.Len))
	}
	return nil
}

// mask computes (f & mask) ^ xor.
func mask(f *field, x *expr.Bitwise) *field {
	if f == nil || len(x.Mask) != len(f.b) || len(x.Xor) != len(f.b) {
		return nil
	}
	out := make([]byte, len(f.b))
	for i := range out {
		out[i] = f.b[i]&x.Mask[i] ^ x.Xor[i]
	}
	return known(out)
}

// compare compares a register with a constant, over the constant's length: a
// shorter one is how nft writes a wildcard at the end of an interface name.
func compare(f *field, x *expr.Cmp) match {
	if f == nil || len(f.b) < len(x.Data) {
		return maybe
	}
	c := bytes.Compare(f.b[:len(x.Data)], x.Data)
	holds := map[expr.CmpOp]bool{expr.CmpOpEq: c == 0, expr.CmpOpNeq: c != 0, expr.CmpOpLt: c < 0,
		expr.CmpOpLte: c <= 0, expr.CmpOpGt: c > 0, expr.CmpOpGte: c >= 0}
	if holds[x.Op] {
		return yes
	}
	return no
}

// xtables evaluates the matches of iptables-nft that are common: comments, and
// the connection's state alone.
func (pk *packet) xtables(x *expr.Match) match {
	if x.Name == "comment" {
		return yes
	}
	info, ok := x.Info.(*xt.ConntrackMtinfo3)
	if !ok || xt.ConntrackFlags(info.MatchFlags)&^xt.ConntrackStateAlias != xt.ConntrackState {
		return maybe
	}
	holds := uint32(info.StateMask)&pk.state() != 0
	if holds == (xt.ConntrackFlags(info.InvertFlags)&xt.ConntrackState == 0) {
		return yes
	}
	return no
}
