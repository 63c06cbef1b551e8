package tunneltest

import (
	"bytes"
	"sync/atomic"

	"weft/tunnel"
)

// A Device is the near end in memory. Its methods may be called from several
// goroutines.
type Device struct {
	// Refuse is asked before each write; what it returns, Write returns. It
	// must be set before the device is in use. Nil refuses nothing.
	Refuse func(o tunnel.Offload, data []byte) error

	features atomic.Uint32
	in       *queue[tunnel.Packet]
	out      *queue[Written]
}

// Written is one packet or superpacket that was written to a Device.
type Written struct {
	Offload tunnel.Offload
	Data    []byte
	Pieces  int // how many the gather list had
}

// NewDevice makes a device that offers the features f.
func NewDevice(f tunnel.Feature) *Device {
	d := &Device{in: newQueue[tunnel.Packet](), out: newQueue[Written]()}
	d.features.Store(uint32(f))
	return d
}

// Features returns what the device offers now.
func (d *Device) Features() tunnel.Feature { return tunnel.Feature(d.features.Load()) }

// SetFeatures changes what the device offers, as a demotion does.
func (d *Device) SetFeatures(f tunnel.Feature) { d.features.Store(uint32(f)) }

// Feed lets a loop read packets. They are copied.
func (d *Device) Feed(packets ...tunnel.Packet) {
	for _, p := range packets {
		buf := make([]byte, tunnel.Headroom+len(p.Data))
		copy(buf[tunnel.Headroom:], p.Data)
		d.in.put(tunnel.Packet{Offload: p.Offload, Data: buf[tunnel.Headroom:]})
	}
}

// Read waits for packets and takes as many as a real device would give.
func (d *Device) Read(b *tunnel.Batch) error {
	const most = 128
	packets, ok := d.in.take(most)
	if !ok {
		return tunnel.ErrClosed
	}
	b.Packets = append(b.Packets[:0], packets...)
	return nil
}

// Write takes one packet or superpacket.
func (d *Device) Write(_ *tunnel.Gather, o tunnel.Offload, pieces [][]byte) error {
	data := bytes.Join(pieces, nil)
	if d.Refuse != nil {
		if err := d.Refuse(o, data); err != nil {
			return err
		}
	}
	d.out.put(Written{o, data, len(pieces)})
	return nil
}

// Take returns what was written since the last call, without waiting.
func (d *Device) Take() []Written { return d.out.drain() }

// Await waits until something was written and returns it; nothing after Close.
func (d *Device) Await() []Written {
	w, _ := d.out.take(-1)
	return w
}

// Close ends all waiting. It may be called more than once.
func (d *Device) Close() error {
	d.in.close()
	d.out.close()
	return nil
}
