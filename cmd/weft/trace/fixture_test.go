package trace

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/gopacket"
	"github.com/google/gopacket/layers"

	"weft/cmd/weft/client"
	"weft/encap"
	engine "weft/engine/trace"
)

// asExtcap makes the test binary serve as weft in Wireshark's extcap folder.
const asExtcap = "WEFT_TEST_EXTCAP"

func TestMain(m *testing.M) {
	time.Local = time.UTC // screens show local time
	if os.Getenv(asExtcap) != "" {
		p := stub(stream(allRecords()...))
		os.Exit(p.extcap(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

var meta = engine.Meta{Schema: 1, Node: "n1", Device: "flannel0", Backend: "vxlan", MTU: 1450, Snaplen: 128, Sample: 1, Peers: []engine.MetaPeer{
	{Public: netip.MustParseAddr("192.0.2.12"), Subnet: netip.MustParsePrefix("10.244.2.0/24"), Backend: "vxlan"},
	{Public: netip.MustParseAddr("192.0.2.13"), Subnet: netip.MustParsePrefix("10.244.3.0/24"), Backend: "udp"},
	{Public6: netip.MustParseAddr("2001:db8::14"), Subnet6: netip.MustParsePrefix("fd00:4::/64"), Backend: "vxlan"},
}}

var (
	us  = netip.MustParseAddrPort("192.0.2.11:8472")
	us6 = netip.MustParseAddrPort("[2001:db8::11]:8472")
	n2  = netip.MustParseAddrPort("192.0.2.12:8472")
	n3  = netip.MustParseAddrPort("192.0.2.13:8285")
	n4  = netip.MustParseAddrPort("[2001:db8::14]:8472")
)

// start is when the first record was taken.
var start = time.Date(2026, 3, 1, 12, 0, 1, 204100000, time.UTC)

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// build makes bytes of layers, with lengths and checksums.
func build(parts ...gopacket.SerializableLayer) []byte {
	b := gopacket.NewSerializeBuffer()
	must(gopacket.SerializeLayers(b, gopacket.SerializeOptions{FixLengths: true, ComputeChecksums: true}, parts...))
	return bytes.Clone(b.Bytes())
}

func ip4(src, dst string, proto layers.IPProtocol) *layers.IPv4 {
	return &layers.IPv4{Version: 4, TTL: 63, Flags: layers.IPv4DontFragment, Protocol: proto,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
}

func tcp4(src, dst string, sport, dport int, syn, ack bool, payload int) []byte {
	ip := ip4(src, dst, layers.IPProtocolTCP)
	t := &layers.TCP{SrcPort: layers.TCPPort(sport), DstPort: layers.TCPPort(dport), Seq: 1000, Ack: 7, SYN: syn, ACK: ack, Window: 64240,
		Options: []layers.TCPOption{{OptionType: 1}, {OptionType: 1}, {OptionType: 8, OptionLength: 10, OptionData: make([]byte, 8)}}}
	must(t.SetNetworkLayerForChecksum(ip))
	return build(ip, t, gopacket.Payload(make([]byte, payload)))
}

func ping4(src, dst string) []byte {
	return build(ip4(src, dst, layers.IPProtocolICMPv4), &layers.ICMPv4{TypeCode: layers.CreateICMPv4TypeCode(8, 0), Id: 7, Seq: 1},
		gopacket.Payload(make([]byte, 56)))
}

func udp6(src, dst string) []byte {
	ip := &layers.IPv6{Version: 6, HopLimit: 63, NextHeader: layers.IPProtocolUDP,
		SrcIP: netip.MustParseAddr(src).AsSlice(), DstIP: netip.MustParseAddr(dst).AsSlice()}
	u := &layers.UDP{SrcPort: 40000, DstPort: 40001}
	must(u.SetNetworkLayerForChecksum(ip))
	return build(ip, u, gopacket.Payload("query"))
}

// frame puts what VXLAN has in front of an inner packet.
func frame(vni uint32, etherType uint16, inner []byte) []byte {
	b := []byte{8, 0, 0, 0, byte(vni >> 16), byte(vni >> 8), byte(vni), 0,
		2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1}
	return append(binary.BigEndian.AppendUint16(b, etherType), inner...)
}

const vxlanFront = 8 + 14

// at numbers and dates records in order.
func at(list ...engine.Record) []engine.Record {
	for i := range list {
		r := &list[i]
		r.ID, r.Took = 0x41a7+uint64(i), 3100
		r.Time = start.Add(time.Duration(i) * 800 * time.Microsecond).UnixNano()
		r.Packets, r.Run = max(r.Packets, 1), max(r.Run, 1)
	}
	return list
}

const (
	outWay = engine.Read | engine.Parsed | engine.Routed | engine.Wrapped | engine.Sent
	inWay  = engine.Received | engine.Known | engine.Opened | engine.Parsed | engine.Checked | engine.Written
)

// allRecords has one of each kind that screens tell apart.
func allRecords() []engine.Record {
	syn := tcp4("10.244.1.5", "10.244.2.7", 41022, 80, true, false, 0)
	bulk := tcp4("10.244.1.5", "10.244.2.7", 41022, 80, false, true, 40*1448+500)
	six := udp6("fd00:1::5", "fd00:4::7")
	big := tcp4("10.244.1.5", "10.244.2.7", 41022, 80, false, true, 1448)
	frag := ping4("10.244.1.5", "10.244.2.7")
	arp := frame(1, 0x0806, []byte{0, 1, 8, 0, 6, 4, 0, 1, 2, 0, 0, 0, 0, 2, 10, 244, 2, 0, 0, 0, 0, 0, 0, 0, 10, 244, 9, 9})
	return at(
		engine.Record{Way: outWay, Kind: engine.VXLAN, VNI: 1, Local: us, Remote: n2, Len: uint32(len(syn)), Prefix: vxlanFront, Snap: frame(1, 0x0800, syn)},
		engine.Record{Dir: engine.In, Way: inWay, Kind: engine.VXLAN, VNI: 1, Local: us, Remote: netip.MustParseAddrPort("192.0.2.12:51884"), Run: 2, Joined: 2, ECN: 3,
			Len: 60, Prefix: vxlanFront, Snap: frame(1, 0x0800, tcp4("10.244.2.7", "10.244.1.5", 80, 41022, true, true, 8))},
		engine.Record{Way: outWay | engine.Segmented, Kind: engine.VXLAN, VNI: 1, Local: us, Remote: n2, Len: uint32(len(bulk)), Packets: 41, Size: 1448, Run: 41,
			Prefix: vxlanFront, Snap: frame(1, 0x0800, bulk)[:vxlanFront+128]},
		engine.Record{Way: outWay, Kind: engine.VXLAN, VNI: 1, Local: us6, Remote: n4, Len: uint32(len(six)), Prefix: vxlanFront, Snap: frame(1, 0x86dd, six)},
		engine.Record{Way: engine.Read | engine.Parsed | engine.Routed | engine.Answered, Drop: encap.TooBig, Kind: engine.VXLAN, VNI: 1, Local: us, Remote: n2,
			Len: uint32(len(big)), Limit: 1450, Snap: big[:128]},
		engine.Record{Dir: engine.In, Way: engine.Received | engine.Known, Drop: encap.OuterSrcUnknown, Kind: engine.UDP,
			Local: netip.MustParseAddrPort("192.0.2.11:8285"), Remote: netip.MustParseAddrPort("203.0.113.9:8285"), Len: 84, Snap: ping4("10.244.9.9", "10.244.1.5")},
		engine.Record{Dir: engine.In, Way: engine.Received | engine.Known | engine.Opened | engine.Parsed | engine.Checked, Drop: encap.InnerSrcNotLeased, Kind: engine.UDP,
			Local: netip.MustParseAddrPort("192.0.2.11:8285"), Remote: n3, Len: 84, Snap: ping4("10.244.2.50", "10.244.1.5")},
		engine.Record{Way: outWay&^engine.Sent | engine.Sealed, Kind: engine.WireGuard, Local: netip.AddrPortFrom(netip.Addr{}, 51820),
			Remote: netip.MustParseAddrPort("192.0.2.12:51820"), Len: 84, Snap: frag},
		engine.Record{Dir: engine.In, Way: engine.Received | engine.Known, Drop: encap.WGForged, Kind: engine.WireGuard, Local: netip.MustParseAddrPort("192.0.2.11:51820"),
			Remote: netip.MustParseAddrPort("192.0.2.12:51820"), Len: 128, Prefix: 32, Snap: append([]byte{4, 0, 0, 0}, make([]byte, 28)...)},
		engine.Record{Dir: engine.In, Way: engine.Received | engine.Known | engine.Opened, Drop: encap.Neighbour, Kind: engine.VXLAN, VNI: 1, Local: us,
			Remote: n2, Len: uint32(len(arp)), Prefix: uint16(len(arp)), Snap: arp},
		engine.Record{Way: engine.Read | engine.Parsed | engine.Routed | engine.Answered, Drop: encap.NoRoute, Len: 84, Snap: ping4("10.244.1.5", "10.244.77.1")},
		engine.Record{Dir: engine.In, Way: inWay, Drop: encap.InnerSrcNotLeased, Kind: engine.UDP, Local: netip.MustParseAddrPort("192.0.2.11:8285"), Remote: n3,
			Len: 84, Snap: ping4("10.244.2.50", "10.244.1.5")},
		engine.Record{Way: outWay | engine.Fragmented | engine.Retried, Kind: engine.UDP, Local: us, Remote: n3, Len: 3000, Limit: 1372, Run: 3,
			Snap: ping4("10.244.1.5", "10.244.3.7")},
	)
}

// stream encodes records as a node does; a loss lies behind the third.
func stream(records ...engine.Record) []byte {
	m, err := json.Marshal(meta)
	must(err)
	b := engine.AppendFrame(nil, engine.FrameMeta, m)
	for i, r := range records {
		b = engine.AppendFrame(b, engine.FrameRecord, r.Append(nil))
		if i == 2 {
			b = engine.AppendFrame(b, engine.FrameLost, binary.BigEndian.AppendUint64(nil, 12))
		}
	}
	return engine.AppendFrame(b, engine.FrameEnd, []byte("count reached"))
}

// A recording is a source that plays a stream.
type recording struct {
	*engine.Reader
	closed bool
}

func play(b []byte) *recording { return &recording{Reader: engine.NewReader(bytes.NewReader(b))} }
func (r *recording) Stop()     {}
func (r *recording) Close() error {
	r.closed = true
	return nil
}

// stub is a program whose node plays a stream.
func stub(b []byte) *program {
	return &program{
		trace:    func(context.Context, string, engine.Options) (source, error) { return play(b), nil },
		drops:    func(context.Context, string) (source, error) { return play(b), nil },
		sockets:  func() []client.Socket { return []client.Socket{{Name: "n1", Path: "/run/weft/n1.sock"}} },
		terminal: func(io.Writer) bool { return false },
	}
}
