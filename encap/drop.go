package encap

// Drop is the reason why a packet was not delivered. The number and the name
// of a reason are stable: metrics, traces and scripts depend on them, so new
// reasons go to the end and old ones are never reused.
type Drop uint8

// The reasons. Those marked down are found on packets from the wire, those
// marked up on packets from the pods.
const (
	Delivered          Drop = iota // not a drop
	OuterSrcUnknown                // down: the outer source holds no lease
	Runt                           // down: shorter than the shortest IP header
	NotIP                          // both: version is neither 4 nor 6
	BadIPHeader                    // both: header length, extension headers or total length make no sense
	IPLenMismatch                  // both: the IP header promises more bytes than there are
	Truncated                      // down: the datagram did not fit its buffer
	InnerSrcNotLeased              // down: the inner source is not in the sender's lease
	InnerDstNotLocal               // down: the inner destination is not in our subnet
	TTLExceeded                    // both: TTL or hop limit ran out here
	NoRoute                        // up: no lease covers the destination
	OwnSubnet                      // up: the destination is in our own subnet; sending it would loop
	TooBig                         // up: larger than the path to its peer, and may not be fragmented
	Multicast                      // up: multicast or broadcast destination
	LinkLocal                      // up: link-local source or destination
	BadOffload                     // up: the virtio header and the packet contradict each other
	NoFamily                       // up: the peer's address family has no socket here
	SockFull                       // up: the socket's queue stayed full
	SockError                      // up: the kernel refused the datagram
	TunFull                        // down: the device's queue was full
	TunError                       // down: the device refused the packet
	SockRecvFull                   // down: the kernel found the port's receive buffer full
	TunQueueFull                   // up: the kernel found the device's queue full
	VXLANHeader                    // down: too short for VXLAN, no VNI in it, or reserved bits set
	VXLANVNI                       // down: another network's VNI
	VXLANMAC                       // down: the frame is not for our VTEP, or claims to come from it
	VXLANEtherType                 // down: the frame holds no IP packet, or one of the other version
	VXLANPolicy                    // down: its group policy is not among the accepted ones
	Neighbour                      // down: an ARP or neighbour discovery message that asks nothing of us
	ECNNotECT                      // down: congestion was marked outside a packet that cannot tell of it (RFC 6040)
	SegmentUnknown                 // down: a UDP superpacket; the wire does not tell where its datagrams end
	WantsWireGuard                 // up: the peer's lease says wireguard, which this node does not speak; nothing goes to it in the clear
	ClearFromWireGuard             // down: a packet in the clear from a node whose lease says wireguard, or with an inner source in such a lease
	NotWireGuard                   // up: this node speaks wireguard only, and the peer's lease asks for another backend
	WGNoSession                    // up: no WireGuard session with the peer, and more packets than wait for one
	WGUnknownSession               // down: encrypted for a session that we do not have
	WGReplay                       // down: its counter was used before in its session
	WGForged                       // down: it went into WireGuard and nothing came out: forged, changed on the way, or of a session that is over
	WGHandshake                    // down: a handshake message that is not for our key, of an unknown key, or with another PSK
	WGMessage                      // down: not a WireGuard message
	QueueDelay                     // down: it and all before it had waited too long in the port's buffer (RFC 8289)
	NumDrops                       // how many there are; not a reason
)

var dropNames = [NumDrops]string{
	Delivered:          "delivered",
	OuterSrcUnknown:    "outer_src_unknown",
	Runt:               "runt",
	NotIP:              "not_ip",
	BadIPHeader:        "bad_ip_header",
	IPLenMismatch:      "ip_len_mismatch",
	Truncated:          "truncated",
	InnerSrcNotLeased:  "inner_src_not_in_lease",
	InnerDstNotLocal:   "inner_dst_not_local",
	TTLExceeded:        "ttl_exceeded",
	NoRoute:            "no_route",
	OwnSubnet:          "own_subnet_loop",
	TooBig:             "too_big",
	Multicast:          "multicast",
	LinkLocal:          "link_local",
	BadOffload:         "bad_offload",
	NoFamily:           "encap_unsupported_family",
	SockFull:           "sock_full",
	SockError:          "sock_error",
	TunFull:            "tun_full",
	TunError:           "tun_write_error",
	SockRecvFull:       "sock_recv_full",
	TunQueueFull:       "tun_queue_full",
	VXLANHeader:        "vxlan_invalid_hdr",
	VXLANVNI:           "vxlan_vni_not_found",
	VXLANMAC:           "vxlan_inner_mac_not_ours",
	VXLANEtherType:     "vxlan_inner_ethertype",
	VXLANPolicy:        "vxlan_gbp_policy",
	Neighbour:          "neighbour_not_asked",
	ECNNotECT:          "ip_tunnel_ecn",
	SegmentUnknown:     "udp_segment_unknown",
	WantsWireGuard:     "peer_wants_wireguard",
	ClearFromWireGuard: "clear_from_wireguard_peer",
	NotWireGuard:       "peer_not_wireguard",
	WGNoSession:        "wg_no_session",
	WGUnknownSession:   "wg_unknown_session",
	WGReplay:           "wg_replay",
	WGForged:           "wg_not_authentic",
	WGHandshake:        "wg_handshake_refused",
	WGMessage:          "wg_not_a_message",
	QueueDelay:         "queue_delay",
}

// String returns the snake_case name of the reason.
func (d Drop) String() string {
	if d >= NumDrops {
		return "unknown"
	}
	return dropNames[d]
}
