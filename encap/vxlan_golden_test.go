package encap

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"testing"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"
)

// An ICMP echo request from 10.5.1.2 to 10.5.2.2 as a kernel VXLAN device,
// set up by flanneld, put it on the wire.
const capturedEcho = `
	6ec839b9c476 0212ed4b5743 0800
	4500 0086 a6ea 0000 4011 ee28 c0a83201 c0a83202
	932e 2118 0072 62d3
	08000000 00000100
	7e4df4691121 667d824684ff 0800
	4500 0054 126c 4000 3f01 1230 0a050102 0a050202
	0800 3c99 1bdd 0001 9647016b00000000 4003090000000000
	101112131415161718191a1b1c1d1e1f202122232425262728292a2b2c2d2e2f3031323334353637`

// The kernel's datagram is opened, and made again byte for byte.
func TestCapturedFrame(t *testing.T) {
	frame := unhex(capturedEcho)
	if len(frame) != 148 || !refSound(frame[14:]) || !refSound(frame[14+28+22:]) {
		t.Fatalf("%d bytes, or a wrong checksum: the capture was copied badly", len(frame))
	}
	checkGolden(t, frame[14+28:], frame[14+28+22:])
}

// A computed frame, with its UDP header.
func TestMinimalFrame(t *testing.T) {
	inner := unhex("45000024000140003f0124cb0a0501020a050202 0800543512340001 6162636465666768")
	udp := unhex(`9c402118 0042 5a21  0800000000000100  7e4df4691121 667d824684ff 0800`)
	udp = append(udp, inner...)
	if len(udp) != 66 {
		t.Fatalf("%d bytes", len(udp))
	}
	pseudo := unhex("c0a83201 c0a83202 0011 0042")
	if sum := refSum(pseudo, udp); sum != 0xffff {
		t.Fatalf("the UDP checksum leaves %04x", sum)
	}
	checkGolden(t, udp[8:], inner)
}

func checkGolden(t *testing.T, d, inner []byte) {
	t.Helper()
	if got, drop := vtepB.Open(d); drop != Delivered || !bytes.Equal(got, inner) {
		t.Errorf("opened: %v, %x; want %x", drop, got, inner)
	}
	if drop := deliver(vtepA, d); drop != VXLANMAC {
		t.Errorf("the sender itself: %v", drop)
	}
	if got := fromA(inner); !bytes.Equal(got, d) {
		t.Errorf("made again:\n%x, want\n%x", got, d)
	}
}

// decode has gopacket take a datagram apart.
func decode(t *testing.T, d []byte) (vx *layers.VXLAN, eth *layers.Ethernet, p gopacket.Packet) {
	t.Helper()
	p = gopacket.NewPacket(d, layers.LayerTypeVXLAN, gopacket.Default)
	if failed := p.ErrorLayer(); failed != nil {
		t.Fatalf("%x: %v", d, failed.Error())
	}
	vx, _ = p.Layer(layers.LayerTypeVXLAN).(*layers.VXLAN)
	eth, _ = p.Layer(layers.LayerTypeEthernet).(*layers.Ethernet)
	if vx == nil || eth == nil {
		t.Fatalf("%x is %v", d, p)
	}
	return vx, eth, p
}

// Another implementation sees in our frames what we put into them.
func TestFramesDecoded(t *testing.T) {
	big := *vtepA
	big.VNI = 0xabcdef
	unnumbered := leaseB
	unnumbered.Attrs.BackendData = []byte(`{"VtepMAC":"7e:4d:f4:69:11:21"}`)
	unnumbered.Attrs.BackendV6Data = []byte(`{"VtepMAC":"ea:e2:2d:40:ed:9e"}`)
	for _, q := range []packet{tcp4, udp4, tcp4.six(), udp4.six()} {
		q.dport = 5201 // one that says nothing of the payload
		inner := q.with(100, 1).build()
		prefix, err := big.Prefix(unnumbered, uint8(q.v))
		if err != nil {
			t.Fatal(err)
		}
		vx, eth, p := decode(t, append(prefix, inner...))
		if !vx.ValidIDFlag || vx.VNI != 0xabcdef || vx.GBPExtension || vx.GBPGroupPolicyID != 0 || vx.GBPApplied || vx.GBPDontLearn {
			t.Errorf("%+v", vx)
		}
		dst, src, etherType := macB4, macA4, layers.EthernetTypeIPv4
		if q.v == 6 {
			dst, src, etherType = macB6, macA6, layers.EthernetTypeIPv6
		}
		if !bytes.Equal(eth.DstMAC, dst[:]) || !bytes.Equal(eth.SrcMAC, src[:]) || eth.EthernetType != etherType {
			t.Errorf("IPv%d: %+v", q.v, eth)
		}
		if n := p.NetworkLayer(); n == nil || len(n.LayerContents())+len(n.LayerPayload()) != len(inner) {
			t.Errorf("IPv%d: %v", q.v, p)
		}
	}
}

// A frame with a group policy from gopacket's serializer is read as meant. Its
// place for A (80) is not the draft's and the kernel's (08), so A stays out.
func TestPolicyOfSerializedFrame(t *testing.T) {
	buf := gopacket.NewSerializeBuffer()
	inner := tcp4.with(20, 1).build()
	err := gopacket.SerializeLayers(buf, gopacket.SerializeOptions{},
		&layers.VXLAN{ValidIDFlag: true, VNI: 1, GBPExtension: true, GBPDontLearn: true, GBPGroupPolicyID: 0x1234},
		&layers.Ethernet{DstMAC: macB4[:], SrcMAC: macA4[:], EthernetType: layers.EthernetTypeIPv4},
		gopacket.Payload(inner))
	if err != nil {
		t.Fatal(err)
	}
	v := withGBP(vtepB, "0x1234")
	id, flags := v.Policy(buf.Bytes())
	if id != 0x1234 || flags != PolicyDontLearn {
		t.Errorf("%#x, %#x", id, flags)
	}
	if got, drop := v.Open(buf.Bytes()); drop != Delivered || !bytes.Equal(got, inner) {
		t.Errorf("%v, %x", drop, got)
	}
}

// Another implementation understands our answers to neighbours.
func TestAnswersDecoded(t *testing.T) {
	buf := make([]byte, MaxNeighbour)
	n := vtepB.Answer(buf, arp(nil), self)
	vx, eth, p := decode(t, buf[:n])
	reply, _ := p.Layer(layers.LayerTypeARP).(*layers.ARP)
	if reply == nil || vx.VNI != 1 || !vx.ValidIDFlag || !bytes.Equal(eth.DstMAC, macA4[:]) || !bytes.Equal(eth.SrcMAC, macB4[:]) {
		t.Fatalf("%v", p)
	}
	if reply.AddrType != layers.LinkTypeEthernet || reply.Protocol != layers.EthernetTypeIPv4 || reply.HwAddressSize != 6 ||
		reply.ProtAddressSize != 4 || reply.Operation != layers.ARPReply ||
		!bytes.Equal(reply.SourceHwAddress, macB4[:]) || !bytes.Equal(reply.SourceProtAddress, self[0].AsSlice()) ||
		!bytes.Equal(reply.DstHwAddress, macA4[:]) || !bytes.Equal(reply.DstProtAddress, asker[0].AsSlice()) {
		t.Errorf("%+v", reply)
	}

	n = vtepB.Answer(buf, solicitation(nil), self)
	_, eth, p = decode(t, buf[:n])
	ip, _ := p.Layer(layers.LayerTypeIPv6).(*layers.IPv6)
	advert, _ := p.Layer(layers.LayerTypeICMPv6NeighborAdvertisement).(*layers.ICMPv6NeighborAdvertisement)
	if ip == nil || advert == nil || !bytes.Equal(eth.DstMAC, macA6[:]) || !bytes.Equal(eth.SrcMAC, macB6[:]) {
		t.Fatalf("%v", p)
	}
	if ip.HopLimit != 255 || !ip.SrcIP.Equal(self[1].AsSlice()) || !ip.DstIP.Equal(asker[1].AsSlice()) || int(ip.Length) != n-vxlanOverhead-40 {
		t.Errorf("%+v", ip)
	}
	if !advert.Solicited() || !advert.Override() || !advert.Router() || !advert.TargetAddress.Equal(self[1].AsSlice()) ||
		len(advert.Options) != 1 || advert.Options[0].Type != layers.ICMPv6OptTargetAddress || !bytes.Equal(advert.Options[0].Data, macB6[:]) {
		t.Errorf("%+v", advert)
	}
}

// self are B's addresses on its tunnel device, asker are A's.
var (
	self  = [2]netip.Addr{netip.MustParseAddr("10.5.2.0"), netip.MustParseAddr("fd00:5:2::a1:b2c3")}
	asker = [2]netip.Addr{netip.MustParseAddr("10.5.1.0"), netip.MustParseAddr("fd00:5:1::")}
)

// arp returns A's broadcast question for B's address, changed by change, which
// is given the datagram.
func arp(change func(d []byte)) []byte {
	d := binary.BigEndian.AppendUint64(nil, 0x0800000000000100)
	d = append(d, unhex("ffffffffffff 667d824684ff 0806  0001 0800 06 04 0001  667d824684ff 0a050100  000000000000 0a050200")...)
	if change != nil {
		change(d)
	}
	return d
}

// solicitation returns A's neighbour solicitation for B's address, changed by
// change, which is given the datagram, and with a right checksum.
func solicitation(change func(d []byte)) []byte {
	return solicit(unhex("0101 8201518e00a1"), change)
}

// solicit is solicitation with other options.
func solicit(options []byte, change func(d []byte)) []byte {
	d := unhex("0800000000000100 3333ffa1b2c3 8201518e00a1 86dd  60000000 0000 3a ff")
	d[vxlanOverhead+5] = byte(24 + len(options))
	d = append(d, asker[1].AsSlice()...)
	d = append(d, unhex("ff02 0000 0000 0000 0000 0001 ffa1 b2c3")...)
	d = append(d, unhex("87 00 0000 00000000")...)
	d = append(d, self[1].AsSlice()...)
	d = append(d, options...)
	if change != nil {
		change(d)
	}
	refFix(d[vxlanOverhead:])
	return d
}
