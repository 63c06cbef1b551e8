package control

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func somePeers() []Peer {
	prefix, at := netip.MustParsePrefix, netip.MustParseAddrPort
	return []Peer{
		{Subnet: prefix("10.244.2.0/24"), Subnet6: prefix("fd00:244:2::/64"), Public: addr("192.0.2.12"), Endpoint: at("192.0.2.112:8472")},
		{Subnet6: prefix("fd00:244:3::/64"), Public6: addr("2001:db8::3")},
		{Subnet: prefix("10.244.4.0/24"), Public: addr("10.244.2.200")}, // inside the subnet of the first
		{Subnet: prefix("10.244.5.0/24")},
	}
}

// A peer is found by all that names it, a node's own address before one in a subnet.
func TestFindPeer(t *testing.T) {
	peers := somePeers()
	for name, want := range map[string]int{
		"192.0.2.12": 0, "::ffff:192.0.2.12": 0, "192.0.2.112": 0, "10.244.2.7": 0, "10.244.2.0/24": 0, "10.244.2.7/24": 0, "fd00:244:2::9/64": 0,
		"10.244.2.0-24&fd00:244:2::-64": 0, "10.244.4.0-24": 2,
		"fd00:244:3::1": 1, "2001:db8::3": 1, "10.244.2.200": 2, "10.244.5.5": 3,
	} {
		if got, err := FindPeer(peers, name); err != nil || got != peers[want] {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "n2", "10.244.6.1", "10.244.2.0/25", "0.0.0.0/0"} {
		_, err := FindPeer(peers, name)
		var e *Error
		if !errors.As(err, &e) || e.Field != "peer" || !strings.Contains(err.Error(), `"`+name+`"`) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestFindPeerTellsOfOthers(t *testing.T) {
	peers := somePeers()
	for n, want := range map[int]string{
		0: "there are no peers",
		1: "there is 1 peer: 192.0.2.12 with 10.244.2.0/24",
		2: "there are 2 peers: 192.0.2.12 with 10.244.2.0/24, 2001:db8::3 with fd00:244:3::/64",
		4: "there are 4 peers: 192.0.2.12 with 10.244.2.0/24, 2001:db8::3 with fd00:244:3::/64, 10.244.2.200 with 10.244.4.0/24, …",
	} {
		if _, err := FindPeer(peers[:n], "x"); !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := FindPeer(peers[3:], "x"); !strings.HasSuffix(err.Error(), "there is 1 peer: 10.244.5.0/24") {
		t.Error(err)
	}
}
