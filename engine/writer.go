package engine

import (
	"errors"

	"golang.org/x/sys/unix"

	"weft/encap"
	"weft/tunnel"
)

// A writer joins packets into superpackets and hands these to the device. One
// goroutine at a time uses it: between begin and end it adds packets to join,
// whose buffers must stay until end.
type writer struct {
	dev    device
	count  *counters
	join   *encap.Coalescer
	gather *tunnel.Gather
	vnet   bool
	done   tally // since begin
	failed error // why the device failed for good
}

// newWriter makes a writer for a device with an MTU of mtu bytes, to which
// longer packets are cut; 0: they are written as they are.
func newWriter(dev device, mtu int, count *counters) *writer {
	w := &writer{dev: dev, count: count, gather: tunnel.NewGather()}
	w.join = encap.NewCoalescer(w.write)
	w.join.MTU = mtu
	return w
}

// begin looks at what the device takes now.
func (w *writer) begin() {
	f := w.dev.Features()
	w.vnet, w.join.TCP, w.join.UDP = f.Has(tunnel.Vnet), f.Has(tunnel.TSO), f.Has(tunnel.USO)
}

// end writes what is still open and counts the batch. Its error says that the
// device is gone.
func (w *writer) end() error {
	w.join.Flush()
	w.count.add(w.done)
	w.done = tally{}
	return w.failed
}

// write hands one packet or superpacket to the device.
func (w *writer) write(s *encap.Super) {
	if w.failed != nil {
		return
	}
	if !w.vnet && s.Offload.Flags != 0 {
		w.plain(s)
		return
	}
	if err := w.dev.Write(w.gather, tunnel.Offload(s.Offload), s.Pieces); err != nil {
		w.refused(s, err)
		return
	}
	w.done.packets += s.Count
	w.done.bytes += s.Bytes + (s.Count-1)*len(s.Pieces[0]) // each had its own headers
	w.done.calls++
}

// plain writes a packet with an unfinished checksum to a device that has no
// way of saying so.
func (w *writer) plain(s *encap.Super) {
	p := s.Pieces[0]
	if !encap.Finish(p, &s.Offload) {
		w.count.drop(encap.BadOffload, 1)
		return
	}
	s.Offload = encap.Offload{}
	w.write(s)
}

// refused deals with a packet that the device did not take.
func (w *writer) refused(s *encap.Super, err error) {
	var demoted *tunnel.RefusedError
	switch {
	case errors.As(err, &demoted):
		n := s.Count
		if drop := w.join.Singly(s); drop != encap.Delivered {
			w.count.drop(drop, n)
		}
	case errors.Is(err, tunnel.ErrClosed), errors.Is(err, unix.EBADFD), errors.Is(err, unix.EBADF):
		w.failed = err
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		w.count.drop(encap.TunFull, s.Count)
	default: // EIO: the link is down
		w.count.drop(encap.TunError, s.Count)
	}
}
