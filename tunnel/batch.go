package tunnel

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Headroom is the number of bytes in front of each packet of a Batch that its
// owner may write to: room for an encapsulation header.
const Headroom = 64

// A batch ends once it holds batchFull bytes, which one large superpacket does:
// it is worth a system call of its own, its bytes are still in the nearest
// cache, and the far end can begin with it. Small packets are gathered, which
// is what draining is for.
const (
	maxPacket    = 65535
	batchFull    = 48 << 10 // bytes after which no more is read
	batchBytes   = batchFull + Headroom + maxPacket
	batchPackets = 128
)

// A Packet is one packet or superpacket from the device.
type Packet struct {
	Offload Offload
	Data    []byte // the IP packet; borrowed until the next Read
}

// A Batch receives what a TUN has to give in one go. Packets lie one behind
// the other, so that a batch of small ones stays in the nearest cache.
//
//	│ headroom 54 │ vnet 10 │ packet │ pad to 64 │ headroom 54 │ vnet 10 │ …
type Batch struct {
	Packets []Packet
	buf     []byte
}

// NewBatch allocates a Batch.
func NewBatch() *Batch {
	return &Batch{Packets: make([]Packet, 0, batchPackets), buf: make([]byte, batchBytes)}
}

// Read waits until the device has packets and takes as many as fit; none after a
// Nudge. It returns ErrClosed after a stop.
func (t *TUN) Read(b *Batch) error {
	if t.pace == Shared {
		runtime.Gosched()
	}
	for tries := 0; ; tries++ {
		if t.stop.Stopped() {
			return ErrClosed
		}
		n, err := t.drain(b)
		switch {
		case err != nil:
			return err
		case n > 0:
			return nil
		case t.pace.rest(tries):
		default:
			nudged, err := t.stop.waitNudged(t.fd, unix.POLLIN, t.nudge)
			if nudged || err != nil {
				return err
			}
			tries = 0
		}
	}
}

// drain reads until the device is empty or the batch is full.
func (t *TUN) drain(b *Batch) (int, error) {
	b.Packets = b.Packets[:0]
	for off := 0; off < batchFull && len(b.Packets) < batchPackets; {
		at := off + Headroom
		if t.vnet {
			at -= vnetLen
		}
		n, _, e := unix.RawSyscall(unix.SYS_READ, uintptr(t.fd), uintptr(unsafe.Pointer(&b.buf[at])), uintptr(off+Headroom+maxPacket-at))
		switch e {
		case 0:
		case unix.EINTR:
			continue
		case unix.EAGAIN:
			return len(b.Packets), nil
		default:
			if len(b.Packets) > 0 {
				return len(b.Packets), nil // the error will come again
			}
			return 0, os.NewSyscallError("read "+t.name, e)
		}
		end := at + int(n)
		if end < off+Headroom {
			continue // shorter than its header: nothing in it
		}
		p := Packet{Data: b.buf[off+Headroom : end]}
		if t.vnet {
			p.Offload = *(*Offload)(unsafe.Pointer(&b.buf[at]))
		}
		b.Packets = append(b.Packets, p)
		off = (end + 63) &^ 63
	}
	return len(b.Packets), nil
}
