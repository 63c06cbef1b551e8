// Package pcapngtest reads capture files back, for tests. It knows what package
// pcapng writes and refuses all else: it is there to find faults in files, not
// to read those of others.
//
// # Theory of operation
//
// [Read] walks over the blocks of one section in order, holds each length
// against the bytes there are, and each padding against zero.
package pcapngtest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"
)

// An Option is a code and its value.
type Option struct {
	Code  uint16
	Value []byte
}

// Text returns the values of the options of a code.
func Text(options []Option, code uint16) (all []string) {
	for _, o := range options {
		if o.Code == code {
			all = append(all, string(o.Value))
		}
	}
	return all
}

// U64 returns the value of the first option of a code as a number; 0 if there
// is none.
func U64(options []Option, code uint16) uint64 {
	for _, o := range options {
		switch {
		case o.Code == code && len(o.Value) == 8:
			return le.Uint64(o.Value)
		case o.Code == code && len(o.Value) == 4:
			return uint64(le.Uint32(o.Value))
		}
	}
	return 0
}

// An Interface is an Interface Description Block.
type Interface struct {
	LinkType uint16
	Snaplen  uint32
	Options  []Option
}

// Name returns its if_name.
func (i Interface) Name() string {
	for _, s := range Text(i.Options, 2) {
		return s
	}
	return ""
}

// A Packet is an Enhanced Packet Block.
type Packet struct {
	Interface int
	Time      int64 // nanoseconds since the Unix epoch
	Data      []byte
	Len       uint32
	Options   []Option
}

// Stats is an Interface Statistics Block.
type Stats struct {
	Interface int
	Time      int64
	Options   []Option
}

// A File is what a section holds.
type File struct {
	Options    []Option
	Interfaces []Interface
	Packets    []Packet
	Stats      []Stats
}

var le = binary.LittleEndian

// Read reads a file of one section.
func Read(b []byte) (f File, err error) {
	for first := true; len(b) > 0; first = false {
		if len(b) < 12 {
			return f, fmt.Errorf("%d bytes are left, no block", len(b))
		}
		kind, n := le.Uint32(b), int(le.Uint32(b[4:]))
		if n < 12 || n%4 != 0 || n > len(b) || int(le.Uint32(b[n-4:])) != n {
			return f, fmt.Errorf("block %#x of %d bytes, %d are left", kind, n, len(b))
		}
		if first != (kind == 0x0a0d0d0a) {
			return f, fmt.Errorf("block %#x, first %v", kind, first)
		}
		if err := f.block(kind, b[8:n-4]); err != nil {
			return f, fmt.Errorf("block %#x: %w", kind, err)
		}
		b = b[n:]
	}
	return f, nil
}

// fixed is how long the bodies of blocks are in front of what varies.
var fixed = map[uint32]int{0x0a0d0d0a: 16, 1: 8, 5: 12, 6: 20}

func (f *File) block(kind uint32, b []byte) (err error) {
	at, known := fixed[kind]
	switch {
	case !known:
		return errors.New("unknown")
	case len(b) < at:
		return fmt.Errorf("%d bytes", len(b))
	case (kind == 5 || kind == 6) && int(le.Uint32(b)) >= len(f.Interfaces):
		return fmt.Errorf("interface %d of %d", le.Uint32(b), len(f.Interfaces))
	}
	switch kind {
	case 0x0a0d0d0a:
		if le.Uint32(b) != 0x1a2b3c4d || le.Uint32(b[4:]) != 1 || le.Uint64(b[8:]) != ^uint64(0) {
			return fmt.Errorf("header % x", b[:16])
		}
		f.Options, err = options(b[at:])
	case 1:
		i := Interface{LinkType: le.Uint16(b), Snaplen: le.Uint32(b[4:])}
		i.Options, err = options(b[at:])
		f.Interfaces = append(f.Interfaces, i)
	case 5:
		s := Stats{Interface: int(le.Uint32(b)), Time: time(b[4:])}
		s.Options, err = options(b[at:])
		f.Stats = append(f.Stats, s)
	case 6:
		err = f.packet(b)
	}
	return err
}

func (f *File) packet(b []byte) (err error) {
	p := Packet{Interface: int(le.Uint32(b)), Time: time(b[4:]), Len: le.Uint32(b[16:])}
	n := int(le.Uint32(b[12:]))
	if uint32(n) > p.Len {
		return fmt.Errorf("%d bytes captured of %d", n, p.Len)
	}
	rest := b[20:]
	if p.Data, rest, err = padded(rest, n); err != nil {
		return err
	}
	p.Options, err = options(rest)
	f.Packets = append(f.Packets, p)
	return err
}

func options(b []byte) (all []Option, err error) {
	for {
		if len(b) < 4 {
			return nil, fmt.Errorf("%d bytes of options without an end", len(b))
		}
		o := Option{Code: le.Uint16(b)}
		n := int(le.Uint16(b[2:]))
		if o.Value, b, err = padded(b[4:], n); err != nil {
			return nil, fmt.Errorf("option %d: %w", o.Code, err)
		}
		if o.Code == 0 {
			if n != 0 || len(b) != 0 {
				return nil, fmt.Errorf("%d bytes behind the end of the options", n+len(b))
			}
			return all, nil
		}
		if o.Code == 1 && !utf8.Valid(o.Value) {
			return nil, fmt.Errorf("comment %q is not UTF-8", o.Value)
		}
		all = append(all, o)
	}
}

// padded takes n bytes and the zeros behind them off b.
func padded(b []byte, n int) (value, rest []byte, err error) {
	end := n + -n&3
	if end > len(b) {
		return nil, nil, fmt.Errorf("%d bytes promised, %d there", n, len(b))
	}
	for _, c := range b[n:end] {
		if c != 0 {
			return nil, nil, fmt.Errorf("padding % x", b[n:end])
		}
	}
	return b[:n], b[end:], nil
}

func time(b []byte) int64 { return int64(le.Uint32(b))<<32 | int64(le.Uint32(b[4:])) }
