package probe

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"math/rand/v2"
	"net"
	"time"
)

// blockSize is how much is written and read at a time, in bytes.
const blockSize = 256 << 10

// A Load says what to send. With both limits set the first one reached ends
// it; one of them must be.
type Load struct {
	Bytes int64
	Time  time.Duration
	Hash  bool // hash what is sent; costs about as much as sending it
}

// A Flow is one end's account of a stream.
type Flow struct {
	Bytes   int64   `json:"bytes"`
	Seconds float64 `json:"seconds"` // from the first byte to the last
	SHA256  string  `json:"sha256,omitempty"`
}

// Gbit returns the rate in 10⁹ bits per second, 0 when no time went by.
func (f Flow) Gbit() float64 {
	if f.Seconds <= 0 {
		return 0
	}
	return float64(f.Bytes) * 8 / f.Seconds / 1e9
}

// Send connects to addr (host:port), sends the load, and waits until the
// other end has read it all. Each block is different, so that a block lost,
// doubled or swapped changes the hash.
func Send(ctx context.Context, addr string, l Load) (f Flow, err error) {
	if l.Bytes <= 0 && l.Time <= 0 {
		return f, errors.New("a load needs a number of bytes or a time")
	}
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return f, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	start := time.Now()
	if f, err = pump(c, l, start); err != nil {
		return f, fmt.Errorf("after %d bytes: %w", f.Bytes, err)
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return f, err
	}
	if _, err := io.Copy(io.Discard, c); err != nil { // until the receiver closes, having read all
		return f, fmt.Errorf("wait for the receiver: %w", err)
	}
	f.Seconds = time.Since(start).Seconds()
	return f, nil
}

func pump(w io.Writer, l Load, start time.Time) (f Flow, err error) {
	var h hash.Hash
	if l.Hash {
		h = sha256.New()
	}
	block := randomBlock()
	for n := uint64(0); l.more(f.Bytes, start); n++ {
		binary.LittleEndian.PutUint64(block, n)
		b := block
		if left := l.Bytes - f.Bytes; l.Bytes > 0 && left < blockSize {
			b = block[:left]
		}
		if h != nil {
			h.Write(b)
		}
		k, err := w.Write(b)
		f.Bytes += int64(k)
		if err != nil {
			return f, err
		}
	}
	f.sum(h)
	return f, nil
}

func (l Load) more(sent int64, start time.Time) bool {
	return (l.Bytes <= 0 || sent < l.Bytes) && (l.Time <= 0 || time.Since(start) < l.Time)
}

func randomBlock() []byte {
	b := make([]byte, blockSize)
	for i := 0; i < len(b); i += 8 {
		binary.LittleEndian.PutUint64(b[i:], rand.Uint64())
	}
	return b
}

func (f *Flow) sum(h hash.Hash) {
	if h != nil {
		f.SHA256 = hex.EncodeToString(h.Sum(nil))
	}
}

// Receive accepts one connection and reads it to its end, hashing if asked.
func Receive(ctx context.Context, l net.Listener, hashed bool) (f Flow, err error) {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	c, err := l.Accept()
	if err != nil {
		return f, errors.Join(context.Cause(ctx), err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if f, err = drain(c, hashed); err != nil {
		return f, fmt.Errorf("after %d bytes: %w", f.Bytes, err)
	}
	return f, nil
}

func drain(r io.Reader, hashed bool) (f Flow, err error) {
	var h hash.Hash
	if hashed {
		h = sha256.New()
	}
	var start time.Time
	buf := make([]byte, blockSize)
	for err == nil {
		var n int
		n, err = r.Read(buf)
		if start.IsZero() {
			start = time.Now()
		}
		f.Bytes += int64(n)
		if h != nil {
			h.Write(buf[:n])
		}
	}
	f.Seconds = time.Since(start).Seconds()
	f.sum(h)
	if err == io.EOF {
		err = nil
	}
	return f, err
}
