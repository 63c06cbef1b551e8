package load

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	batchSize     = 64                     // datagrams per sendmmsg or recvmmsg
	sequenceBytes = 8                      // sequence number in front of each payload, big endian
	largestUDP    = 2048                   // receive buffer per datagram, bytes
	answerWait    = 200 * time.Millisecond // after which udp-ping takes a request for lost
)

// datagrams counts one end of a UDP flood.
type datagrams struct {
	bytes, packets, reordered, refused atomic.Uint64
}

func (d *datagrams) snapshot() Snapshot {
	return Snapshot{
		At: monotonic(), Bytes: d.bytes.Load(), Packets: d.packets.Load(),
		Reordered: d.reordered.Load(), Refused: d.refused.Load(),
	}
}

// udpRecv counts what arrives and what arrives late.
func udpRecv(a netip.AddrPort, _ options, fail func(error)) (role, error) {
	fd, err := udpSocket(a, unix.Bind)
	if err != nil {
		return nil, err
	}
	d := new(datagrams)
	go func() { fail(d.receive(fd)) }()
	return d, nil
}

func (d *datagrams) receive(fd int) error {
	b := newBatch(largestUDP)
	var next uint64 // one above the highest sequence number so far
	for {
		n, err := b.receive(fd)
		if err != nil {
			return fmt.Errorf("recvmmsg: %w", err)
		}
		var size, late uint64
		for i := range n {
			length := int(b.messages[i].length)
			size += uint64(length)
			if length < sequenceBytes {
				return fmt.Errorf("a datagram of %d bytes is not ours", length)
			}
			if seq := binary.BigEndian.Uint64(b.payload(i)); seq < next {
				late++
			} else {
				next = seq + 1
			}
		}
		d.packets.Add(uint64(n))
		d.bytes.Add(size)
		d.reordered.Add(late)
	}
}

// udpSend sends datagrams of o.size bytes as fast as the socket takes them.
func udpSend(a netip.AddrPort, o options, fail func(error)) (role, error) {
	if o.size < sequenceBytes || o.size > largestUDP {
		return nil, fmt.Errorf("-size %d: want %d to %d bytes", o.size, sequenceBytes, largestUDP)
	}
	fd, err := udpSocket(a, unix.Connect)
	if err != nil {
		return nil, err
	}
	d := new(datagrams)
	go func() { fail(d.send(fd, o.size)) }()
	return d, nil
}

func (d *datagrams) send(fd, size int) error {
	b := newBatch(size)
	var seq uint64
	for {
		for i := range batchSize {
			binary.BigEndian.PutUint64(b.payload(i), seq+uint64(i))
		}
		n, err := b.send(fd)
		if errors.Is(err, unix.ENOBUFS) {
			d.refused.Add(1)
			continue
		}
		if err != nil {
			return fmt.Errorf("sendmmsg: %w", err)
		}
		seq += uint64(n)
		d.packets.Add(uint64(n))
		d.bytes.Add(uint64(n * size))
	}
}

// udpEcho returns every datagram to its sender.
func udpEcho(a netip.AddrPort, _ options, fail func(error)) (role, error) {
	fd, err := udpSocket(a, unix.Bind)
	if err != nil {
		return nil, err
	}
	d := new(datagrams)
	go func() { fail(d.echo(fd)) }()
	return d, nil
}

func (d *datagrams) echo(fd int) error {
	buf := make([]byte, largestUDP)
	for {
		n, from, err := unix.Recvfrom(fd, buf, 0)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("recvfrom: %w", err)
		}
		if err := retry(func() error { return unix.Sendto(fd, buf[:n], 0, from) }); err != nil {
			return fmt.Errorf("sendto: %w", err)
		}
		d.packets.Add(1)
		d.bytes.Add(uint64(n))
	}
}

// udpPing sends one datagram, waits for its echo, and times it.
func udpPing(a netip.AddrPort, o options, fail func(error)) (role, error) {
	fd, err := udpSocket(a, unix.Connect)
	if err != nil {
		return nil, err
	}
	wait := unix.NsecToTimeval(int64(answerWait))
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &wait); err != nil {
		return nil, errors.Join(fmt.Errorf("SO_RCVTIMEO: %w", err), unix.Close(fd))
	}
	r := &requester{latency: newRecorder()}
	go func() { fail(r.pings(fd, max(o.size, sequenceBytes))) }()
	return r, nil
}

func (r *requester) pings(fd, size int) error {
	request, answer := make([]byte, size), make([]byte, largestUDP)
	for seq := uint64(0); ; seq++ {
		binary.BigEndian.PutUint64(request, seq)
		begin := time.Now()
		if _, err := write(fd, request); err != nil {
			return fmt.Errorf("ping: %w", err)
		}
		switch err := awaitEcho(fd, answer, seq); {
		case errors.Is(err, unix.EAGAIN):
			r.lost.Add(1)
		case err != nil:
			return fmt.Errorf("echo: %w", err)
		default:
			r.latency.record(time.Since(begin))
			r.bytes.Add(uint64(size))
		}
	}
}

// awaitEcho reads until the answer to request seq comes; answers to requests
// that were given up are passed over.
func awaitEcho(fd int, buf []byte, seq uint64) error {
	for {
		n, err := read(fd, buf)
		if err != nil {
			return err
		}
		if n >= sequenceBytes && binary.BigEndian.Uint64(buf) == seq {
			return nil
		}
	}
}
