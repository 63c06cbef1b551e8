package masq

import (
	"net"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// exprs compiles a rule for nf_tables, in the order in which nft(8) would
// print it. The fields it reads lie in the network header:
//
//	IPv4 (RFC 791)    0        12       16       20
//	                  │ …      │ source │ dest.  │
//	IPv6 (RFC 8200)   0        8                24               40
//	                  │ …      │ source         │ destination    │
func (r rule) exprs(six bool) []expr.Any {
	var e []expr.Any
	if r.marked {
		e = append(e, &expr.Meta{Key: expr.MetaKeyMARK, Register: 1})
		e = append(e, maskedCompare(expr.CmpOpEq,
			binaryutil.NativeEndian.PutUint32(serviceMark), binaryutil.NativeEndian.PutUint32(serviceMark))...)
	}
	source, destination := uint32(12), uint32(16)
	if six {
		source, destination = 8, 24
	}
	e = append(e, r.src.exprs(source)...)
	e = append(e, r.dst.exprs(destination)...)
	switch r.do {
	case masquerade:
		return append(e, &expr.Masq{FullyRandom: r.random})
	case accept:
		return append(e, &expr.Verdict{Kind: expr.VerdictAccept})
	default:
		return append(e, &expr.Verdict{Kind: expr.VerdictReturn})
	}
}

// exprs compares the address at offset in the network header.
func (s side) exprs(offset uint32) []expr.Any {
	if !s.in.IsValid() {
		return nil
	}
	addr := s.in.Addr().AsSlice()
	op := expr.CmpOpEq
	if s.not {
		op = expr.CmpOpNeq
	}
	load := &expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: uint32(len(addr))}
	mask := net.CIDRMask(s.in.Bits(), 8*len(addr))
	return append([]expr.Any{load}, maskedCompare(op, mask, addr)...)
}

// maskedCompare compares register 1, masked, with value.
func maskedCompare(op expr.CmpOp, mask, value []byte) []expr.Any {
	return []expr.Any{
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
		&expr.Cmp{Op: op, Register: 1, Data: value},
	}
}
