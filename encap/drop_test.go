package encap

import (
	"regexp"
	"testing"
)

// Metrics, traces and scripts depend on these numbers and names. A new reason
// goes to the end; a line that is here never changes.
var goldenDrops = []string{
	0:  "delivered",
	1:  "outer_src_unknown",
	2:  "runt",
	3:  "not_ip",
	4:  "bad_ip_header",
	5:  "ip_len_mismatch",
	6:  "truncated",
	7:  "inner_src_not_in_lease",
	8:  "inner_dst_not_local",
	9:  "ttl_exceeded",
	10: "no_route",
	11: "own_subnet_loop",
	12: "too_big",
	13: "multicast",
	14: "link_local",
	15: "bad_offload",
	16: "encap_unsupported_family",
	17: "sock_full",
	18: "sock_error",
	19: "tun_full",
	20: "tun_write_error",
	21: "sock_recv_full",
	22: "tun_queue_full",
	23: "vxlan_invalid_hdr",
	24: "vxlan_vni_not_found",
	25: "vxlan_inner_mac_not_ours",
	26: "vxlan_inner_ethertype",
	27: "vxlan_gbp_policy",
	28: "neighbour_not_asked",
	29: "ip_tunnel_ecn",
	30: "udp_segment_unknown",
	31: "peer_wants_wireguard",
	32: "clear_from_wireguard_peer",
	33: "peer_not_wireguard",
	34: "wg_no_session",
	35: "wg_unknown_session",
	36: "wg_replay",
	37: "wg_not_authentic",
	38: "wg_handshake_refused",
	39: "wg_not_a_message",
	40: "queue_delay",
}

func TestDropNumbersAndNamesAreStable(t *testing.T) {
	if int(NumDrops) != len(goldenDrops) {
		t.Errorf("there are %d reasons, the list has %d: append the new ones", NumDrops, len(goldenDrops))
	}
	snake := regexp.MustCompile(`^[a-z]+(_[a-z]+)*$`)
	seen := map[string]Drop{}
	for i, want := range goldenDrops {
		d := Drop(i)
		if d.String() != want {
			t.Errorf("reason %d is %q, was %q", i, d, want)
		}
		if other, twice := seen[d.String()]; twice {
			t.Errorf("reasons %d and %d are both %q", other, d, d)
		}
		if !snake.MatchString(d.String()) {
			t.Errorf("%q is not snake_case", d)
		}
		seen[d.String()] = d
	}
	for _, d := range []Drop{NumDrops, 255} {
		if d.String() != "unknown" {
			t.Errorf("reason %d is %q, want unknown", d, d)
		}
	}
}
