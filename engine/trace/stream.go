package trace

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
)

// ContentType is the media type of a stream.
const ContentType = "application/vnd.weft.trace; version=1"

// The types of frames.
const (
	FrameMeta   = 'M'
	FrameRecord = 'R'
	FrameLost   = 'L'
	FrameEnd    = 'E'
)

// maxFrame is more than any frame may hold, in bytes: a Meta of ten thousand
// peers fits.
const maxFrame = 16 << 20

// A Meta tells what a stream's addresses mean.
type Meta struct {
	Schema  int        `json:"schema"` // 1
	Node    string     `json:"node"`
	Device  string     `json:"device"`  // as in "flannel0"
	Backend string     `json:"backend"` // this node's own
	MTU     int        `json:"mtu"`     // of the device, in bytes
	Snaplen int        `json:"snaplen"` // bytes of each inner packet that are kept, at most
	Sample  int        `json:"sample"`  // one of so many matching packets is told of
	Peers   []MetaPeer `json:"peers"`
}

// A MetaPeer is a node as a stream names it.
type MetaPeer struct {
	Public  netip.Addr   `json:"public,omitzero"`
	Public6 netip.Addr   `json:"public6,omitzero"`
	Subnet  netip.Prefix `json:"subnet,omitzero"`
	Subnet6 netip.Prefix `json:"subnet6,omitzero"`
	Backend string       `json:"backend"`
}

// AppendFrame appends a frame of a type to b.
func AppendFrame(b []byte, kind byte, body []byte) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)+1))
	b = append(b, kind)
	return append(b, body...)
}

// whole returns the first of frames, as many as there is room for in bytes, and
// how many they are.
func whole(frames []byte, room int) (first []byte, n int) {
	at := 0
	for most := min(len(frames), room); most-at > 4; n++ {
		size := binary.BigEndian.Uint32(frames[at:])
		if size == 0 || uint64(size) > uint64(most-at-4) {
			break
		}
		at += 4 + int(size)
	}
	return frames[:at], n
}

// An Event is one frame of a stream, decoded: exactly one of the fields is set.
type Event struct {
	Meta   *Meta
	Record *Record // valid until the next call of Next
	Lost   uint64  // records lost since the last such event
	End    string  // why the daemon ended the stream
}

// A Reader reads a stream.
type Reader struct {
	r   io.Reader
	buf []byte
	rec Record
}

// NewReader returns a Reader of r, which should be buffered.
func NewReader(r io.Reader) *Reader { return &Reader{r: r} }

// Next returns the next event. It returns io.EOF where the stream ends between
// two frames, and io.ErrUnexpectedEOF where it ends within one.
func (r *Reader) Next() (Event, error) {
	for {
		kind, body, err := r.frame()
		if err != nil {
			return Event{}, err
		}
		switch kind {
		case FrameRecord:
			err = r.rec.Decode(body)
			return Event{Record: &r.rec}, err
		case FrameLost:
			if len(body) != 8 {
				return Event{}, fmt.Errorf("trace: %d bytes in a frame of lost records, want 8", len(body))
			}
			return Event{Lost: binary.BigEndian.Uint64(body)}, nil
		case FrameEnd:
			return Event{End: string(body)}, nil
		case FrameMeta:
			m := new(Meta)
			if err := json.Unmarshal(body, m); err != nil {
				return Event{}, fmt.Errorf("trace: meta frame: %w", err)
			}
			return Event{Meta: m}, nil
		}
	}
}

func (r *Reader) frame() (kind byte, body []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(r.r, head[:]); err != nil {
		return 0, nil, err
	}
	n := binary.BigEndian.Uint32(head[:])
	if n == 0 || n > maxFrame {
		return 0, nil, fmt.Errorf("trace: a frame of %d bytes", n)
	}
	if cap(r.buf) < int(n-1) {
		r.buf = make([]byte, n-1)
	}
	r.buf = r.buf[:n-1]
	if _, err := io.ReadFull(r.r, r.buf); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return head[4], r.buf, nil
}
