package main

import (
	"slices"
	"testing"
)

func TestParseModinfo(t *testing.T) {
	m := parseModinfo([]byte("license=GPL\x00alias=rtnl-link-vxlan\x00\x00alias=odd=one\x00depends=udp_tunnel,ip6-udp-tunnel\x00vermagic=6.1 SMP\x00"))
	if !slices.Equal(m.Depends, []string{"udp_tunnel", "ip6_udp_tunnel"}) || !slices.Equal(m.Aliases, []string{"rtnl-link-vxlan", "odd=one"}) {
		t.Errorf("%+v", m)
	}
	if m := parseModinfo([]byte("depends=\x00")); m.Depends != nil {
		t.Errorf("a module without dependencies depends on %q", m.Depends)
	}
}

func testIndex() index {
	x := index{}
	for _, m := range []module{
		{Name: "vxlan", Path: "kernel/drivers/net/vxlan.ko", Depends: []string{"udp_tunnel", "ip6_udp_tunnel"}, Aliases: []string{"rtnl-link-vxlan"}},
		{Name: "ip6_udp_tunnel", Path: "kernel/net/ipv6/ip6_udp_tunnel.ko"},
		{Name: "udp_tunnel", Path: "kernel/net/ipv4/udp_tunnel.ko", Depends: []string{"ip6_udp_tunnel"}},
		{Name: "crc32c_generic", Path: "kernel/crypto/crc32c_generic.ko", Aliases: []string{"crypto-crc32c"}},
		{Name: "crc32c_intel", Path: "kernel/arch/crc32c-intel.ko", Aliases: []string{"cpu:type:x86,ven*fam*mod*:feature:*0094*", "crypto-crc32c"}},
		{Name: "lonely", Path: "kernel/lonely.ko", Depends: []string{"absent"}},
		{Name: "egg", Path: "kernel/egg.ko", Depends: []string{"hen"}},
		{Name: "hen", Path: "kernel/hen.ko", Depends: []string{"egg"}},
	} {
		x[m.Name] = m
	}
	return x
}

func TestIndexFind(t *testing.T) {
	for request, want := range map[string][]string{
		"vxlan":           {"vxlan"},
		"rtnl-link-vxlan": {"vxlan"},
		"rtnl_link_vxlan": {"vxlan"},
		"ip6-udp-tunnel":  {"ip6_udp_tunnel"},
		"crypto-crc32c":   {"crc32c_generic", "crc32c_intel"},
		"cpu:type:x86,ven0000fam0006mod0006:feature:,0093,0094,": {"crc32c_intel"},
		"rtnl-link-vx": nil,
		"*":            nil,
	} {
		if got := testIndex().find(request); !slices.Equal(got, want) {
			t.Errorf("%s finds %q, want %q", request, got, want)
		}
	}
}

func TestIndexOrder(t *testing.T) {
	list, err := testIndex().order("vxlan")
	must(t, err)
	var names []string
	for _, m := range list {
		names = append(names, m.Name)
	}
	if want := []string{"ip6_udp_tunnel", "udp_tunnel", "vxlan"}; !slices.Equal(names, want) {
		t.Errorf("order %q, want %q", names, want)
	}
	for _, bad := range []string{"lonely", "egg", "nobody"} {
		if list, err := testIndex().order(bad); err == nil {
			t.Errorf("%s can be loaded: %v", bad, list)
		}
	}
}

func TestIndexWithin(t *testing.T) {
	some, err := testIndex().within("kernel/drivers/net/")
	must(t, err)
	if len(some) != 3 || some["udp_tunnel"].Path == "" {
		t.Errorf("vxlan and what it needs: %v", some)
	}
	if _, err := testIndex().within("kernel/lonely"); err == nil {
		t.Error("a module whose dependency is missing was chosen")
	}
}
