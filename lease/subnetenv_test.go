package lease_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"weft/lease"
)

var dualEnv = lease.Env{
	Network: prefix("10.5.0.0/16"), Subnet: prefix("10.5.1.0/24"),
	IPv6Network: prefix("fd00:10:5::/48"), IPv6Subnet: prefix("fd00:10:5:1::/64"),
	MTU: 1450, IPMasq: true,
}

const dualEnvText = `FLANNEL_NETWORK=10.5.0.0/16
FLANNEL_SUBNET=10.5.1.1/24
FLANNEL_IPV6_NETWORK=fd00:10:5::/48
FLANNEL_IPV6_SUBNET=fd00:10:5:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`

func TestEnvFormat(t *testing.T) {
	v4, v6 := dualEnv, dualEnv
	v4.IPv6Network, v4.IPv6Subnet, v4.MTU, v4.IPMasq = prefix(""), prefix(""), 1472, false
	v6.Network, v6.Subnet = prefix(""), prefix("")
	for _, tc := range []struct {
		e    lease.Env
		want string
	}{
		{dualEnv, dualEnvText},
		{v4, "FLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_SUBNET=10.5.1.1/24\nFLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"},
		{v6, "FLANNEL_IPV6_NETWORK=fd00:10:5::/48\nFLANNEL_IPV6_SUBNET=fd00:10:5:1::1/64\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n"},
	} {
		if got := string(tc.e.Format()); got != tc.want {
			t.Errorf("got\n%swant\n%s", got, tc.want)
		}
		if back, err := lease.ParseEnv(tc.e.Format()); err != nil || back != tc.e {
			t.Errorf("%+v read back as %+v, %v", tc.e, back, err)
		}
	}
}

func TestEnvTolerance(t *testing.T) {
	e, err := lease.ParseEnv([]byte("# a comment\r\n\nexport FLANNEL_SUBNET=\"10.5.1.77/24\"\r\n FLANNEL_MTU = '1400'\nOTHER=x\njunk\nFLANNEL_IPMASQ=TRUE"))
	if err != nil || e != (lease.Env{Subnet: prefix("10.5.1.0/24"), MTU: 1400}) {
		t.Errorf("%+v, %v", e, err)
	}
	// What cannot be used is named; the rest is kept.
	e, err = lease.ParseEnv([]byte("FLANNEL_SUBNET=10.5.1.1/24,10.6.1.1/24\nFLANNEL_MTU=many\nFLANNEL_NETWORK=10.5.0.0/16\nFLANNEL_IPV6_SUBNET=10.5.1.1/24\n"))
	if e != (lease.Env{Network: prefix("10.5.0.0/16")}) || err == nil {
		t.Fatalf("%+v, %v", e, err)
	}
	for _, want := range []string{"FLANNEL_SUBNET: ", "lists several", "FLANNEL_MTU: ", "many", "FLANNEL_IPV6_SUBNET: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
}

func TestWriteEnv(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077)) // this test does not run in parallel with others
	path := filepath.Join(t.TempDir(), "run", "subnet.env")
	if _, err := lease.ReadEnv(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	for range 2 { // the second time over the first
		if err := lease.WriteEnv(path, dualEnv); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != dualEnvText {
		t.Errorf("%s%v", text, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode() != 0o644 {
		t.Errorf("%v %v", fi.Mode(), err)
	}
	if names, err := os.ReadDir(filepath.Dir(path)); err != nil || len(names) != 1 {
		t.Errorf("left behind: %v %v", names, err)
	}
	if e, err := lease.ReadEnv(path); err != nil || e != dualEnv || e.Lease().Key() != "10.5.1.0-24&fd00:10:5:1::-64" {
		t.Errorf("%+v, %v", e, err)
	}
}

// A write that fails leaves the old file and nothing else.
func TestWriteEnvFailure(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "subnet.env")
	if err := os.Mkdir(path, 0o755); err != nil { // a rename cannot replace a directory
		t.Fatal(err)
	}
	if err := lease.WriteEnv(path, dualEnv); err == nil {
		t.Fatal("no error")
	}
	if names, _ := os.ReadDir(dir); len(names) != 1 {
		t.Errorf("left behind: %v", names)
	}
}

func FuzzParseEnv(f *testing.F) {
	f.Add([]byte(dualEnvText))
	f.Add([]byte("export FLANNEL_SUBNET='10.5.1.1/24'\n#\n=\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		e, _ := lease.ParseEnv(data)
		if !e.Subnet.IsValid() || !e.Network.IsValid() || !e.IPv6Subnet.IsValid() || !e.IPv6Network.IsValid() {
			return
		}
		if back, err := lease.ParseEnv(e.Format()); err != nil || back != e {
			t.Errorf("%+v read back as %+v, %v", e, back, err)
		}
	})
}
