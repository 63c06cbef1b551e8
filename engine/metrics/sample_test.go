package metrics

import (
	"net/netip"
	"time"

	"weft/engine/control"
)

// start is when the sample node started.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ptr[T any](v T) *T { return &v }

// full is a Status with everything in it that a Status can have.
func full() control.Status {
	return control.Status{
		Schema: control.Schema, Time: start.Add(time.Hour), Health: control.Degraded, Causes: []string{"a peer is down"},
		Node: control.NodeInfo{Name: "n1", Version: "v1.2.3", Platform: "linux/arm64", PID: 7, Started: start,
			Subnet: netip.MustParsePrefix("10.244.1.0/24"), Subnet6: netip.MustParsePrefix("fd00:244:1::/64"),
			Public: netip.MustParseAddr("192.0.2.11"), Backend: "vxlan", Devices: []string{"flannel0"},
			MTU: 1450, Iface: "eth0", IfaceMTU: 1500, Nested: "wireguard"},
		Engine: control.Engine{Open: true, Features: []string{"vnet", "gso"}, Off: []string{"uso"}, SourceCheck: "strict",
			Ports: []control.Port{{Kind: "vxlan", Address: netip.MustParseAddrPort("192.0.2.11:8472"), VNI: 1, Drops: 3},
				{Kind: "vxlan", Address: netip.MustParseAddrPort("192.0.2.11:8472"), VNI: 2, Drops: 4}},
			Out: control.Traffic{Packets: 100, Bytes: 90000, Calls: 10, Batches: 5},
			In:  control.Traffic{Packets: 200, Bytes: 180000, Calls: 20, Batches: 6},
			CPU: 1.5, Processors: 4, Memory: 30 << 20, Traces: 1, TraceLost: 9,
			Repairs: []control.Repairs{{What: "route", Count: 2}}, Answers: 11,
			Policies: []control.Policies{{Policy: "0x0001", Count: 1}}},
		Store: control.Store{Kind: "etcd", Where: "https://10.0.0.1:2379", Connected: true, Contact: start.Add(50 * time.Minute),
			Changed: start.Add(time.Minute), Leases: 4, Expires: start.Add(24 * time.Hour), ClockSkew: ptr(0.25)},
		Drops: []control.Drops{{Reason: "tun_queue_full", Out: 5}, {Reason: "too_big", Out: 6}, {Reason: "ttl_exceeded", Out: 1, In: 2}},
		Peers: []control.Peer{
			{Subnet: netip.MustParsePrefix("10.244.3.0/24"), Public: netip.MustParseAddr("192.0.2.13"),
				Backend: "wireguard", Via: "wireguard", State: control.PeerDown, Expires: start.Add(2 * time.Hour),
				Handshake: start.Add(time.Minute), Loss: ptr(1.0), MTU: 1420},
			{Subnet: netip.MustParsePrefix("10.244.2.0/24"), Subnet6: netip.MustParsePrefix("fd00:244:2::/64"),
				Public: netip.MustParseAddr("192.0.2.12"), Backend: "vxlan", Via: "vxlan",
				Endpoint: netip.MustParseAddrPort("192.0.2.12:8472"), State: control.PeerOK, RTT: ptr(0.0006), Loss: ptr(0.0),
				Echoes: 12, Echoed: 11, MTU: 1350, PathMTU: 1400, Sent: control.Traffic{Packets: 60, Bytes: 6000},
				Received: control.Traffic{Packets: 70, Bytes: 7000}, Heard: start.Add(30 * time.Minute), Weft: "v1.2.2"},
			{Subnet6: netip.MustParsePrefix("fd00:244:4::/64"), Public6: netip.MustParseAddr("2001:db8::4"), Backend: "vxlan",
				State: control.PeerNew, MTU: 1430},
		},
		Refused: []control.Refused{{Subnet: netip.MustParsePrefix("10.244.9.0/24"), Reason: "PublicIP: missing"}},
	}
}
