package wg

import (
	"fmt"
	"net/netip"

	"golang.zx2c4.com/wireguard/conn"

	"weft/tunnel"
)

// An endpoint is where a peer's datagrams go to and come from.
type endpoint struct {
	addr *tunnel.Addr
	dst  netip.AddrPort
}

var _ conn.Endpoint = (*endpoint)(nil)

func newEndpoint(ap netip.AddrPort) *endpoint {
	ap = netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
	return &endpoint{addr: tunnel.NewAddr(ap), dst: ap}
}

// parseEndpoint reads ADDRESS:PORT as UAPI has it.
func parseEndpoint(s string) (*endpoint, error) {
	ap, err := netip.ParseAddrPort(s)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", s, err)
	}
	return newEndpoint(ap), nil
}

// family is 0 for IPv4 and 1 for IPv6.
func (e *endpoint) family() int {
	if e.dst.Addr().Is4() {
		return 0
	}
	return 1
}

// ClearSrc does nothing: the kernel chooses the source address of each message.
func (e *endpoint) ClearSrc() {}

// SrcToString returns nothing: there is no source address to tell.
func (e *endpoint) SrcToString() string { return "" }

// SrcIP returns no address.
func (e *endpoint) SrcIP() netip.Addr { return netip.Addr{} }

// DstToString returns the address as ADDRESS:PORT.
func (e *endpoint) DstToString() string { return e.dst.String() }

// DstToBytes returns what a cookie is made of (whitepaper, section 5.4.7).
func (e *endpoint) DstToBytes() []byte {
	b, _ := e.dst.MarshalBinary() // never fails
	return b
}

// DstIP returns the address without the port.
func (e *endpoint) DstIP() netip.Addr { return e.dst.Addr() }

// A directory gives each address one endpoint. One goroutine owns it. Anybody
// can make up source addresses, so it is emptied when it is full.
type directory struct {
	last  *endpoint
	known map[netip.AddrPort]*endpoint
}

const directoryMax = 4096

func (d *directory) endpoint(ap netip.AddrPort) *endpoint {
	if d.last != nil && d.last.dst == ap {
		return d.last
	}
	e := d.known[ap]
	if e == nil {
		if d.known == nil || len(d.known) >= directoryMax {
			d.known = map[netip.AddrPort]*endpoint{}
		}
		e = newEndpoint(ap)
		d.known[ap] = e
	}
	d.last = e
	return e
}
