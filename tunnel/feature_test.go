package tunnel

import (
	"net/netip"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestParseFeatures(t *testing.T) {
	for _, tc := range []struct {
		list string
		want Feature
		err  string
	}{
		{"", 0, ""},
		{"tso", TSO, ""},
		{"gso,gro", GSO | GRO, ""},
		{" USO , ,Mmsg,", USO | Mmsg, ""},
		{strings.Join(featureNames, ","), 1<<len(featureNames) - 1, ""},
		{"gso,quic", 0, `WEFT_DISABLE: unknown feature "quic"`},
		{"gso gro", 0, `unknown feature "gso gro"`},
	} {
		got, err := ParseFeatures(tc.list)
		if got != tc.want || (err == nil) != (tc.err == "") || err != nil && !strings.Contains(err.Error(), tc.err) {
			t.Errorf("ParseFeatures(%q) = %v, %v; want %v, %q", tc.list, got, err, tc.want, tc.err)
		}
	}
}

// What String says, ParseFeatures understands.
func TestFeatureRoundTrip(t *testing.T) {
	for f := Feature(1); f < 1<<len(featureNames); f++ {
		if got, err := ParseFeatures(f.String()); got != f || err != nil {
			t.Fatalf("%v reads as %v, %v", f, got, err)
		}
	}
	if s := Feature(0).String(); s != "none" {
		t.Errorf("no features are called %q", s)
	}
}

func TestAllowed(t *testing.T) {
	all := Feature(1<<len(featureNames) - 1)
	for env, want := range map[string]Feature{
		"":         all,
		"gro":      all &^ GRO,
		"vnet":     all &^ (Vnet | TSO | USO), // superpackets need the header
		"tso,ipv6": all &^ (TSO | IPv6),
	} {
		t.Setenv(DisableEnv, env)
		if got, err := Allowed(); got != want || err != nil {
			t.Errorf("%s=%q allows %v, %v; want %v", DisableEnv, env, got, err, want)
		}
	}
	t.Setenv(DisableEnv, "warp")
	if _, err := Allowed(); err == nil {
		t.Error("an unknown feature is not an error")
	}
}

// What NewAddr writes for the kernel, parseAddr reads, and so does the kernel.
func TestAddrRoundTrip(t *testing.T) {
	for text, want := range map[string]string{
		"192.0.2.1:8285":          "192.0.2.1:8285",
		"255.255.255.255:65535":   "255.255.255.255:65535",
		"[2001:db8::1]:8472":      "[2001:db8::1]:8472",
		"[::ffff:192.0.2.1]:8285": "192.0.2.1:8285",
		"[fe80::1%eth0]:1":        "[fe80::1]:1",
	} {
		a := NewAddr(netip.MustParseAddrPort(text))
		if got := a.AddrPort().String(); got != want {
			t.Errorf("NewAddr(%s).AddrPort() = %s, want %s", text, got, want)
		}
		if got := parseAddr(&a.raw); got != a.AddrPort() {
			t.Errorf("%s reads back as %s", text, got)
		}
		var h unix.Msghdr
		a.name(&h)
		if wantLen := map[bool]uint32{true: unix.SizeofSockaddrInet4, false: unix.SizeofSockaddrInet6}[a.AddrPort().Addr().Is4()]; h.Namelen != wantLen || h.Name == nil {
			t.Errorf("%s has a name of %d bytes, want %d", text, h.Namelen, wantLen)
		}
	}
	mapped := NewAddr(netip.MustParseAddrPort("[2001:db8::1]:5"))
	copy(mapped.raw[8:], netip.MustParseAddr("::ffff:192.0.2.7").AsSlice())
	if got := parseAddr(&mapped.raw).String(); got != "192.0.2.7:5" {
		t.Errorf("a mapped sender reads as %s", got)
	}
}
