package echo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ICMP types.
const (
	typeEcho       = 8 // RFC 792
	typeEchoReply  = 0
	typeEcho6      = 128 // RFC 4443
	typeEchoReply6 = 129
)

// build lays out a request of n bytes, the ICMP header included.
func (c *Conn) build(seq uint16, n int) []byte {
	b := c.request[:n]
	b[0], b[1], b[2], b[3] = typeEcho, 0, 0, 0
	if c.to.Is6() {
		b[0] = typeEcho6
	}
	binary.BigEndian.PutUint16(b[4:], c.id)
	binary.BigEndian.PutUint16(b[6:], seq)
	k := copy(b[icmpHeader:], c.token[:])
	for i := icmpHeader + k; i < n; i++ {
		b[i] = byte(i - icmpHeader)
	}
	if c.to.Is4() { // the kernel fills in ICMPv6's, which covers the addresses
		binary.BigEndian.PutUint16(b[2:], checksum(b))
	}
	return b
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// maxStale bounds how many errors that an earlier request left on the socket are
// taken off before a request leaves.
const maxStale = 16

// send sends the request and returns when.
func (c *Conn) send(request []byte) (start time.Time, err error) {
	for range maxStale {
		c.keepLate()
		start = time.Now()
		if err = c.write(request); err == nil {
			return start, nil
		}
		r := c.objection()
		if r == nil {
			break
		}
		if r.From.IsValid() { // it came just now, about an earlier request
			c.late = r
			continue
		}
		r.Seq, r.known = binary.BigEndian.Uint16(request[6:]), true
		return start, r
	}
	return start, fmt.Errorf("send to %s: %w", c.to, err)
}

// write hands the request to the kernel.
func (c *Conn) write(request []byte) error {
	var err error
	waited := c.raw.Write(func(fd uintptr) bool {
		_, err = unix.Write(int(fd), request)
		return !errors.Is(err, unix.EAGAIN)
	})
	if waited != nil {
		return waited
	}
	if errors.Is(err, unix.EPERM) {
		return fmt.Errorf("this host's own rules (OUTPUT) forbid it: %w", err)
	}
	return err
}

// keepLate empties the error queue, and remembers the latest in it.
func (c *Conn) keepLate() {
	for {
		r := c.objection()
		if r == nil {
			return
		}
		c.late = r
	}
}

// await waits for the answer to the request with this sequence number.
func (c *Conn) await(seq uint16, request []byte) error {
	for {
		n, r, err := c.receive()
		switch {
		case err != nil:
			return err
		case r != nil && (!r.known || r.Seq == seq):
			return r
		case r != nil:
			c.late = r
			continue
		}
		ours, ok := c.match(c.buf[:n], request)
		if ours && !ok {
			return fmt.Errorf("%s, request %d: %w", c.to, seq, ErrDamaged)
		}
		if ours {
			return nil
		}
	}
}

// receive waits for a message (n bytes of buf) or an objection.
func (c *Conn) receive() (n int, r *Refusal, err error) {
	waited := c.raw.Read(func(fd uintptr) bool {
		if r = c.dequeue(int(fd)); r != nil {
			err = nil // of the call before: there was nothing yet
			return true
		}
		var again bool
		n, again, err = c.read(int(fd))
		if again {
			return false
		}
		if err != nil { // an error that the queue explains
			if r = c.dequeue(int(fd)); r != nil {
				err = nil
			}
		}
		return true
	})
	if waited != nil {
		// The poller gives up on a socket that had errors and nothing else.
		if r := c.objection(); r != nil {
			return 0, r, nil
		}
		return 0, nil, waited
	}
	if err != nil {
		return 0, nil, os.NewSyscallError("recvfrom", err)
	}
	return n, r, nil
}

// read reads the next message from the address that requests go to: to a ping
// socket, anyone's may come. With again there is none yet.
func (c *Conn) read(fd int) (n int, again bool, err error) {
	for {
		n, from, err := unix.Recvfrom(fd, c.buf[:], 0)
		if err != nil {
			return 0, errors.Is(err, unix.EAGAIN), err
		}
		if addrOf(from) == c.to.WithZone("") {
			return n, false, nil
		}
	}
}

// match tells whether the message b answers the request, and whether with all
// its bytes.
func (c *Conn) match(b, request []byte) (ours, whole bool) {
	reply := byte(typeEchoReply6)
	if c.to.Is4() {
		reply = typeEchoReply
		if !c.datagram {
			b = skipIPv4(b)
		}
	}
	if len(b) < icmpHeader || b[0] != reply || b[1] != 0 || !bytes.Equal(b[4:icmpHeader], request[4:icmpHeader]) {
		return false, false
	}
	// Somebody else's request may have the same numbers; it has another token.
	if k := min(len(request), icmpHeader+tokenSize); len(b) >= k && !bytes.Equal(b[icmpHeader:k], request[icmpHeader:k]) {
		return false, false
	}
	return true, bytes.Equal(b[icmpHeader:], request[icmpHeader:])
}

// skipIPv4 returns what follows the IPv4 header of b; nil: there is none.
func skipIPv4(b []byte) []byte {
	if len(b) < 20 || b[0]>>4 != 4 {
		return nil
	}
	n := int(b[0]&15) * 4
	if n < 20 || n > len(b) {
		return nil
	}
	return b[n:]
}

func addrOf(sa unix.Sockaddr) netip.Addr {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrFrom4(sa.Addr)
	case *unix.SockaddrInet6:
		return netip.AddrFrom16(sa.Addr)
	}
	return netip.Addr{}
}
