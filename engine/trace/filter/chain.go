package filter

// Protocols that are a header before another one (RFC 8200, RFC 4302).
const (
	hopByHop     = 0
	routing      = 43
	authenticate = 51
	destination  = 60
)

// maxHeaders is how many headers of a packet are walked over.
const maxHeaders = 16

// chain tells whether the IP header that b begins with, or one of the extension
// headers after it, names protocol t.off as the next one; t.set is where b names
// the first. It is not ok if the chain goes on beyond b.
func (t *test) chain(b []byte) (v uint32, ok bool) {
	next, ok := load8(b, t.set)
	if !ok {
		return 0, false
	}
	v6, at := t.set == proto6, headerLen(b)
	if v6 {
		at = header6
	}
	for range maxHeaders {
		if next == t.off {
			return 1, true
		}
		unit := uint64(8)
		switch {
		case next == authenticate:
			unit = 4
		case !v6 || next != hopByHop && next != routing && next != protoFrag && next != destination:
			return 0, true
		}
		var size uint32
		if size, ok = load8(b, at+1); !ok {
			return 0, false
		}
		length := (uint64(size) + 1) * unit
		switch next {
		case authenticate:
			length += unit // it counts from two on
		case protoFrag:
			length = 8
		}
		next, _ = load8(b, at)
		at += length
	}
	return 0, true
}
