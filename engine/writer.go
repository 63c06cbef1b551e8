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
	join   *encap.Coalescer
	gather *tunnel.Gather
	vnet   bool
	done   tally // since begin
	failed error // why the device failed for good
	tap    tap   // beyond what is touched for each packet
}

// newWriter makes a writer for a device with an MTU of mtu bytes, to which
// longer packets are cut; 0: they are written as they are.
func newWriter(dev device, mtu int, tap tap) *writer {
	w := &writer{dev: dev, tap: tap, gather: tunnel.NewGather()}
	w.join = encap.NewCoalescer(w.write)
	w.join.MTU = mtu
	return w
}

// begin looks at what the device takes now, and tells whether somebody traces.
func (w *writer) begin() (traced bool) {
	traced = w.tap.begin()
	f := w.dev.Features()
	w.vnet, w.join.TCP, w.join.UDP = f.Has(tunnel.Vnet), f.Has(tunnel.TSO), f.Has(tunnel.USO)
	return traced
}

// end writes what is still open and counts the batch. Its error says that the
// device is gone.
func (w *writer) end() error {
	w.join.Flush()
	w.tap.count.add(w.done)
	w.done = tally{}
	if w.failed == nil {
		w.tap.end(0)
	}
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
	if w.tap.live() {
		w.tap.wrote(s)
	}
}

// plain writes a packet with an unfinished checksum to a device that has no
// way of saying so.
func (w *writer) plain(s *encap.Super) {
	p := s.Pieces[0]
	if !encap.Finish(p, &s.Offload) {
		w.tap.unwritten(encap.BadOffload, s)
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
		if drop := w.join.Singly(s); drop != encap.Delivered {
			w.tap.unwritten(drop, s)
		}
	case errors.Is(err, tunnel.ErrClosed), errors.Is(err, unix.EBADFD), errors.Is(err, unix.EBADF):
		w.failed = err
	case errors.Is(err, unix.ENOBUFS), errors.Is(err, unix.ENOMEM):
		w.tap.unwritten(encap.TunFull, s)
	default: // EIO: the link is down
		w.tap.unwritten(encap.TunError, s)
	}
}
