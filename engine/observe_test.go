package engine

import (
	"testing"

	"github.com/vishvananda/netlink"
)

// A TUN is a tunnel; a TAP of the same driver is the Ethernet of a virtual
// machine or a bridge, and wraps nothing.
func TestTunnelKind(t *testing.T) {
	for _, tt := range []struct {
		link netlink.Link
		want string
	}{
		{&netlink.Tuntap{Mode: netlink.TUNTAP_MODE_TUN}, "tun"},
		{&netlink.Tuntap{Mode: netlink.TUNTAP_MODE_TAP}, ""},
		{&netlink.Wireguard{}, "wireguard"},
		{&netlink.GenericLink{LinkType: "vti6"}, "ipsec"},
		{&netlink.Bridge{}, ""},
		{&netlink.Device{}, ""},
	} {
		if got := tunnelKind(tt.link); got != tt.want {
			t.Errorf("%T of type %q is %q, want %q", tt.link, tt.link.Type(), got, tt.want)
		}
	}
}
