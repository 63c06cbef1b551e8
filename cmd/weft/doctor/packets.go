package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"weft/engine/trace"
)

// dropLines writes the flight recorder as text, a line for each packet.
func dropLines(ctx context.Context, d daemon) ([]byte, error) {
	var b bytes.Buffer
	for e, err := range drops(ctx, d) {
		if err != nil {
			return nil, err
		}
		if r := e.Record; r != nil {
			src, dst, proto := ends(r.Inner())
			fmt.Fprintf(&b, "%s %-3s %-24s %s > %s %s len %d", r.At().UTC().Format(time.RFC3339Nano), r.Dir, r.Drop, r.Remote, r.Local, r.Kind, r.Len)
			if src.IsValid() {
				fmt.Fprintf(&b, " inner %s > %s proto %d", src, dst, proto)
			}
			if r.VNI != 0 {
				fmt.Fprintf(&b, " vni %d", r.VNI)
			}
			b.WriteByte('\n')
		}
	}
	return b.Bytes(), nil
}

// dropFrames writes the flight recorder as the stream that it is, which `weft
// trace` and `weft drops` understand, with the payload of packets cut off.
func dropFrames(ctx context.Context, d daemon) ([]byte, error) {
	var b []byte
	for e, err := range drops(ctx, d) {
		switch {
		case err != nil:
			return nil, err
		case e.Record != nil:
			r := clone(e.Record)
			r.Snap = headers(&r)
			b = trace.AppendFrame(b, trace.FrameRecord, r.Append(nil))
		case e.Meta != nil:
			text, err := json.Marshal(e.Meta)
			if err != nil {
				return nil, err
			}
			if text, err = redactJSON(text); err != nil {
				return nil, err
			}
			b = trace.AppendFrame(b, trace.FrameMeta, text)
		}
	}
	return b, nil
}

const (
	protoTCP = 6
	// someBytes of what follows the IP header are kept: ports, or the type of
	// an ICMP message.
	someBytes = 8
	tcpBytes  = 20
)

// headers returns the headers in a record's snap: what stands in front of the
// inner packet, its IP header, and the start of the one behind. Where no IP
// packet was found, or it was not looked for, all behind the encapsulation may
// be a pod's, and nothing of it is kept.
func headers(r *trace.Record) []byte {
	p := r.Inner()
	front := len(r.Snap) - len(p)
	_, _, proto := ends(p)
	after := someBytes
	if proto == protoTCP {
		after = tcpBytes
	}
	var ip int
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		ip = int(p[0]&15) * 4
	case len(p) >= 40 && p[0]>>4 == 6:
		ip = 40
	default:
		return r.Snap[:min(front, encapsulation(r.Kind))]
	}
	return r.Snap[:min(len(r.Snap), front+ip+after)]
}

// encapsulation is how many bytes a kind of datagram has in front of what it
// carries: the headers of VXLAN and Ethernet, the header of WireGuard's data.
func encapsulation(k trace.Kind) int {
	switch k {
	case trace.VXLAN:
		return 8 + 14
	case trace.WireGuard:
		return 16
	}
	return 0
}

// ends reads the addresses of an IP packet; they are zero if it is none. For
// IPv6 proto is the first next header.
func ends(p []byte) (src, dst netip.Addr, proto uint8) {
	switch {
	case len(p) >= 20 && p[0]>>4 == 4:
		return netip.AddrFrom4([4]byte(p[12:16])), netip.AddrFrom4([4]byte(p[16:20])), p[9]
	case len(p) >= 40 && p[0]>>4 == 6:
		return netip.AddrFrom16([16]byte(p[8:24])), netip.AddrFrom16([16]byte(p[24:40])), p[6]
	}
	return src, dst, 0
}
