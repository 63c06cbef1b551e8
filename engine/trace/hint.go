package trace

import "weft/encap"

// A hintText is what is said of a drop reason: what happened, and what to do
// about it.
type hintText struct{ meaning, hint string }

// hints has a row for each reason. The meanings are those of docs/reference.md.
var hints = [encap.NumDrops]hintText{
	encap.OuterSrcUnknown: {"the outer source holds no lease",
		"Compare the outer source with the leases. It may be a stranger; a node behind NAT or with several addresses, " +
			"which needs --iface or --public-ip; or a node whose lease is not known here."},
	encap.Runt: {"shorter than the shortest IP header",
		"Look at the datagrams: something else sends to the port, or with another encapsulation."},
	encap.NotIP: {"the version is neither 4 nor 6",
		"Look at the datagrams: something else sends to the port, or with another encapsulation."},
	encap.BadIPHeader: {"header length, extension headers or total length make no sense",
		"Look at the datagrams: something else sends to the port, or with another encapsulation."},
	encap.IPLenMismatch: {"the IP header promises more bytes than there are",
		"Look at the datagrams: something else sends to the port, or with another encapsulation."},
	encap.Truncated: {"the datagram did not fit its buffer",
		"Look at the datagrams: nothing that follows the rules of UDP sends such."},
	encap.InnerSrcNotLeased: {"the inner source is not in the sender's lease",
		"If the sender's host speaks from its own address, give it --ip-masq. Otherwise a pod there has a foreign address, " +
			"or two nodes hold one subnet, or somebody forges packets. If all is meant so: --source-check=report delivers and counts."},
	encap.InnerDstNotLocal: {"the inner destination is not in our subnet",
		"The sender believes that the destination is here. Compare subnet.env here with the lease in the store; " +
			"if it goes on, the sender does not learn changes of leases."},
	encap.TTLExceeded: {"the TTL or hop limit ran out here",
		"Nothing if it is traceroute. Many of them for one destination are a routing loop: look at ip route on both nodes."},
	encap.NoRoute: {"no lease covers the destination",
		"Either no node holds that subnet, or its lease was refused (weft status names it), or the destination is no pod."},
	encap.OwnSubnet: {"the destination is in our own subnet; sending it would loop",
		"No bridge here has that pod's address. See that the bridge is up and that ip route has a route for the own subnet."},
	encap.TooBig: {"larger than the path to its peer, and may not be fragmented",
		"The sender was told. If it goes on, it ignores ICMP, or something in front of it drops ICMP."},
	encap.Multicast: {"multicast or broadcast destination",
		"Nothing: it is the kernel's own chatter on any device."},
	encap.LinkLocal: {"link-local source or destination",
		"Nothing: it is the kernel's own chatter on any device."},
	encap.BadOffload: {"the virtio header and the packet contradict each other",
		"A fault of the kernel or a driver: switch tso or uso off by WEFT_DISABLE, and report it."},
	encap.NoFamily: {"the peer's address family has no socket here",
		"Give this node an address of that family on the underlay, or the peer one of ours."},
	encap.SockFull: {"the socket's queue stayed full",
		"The kernel is short of memory, or the underlay's link is slower than what pods send."},
	encap.SockError: {"the kernel refused the datagram",
		"No route to the node, or a local firewall that says no: ip route get NODE."},
	encap.TunFull: {"the device's queue was full",
		"The device is down, or the kernel short of memory: ip link show."},
	encap.TunError: {"the device refused the packet",
		"The device is down, or the kernel short of memory: ip link show."},
	encap.SockRecvFull: {"the kernel found the port's receive buffer full",
		"More arrives than this machine can carry: raise net.core.rmem_max, or give it processors."},
	encap.TunQueueFull: {"the kernel found the device's queue full",
		"Pods send more than this machine can carry: look at the processors."},
	encap.VXLANHeader: {"too short for VXLAN, no VNI in it, or reserved bits set",
		"Something else sends to the port, or a node has GBP on while it is off here: Backend.GBP must be the same everywhere."},
	encap.VXLANVNI: {"another network's VNI",
		"Another VXLAN network uses the port, or a node has another VNI: weft trace vni N shows who sends it, weft status --peer what each peer's lease says."},
	encap.VXLANMAC: {"the frame is not for our VTEP (VXLAN tunnel endpoint), or claims to come from it",
		"The sender has an old VtepMAC of ours, or two nodes have one VtepMAC, as cloned machines do: " +
			"compare the inner Ethernet addresses with the leases."},
	encap.VXLANEtherType: {"the frame holds no IP packet, or one of the other version",
		"Nothing: flannel carries IP alone. A VTEP that bridges sends such frames."},
	encap.VXLANPolicy: {"its group policy is not among the accepted ones",
		"--gbp-policy does not name the sender's policy; 0 stands for frames without one. Change the sender's packet marks, or the flag."},
	encap.Neighbour: {"an ARP or neighbour discovery message that asks nothing of us",
		"Nothing: what is asked of us is answered and not counted."},
	encap.ECNNotECT: {"congestion was marked outside a packet that cannot tell of it (RFC 6040)",
		"A router on the way marks congestion although the packet does not allow it. Nothing to do here."},
	encap.SegmentUnknown: {"a UDP superpacket; the wire does not tell where its datagrams end",
		"On the kernel VXLAN peer of this machine: ethtool -K flannel.1 tx-udp-segmentation off."},
	encap.WantsWireGuard: {"the peer's lease says wireguard, which this node does not speak; nothing goes to it in the clear",
		"It is held back on purpose. Give both nodes the same Backend and restart them."},
	encap.ClearFromWireGuard: {"a packet in the clear from a node whose lease says wireguard, or with an inner source in such a lease",
		"Find who sends it: somebody forges packets, or that node still has a socket of its earlier backend open. " +
			"No --source-check lets it in."},
	encap.NotWireGuard: {"this node speaks wireguard only, and the peer's lease asks for another backend",
		"Move the peer to wireguard as well."},
	encap.WGNoSession: {"no WireGuard session with the peer, and more packets than may wait",
		"The peer is down, its key or PSK differ, or something on the way eats UDP to its ListenPort: " +
			"compare its public key in wg show with its lease."},
	encap.WGUnknownSession: {"encrypted for a session that we do not have",
		"Nothing if it ends within seconds: we were restarted and the peer has not noticed yet. Else old or forged datagrams."},
	encap.WGReplay: {"its counter was used before in its session",
		"Nothing: it was dropped. The network duplicates datagrams, or somebody replays recorded ones."},
	encap.WGForged: {"decryption took it and neither gave it back nor said why",
		"Nothing while it is few: it was forged or changed on the way, or its session had expired. " +
			"On many, look at the sender's network card (checksum offload)."},
	encap.WGHandshake: {"a handshake message that is not for our key, of an unknown key, or with another PSK",
		"A few while nodes start are nothing. Else compare the keys in the leases with wg show on both nodes, and the PSK."},
	encap.WGMessage: {"not a WireGuard message",
		"Find who sends it: something else uses this port."},
	encap.QueueDelay: {"it and all before it had waited too long in the port's buffer",
		"Nothing while it is few: TCP slows down by it. Else more arrives than this node can decrypt: a faster processor, or fewer bytes."},
}

// Hint says in plain English what a drop reason means, as a clause without a
// full stop, and what to do about it, as sentences. Both are empty for
// [encap.Delivered] and for numbers that are no reasons.
func Hint(d encap.Drop) (meaning, hint string) {
	if d >= encap.NumDrops {
		return "", ""
	}
	return hints[d].meaning, hints[d].hint
}
