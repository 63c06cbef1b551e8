package pcapng

import (
	"encoding/binary"
	"strings"
	"unicode/utf8"
)

// Types of blocks.
const (
	blockSection   = 0x0a0d0d0a
	blockInterface = 1
	blockStats     = 5
	blockPacket    = 6
)

// Codes of options; those above 1 mean something in their kind of block only.
const (
	optEnd     = 0
	optComment = 1

	optHardware    = 2 // SHB
	optOS          = 3
	optApplication = 4

	optName        = 2 // IDB
	optDescription = 3
	optResolution  = 9

	optFlags     = 2 // EPB
	optDropCount = 4
	optPacketID  = 5
	optVerdict   = 7

	optStart    = 2 // ISB
	optEnded    = 3
	optReceived = 4
	optDropped  = 5
)

var le = binary.LittleEndian

// A block is one under construction; finish makes it whole.
type block []byte

// begin starts a block of a type in b's memory; its length is set by finish.
func begin(b []byte, kind uint32) block {
	return le.AppendUint32(le.AppendUint32(b[:0], kind), 0)
}

func (b block) u16(v uint16) block { return le.AppendUint16(b, v) }
func (b block) u32(v uint32) block { return le.AppendUint32(b, v) }
func (b block) u64(v uint64) block { return le.AppendUint64(b, v) }

// time appends a time as two halves, the high one first whatever the order of
// bytes.
func (b block) time(ns int64) block { return b.u32(uint32(uint64(ns) >> 32)).u32(uint32(ns)) }

// padded appends data and zeros up to a multiple of four bytes.
func (b block) padded(data []byte) block {
	b = append(b, data...)
	for range -len(data) & 3 {
		b = append(b, 0)
	}
	return b
}

// option appends one option; value has 65535 bytes at most.
func (b block) option(code uint16, value []byte) block {
	return b.u16(code).u16(uint16(len(value))).padded(value)
}

func (b block) option64(code uint16, v uint64) block { return b.u16(code).u16(8).u64(v) }

// text appends an option of text unless that is empty. The format wants UTF-8
// without a zero at the end; what is not becomes so.
func (b block) text(code uint16, s string) block {
	if s == "" {
		return b
	}
	return b.option(code, []byte(clip(strings.ToValidUTF8(s, "\ufffd"))))
}

// maxOption is the longest value of an option, in bytes.
const maxOption = 65535

// clip shortens s to what an option holds, without cutting a character.
func clip(s string) string {
	if len(s) <= maxOption {
		return s
	}
	n := maxOption
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// finish ends the options and sets both lengths.
func (b block) finish() []byte {
	b = b.u16(optEnd).u16(0)
	n := uint32(len(b) + 4)
	b = b.u32(n)
	le.PutUint32(b[4:], n)
	return b
}
