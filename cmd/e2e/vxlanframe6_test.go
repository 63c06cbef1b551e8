package e2e

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// inner6 makes an inner IPv6 UDP packet, with the checksum that IPv6 demands.
func inner6(src, dst netip.AddrPort, data []byte) []byte {
	p := make([]byte, 48, 48+len(data))
	p[0], p[6], p[7] = 0x60, unix.IPPROTO_UDP, 63
	binary.BigEndian.PutUint16(p[4:], uint16(8+len(data)))
	copy(p[8:], src.Addr().AsSlice())
	copy(p[24:], dst.Addr().AsSlice())
	binary.BigEndian.PutUint16(p[40:], src.Port())
	binary.BigEndian.PutUint16(p[42:], dst.Port())
	binary.BigEndian.PutUint16(p[44:], uint16(8+len(data)))
	p = append(p, data...)
	pseudo := slices.Concat(p[8:40], p[4:6], []byte{0, unix.IPPROTO_UDP})
	binary.BigEndian.PutUint16(p[46:], ^fold(sum(pseudo)+sum(p[40:])))
	return p
}

// IPv6 inside and outside: an outer checksum is demanded there (RFC 7348
// section 4.1), and each family has an endpoint of its own.
func TestVXLANFramesIPv6(t *testing.T) {
	l := newLab(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`)}, map[int]bool{2: true}))
	must(t, l.StartEtcd(within(t)))
	c, at := etcdClient(t, l), plug(t, l, "frames", framePeerAddr)
	outer := netip.MustParseAddr("fd99::202")
	must(t, at.Addresses("eth0", netip.PrefixFrom(framePeerAddr, 24), netip.PrefixFrom(outer, 64)))
	p := framePeer{openUDP(t, at, netip.AddrPortFrom(outer, 8472)), net.HardwareAddr{2, 0, 0, 0, 2, 6}, netip.MustParseAddrPort("[fd00:244:0:202::2]:7")}
	put(t, c, "10.244.202.0-24&fd00:244:0:202::-64", fmt.Sprintf(`{"PublicIP":%q,"PublicIPv6":%q,"BackendType":"vxlan",`+
		`"BackendData":{"VNI":1,"VtepMAC":"02:00:00:00:02:04"},"BackendV6Data":{"VNI":1,"VtepMAC":%q}}`, framePeerAddr, outer, p.mac))
	for _, n := range l.Nodes {
		must(t, n.Start(within(t)))
	}
	reach(t, l.Nodes[0], l.Nodes[1])
	for _, n := range l.Nodes {
		own := leaseOf(t, leases(t, c), n)
		mac4, mac6 := get(t, func() (lease.VTEP, error) { return own.Attrs.VTEP(4) }).MAC, get(t, func() (lease.VTEP, error) { return own.Attrs.VTEP(6) }).MAC
		in := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr6(), 0))
		for _, f := range []struct {
			name string
			mac  [6]byte
			bare int
		}{{"no outer checksum", mac6, 1}, {"to the endpoint for IPv4", mac4, 0}, {"good", mac6, 0}} {
			const noCheck6TX = 101 // UDP_NO_CHECK6_TX, include/uapi/linux/udp.h
			p.s.set(t, unix.IPPROTO_UDP, noCheck6TX, f.bare)
			b := frame{0x08000000, 1 << 8, f.mac[:], p.mac, 0x86dd, inner6(p.pod, in.addr, []byte(f.name))}.bytes()
			must(t, p.s.sendTo(b, netip.AddrPortFrom(n.Underlay6, 8472)))
		}
		buf := make([]byte, 64)
		if k, _, err := in.receive(within(t), buf); err != nil || string(buf[:k]) != "good" {
			t.Errorf("%s: the first frame to be delivered is %q: %v; want good alone", n.Name, buf[:k], err)
		}
	}
	if drops := stopped(t, l.Nodes[0]); drops["vxlan_inner_mac_not_ours"] != 1 {
		t.Errorf("drops %v, want 1 vxlan_inner_mac_not_ours", drops)
	}
}
