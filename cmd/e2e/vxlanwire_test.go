package e2e

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// What weft sends, byte by byte, to whom, and from how many ports.
func TestVXLANOnTheWire(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 1, Env: quiet, Store: lab.StoreEtcd, NetConf: conf("4", `{"Type":"vxlan"}`)})
	must(t, l.StartEtcd(within(t)))
	n, c := l.Nodes[0], etcdClient(t, l)
	p := startFramePeer(t, l)
	put(t, c, framePeerKey, vxlanLease(framePeerAddr.String(), p.mac.String()))
	must(t, n.Start(within(t)))
	own := endpoint(t, c, n)
	var ports []uint16
	for range 64 {
		out := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
		out.set(t, unix.IPPROTO_IP, unix.IP_TOS, 0xb9) // DSCP 46, ECT(1)
		var first uint16
		for i := range 3 {
			must(t, out.sendTo([]byte("wire"), p.pod))
			f, from := p.receive(t)
			want := frame{0x08000000, 1 << 8, p.mac, own, 0x0800, inner4(out.addr, p.pod, 63, []byte("wire"))}
			setTOS(want.inner, 0xb9)
			copy(want.inner[4:12], f.inner[4:12])   // identification, DF and TTL
			copy(want.inner[26:28], f.inner[26:28]) // UDP checksum
			binary.BigEndian.PutUint16(want.inner[10:], 0)
			binary.BigEndian.PutUint16(want.inner[10:], ^fold(sum(want.inner[:20])))
			if string(f.bytes()) != string(want.bytes()) || f.inner[8] != 63 {
				t.Fatalf("on the wire is\n%x, want\n%x", f.bytes(), want.bytes())
			}
			if first == 0 {
				first = from.Port()
			}
			if from.Addr() != n.Underlay || i > 0 && from.Port() != first {
				t.Errorf("one flow came from %s and from port %d", from, first)
			}
		}
		ports = append(ports, first)
	}
	slices.Sort(ports)
	if ports = slices.Compact(ports); len(ports) < 8 {
		t.Errorf("64 flows came from the source ports %v; want many", ports)
	}
}
