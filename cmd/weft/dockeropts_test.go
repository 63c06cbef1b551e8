package main

import (
	"net"
	"net/netip"
	"regexp"
	"testing"

	"github.com/vishvananda/netlink"
)

func TestGatewayOf(t *testing.T) {
	route := func(dst, gw string) netlink.Route {
		_, n, err := net.ParseCIDR(dst)
		if err != nil {
			t.Fatal(err)
		}
		return netlink.Route{Dst: n, Gw: net.ParseIP(gw)}
	}
	routes := []netlink.Route{
		{Gw: net.ParseIP("192.0.2.1")}, // the default route
		route("10.5.0.0/16", "192.0.2.2"),
		route("10.5.1.0/24", ""), // Docker's own bridge
		route("10.5.2.0/24", "192.0.2.3"),
	}
	for subnet, want := range map[string]string{
		"10.5.1.0/24": "",
		"10.5.2.0/24": "192.0.2.3",
		"10.5.3.0/24": "",
	} {
		if got := gatewayOf(routes, netip.MustParsePrefix(subnet)); got != want {
			t.Errorf("%s: gateway %q, want %q", subnet, got, want)
		}
	}
}

// FuzzInQuotes: whatever the variable held before, what comes out is one line
// whose quotes and dollars are all escaped, since a shell may read it.
func FuzzInQuotes(f *testing.F) {
	f.Add("-H fd://")
	f.Add("\"; $(id) `id` \\")
	f.Add("a\nb\\\n")
	harmless := regexp.MustCompile("^K=\"([^\"$`\\\\\n]|\\\\[\"$`\\\\])*\"\n$")
	f.Fuzz(func(t *testing.T, present string) {
		opts := []dockerOption{{"X", "--mtu=1472"}}
		if out := renderDocker(opts, dockerFlags{key: "K", combined: true}, present); !harmless.Match(out) {
			t.Errorf("%q", out)
		}
	})
}
