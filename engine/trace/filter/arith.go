package filter

// A relation compares two numbers made of the packet's bytes.
type relation struct {
	code []step // leaves two numbers
	cmp  byte   // '>', '=' or opAtLeast
}

// maxDepth is how many numbers may wait while others are worked out, as in BPF.
const maxDepth = 16

// A step takes a number off the stack, or k if imm, and puts one on it. All
// numbers are modulo 2³².
type step struct {
	op   byte // an operator of the language, or one of those below
	imm  bool
	size uint8  // of what is loaded: 1, 2 or 4 bytes
	base uint32 // of opLoad: added to the offset without being carried over
	k    uint32
}

// The operators that are not one sign of the language. The operators of two
// operands take the left one off the stack too.
const (
	opNumber     = 'k' // the number itself
	opLength     = 'l' // the packet's length; takes nothing
	opLoad       = '[' // the bytes at the number
	opLoadAfter  = 't' // the bytes at the number after the IPv4 header
	opNegate     = 'n'
	opShiftLeft  = 'L'
	opShiftRight = 'R'
	opAtLeast    = 'G'
)

// holds works the relation out on b, of a packet that was n bytes long. It is
// not ok if a load goes beyond b, or if something is divided by zero.
func (r *relation) holds(b []byte, n uint32) (v uint32, ok bool) {
	var stack [maxDepth]uint32
	top := -1
	for i := range r.code {
		s := &r.code[i]
		x, ok := s.k, true
		if !s.imm {
			x = stack[top]
			top--
		}
		switch s.op {
		case opNumber:
		case opLength:
			x = n
		case opNegate:
			x = -x
		case opLoad:
			x, ok = load(b, uint64(s.base)+uint64(x), s.size)
		case opLoadAfter:
			if ok = len(b) > 0; ok {
				x, ok = load(b, uint64(uint32(headerLen(b))+x), s.size)
			}
		default:
			x, ok = operate(s.op, stack[top], x)
			top--
		}
		if !ok {
			return 0, false
		}
		top++
		stack[top] = x
	}
	return truth(compare(r.cmp, stack[0], stack[1])), true
}

func load(b []byte, at uint64, size uint8) (uint32, bool) {
	switch size {
	case 1:
		return load8(b, at)
	case 2:
		return load16(b, at)
	default:
		return load32(b, at)
	}
}

// operate is not ok if it would divide by zero.
func operate(op byte, a, b uint32) (v uint32, ok bool) {
	switch op {
	case '+':
		return a + b, true
	case '-':
		return a - b, true
	case '*':
		return a * b, true
	case '&':
		return a & b, true
	case '|':
		return a | b, true
	case '^':
		return a ^ b, true
	case opShiftLeft:
		return a << b, true
	case opShiftRight:
		return a >> b, true
	}
	if b == 0 {
		return 0, false
	}
	if op == '/' {
		return a / b, true
	}
	return a % b, true
}

func compare(cmp byte, a, b uint32) bool {
	switch cmp {
	case '>':
		return a > b
	case opAtLeast:
		return a >= b
	default:
		return a == b
	}
}

// simple makes a test of a relation that needs no stack: a load from a fixed
// place or the length, with or without a mask, compared with a number.
func (r *relation) simple() (test, bool) {
	if len(r.code) < 2 || len(r.code) > 3 {
		return test{}, false
	}
	first, last := r.code[0], r.code[len(r.code)-1]
	t := test{mask: 1<<32 - 1}
	if len(r.code) == 3 {
		t.mask = r.code[1].k
		if r.code[1].op != '&' || !r.code[1].imm {
			return t, false
		}
	}
	switch {
	case last.op != opNumber, !first.imm:
		return t, false
	case first.op == opLength:
		t.op = opLen
	case first.op == opLoad && uint64(first.base)+uint64(first.k) < 1<<32,
		first.op == opLoadAfter && first.k < 1<<31:
		t.op = map[uint8]op{1: opByte, 2: opHalf, 4: opWord}[first.size]
		t.off, t.after = first.base+first.k, first.op == opLoadAfter
	default:
		return t, false
	}
	t.low, t.span = last.k, 0
	switch r.cmp {
	case opAtLeast:
		t.span = 1<<32 - 1 - last.k
	case '>':
		t.low, t.span = last.k+1, 1<<32-2-last.k
		return t, last.k != 1<<32-1
	}
	return t, true
}
