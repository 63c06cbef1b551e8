package lab

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"weft/lease"
)

func TestNth(t *testing.T) {
	for _, c := range []struct {
		first, last string
		length, n   int
		want        string
		ok          bool
	}{
		{"10.244.1.0", "10.244.255.0", 24, 0, "10.244.1.0/24", true},
		{"10.244.1.0", "10.244.255.0", 24, 254, "10.244.255.0/24", true},
		{"10.244.1.0", "10.244.255.0", 24, 255, "10.245.0.0/24", false},
		{"10.0.0.0", "10.255.0.0", 22, 65, "10.1.4.0/22", true},
		{"10.0.0.8", "10.0.0.248", 29, 2, "10.0.0.24/29", true},
		{"fd00:244:0:1::", "fd00:244:0:ffff::", 64, 255, "fd00:244:0:100::/64", true},
		{"255.255.255.0", "255.255.255.0", 24, 1, "0.0.0.0/24", false},
	} {
		got, ok := nth(netip.MustParseAddr(c.first), netip.MustParseAddr(c.last), c.length, c.n)
		if got.String() != c.want || ok != c.ok {
			t.Errorf("nth(%s, %s, %d, %d) = %s, %v, want %s, %v", c.first, c.last, c.length, c.n, got, ok, c.want, c.ok)
		}
	}
}

// Two nodes that start at once both write the names.
func TestHostsFileIsWrittenByOneAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "hosts")
	must(t, os.WriteFile(path, nil, 0o644))
	own := "127.0.0.1 localhost\n"
	h := &hostsFile{path: path, base: append(make([]byte, 0, 1<<10), own...)}
	l := &Lab{Nodes: []*Node{{Name: "n1", Underlay: netip.MustParseAddr("10.99.0.1")}}}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := h.update(l); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	got, err := os.ReadFile(path)
	must(t, err)
	if want := own + "10.99.0.1 n1.host\n"; string(got) != want {
		t.Errorf("file holds %q, want %q", got, want)
	}
}

func TestSeed(t *testing.T) {
	cfg, err := lease.ParseConfig([]byte(`{"Network":"10.244.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:244::/48"}`))
	must(t, err)
	e, ok := seed(cfg, 3)
	if !ok || e.Subnet.String() != "10.244.3.0/24" || e.IPv6Subnet.String() != "fd00:244:0:3::/64" {
		t.Errorf("seed 3: %+v, %v", e, ok)
	}
	if gateway(e.Subnet).String() != "10.244.3.1/24" || pod(e.Subnet).String() != "10.244.3.2/24" || pod(netip.Prefix{}).IsValid() {
		t.Errorf("gateway %s, pod %s", gateway(e.Subnet), pod(e.Subnet))
	}
	small, err := lease.ParseConfig([]byte(`{"Network":"10.244.0.0/22"}`))
	must(t, err)
	if e, ok := seed(small, 9); ok {
		t.Errorf("a ninth /24 in a /22: %+v", e)
	}
}

func TestNamespaceAdvice(t *testing.T) {
	file := func(path, value string) fs.FS { return fstest.MapFS{path: {Data: []byte(value + "\n")}} }
	for want, sys := range map[string]fs.FS{
		"user.max_user_namespaces is 0":                     file("user/max_user_namespaces", "0"),
		"kernel.apparmor_restrict_unprivileged_userns is 1": file("kernel/apparmor_restrict_unprivileged_userns", "1"),
		"kernel.unprivileged_userns_clone is 0":             file("kernel/unprivileged_userns_clone", "0"),
		"seccomp":                                           file("user/max_user_namespaces", "9000"),
	} {
		got := namespaceAdvice(sys)
		if !strings.Contains(got, want) || !strings.Contains(got, "cure:") {
			t.Errorf("advice %q lacks %q", got, want)
		}
	}
}

func TestTunAdvice(t *testing.T) {
	dir := t.TempDir()
	if got := tunAdvice(filepath.Join(dir, "tun")); !strings.Contains(got, "modprobe tun") {
		t.Errorf("advice for a missing device: %q", got)
	}
	file := filepath.Join(dir, "ok")
	must(t, os.WriteFile(file, nil, 0o600))
	if got := tunAdvice(file); got != "" {
		t.Errorf("advice where all is well: %q", got)
	}
}

func TestSocketDrops(t *testing.T) {
	const table = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  386: 0100630A:205D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12345 2 0000000000000000 7
  387: 0100630A:205D 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12346 2 0000000000000000 5
  399: 00000000:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 12347 2 0000000000000000 100
`
	got, err := socketDrops([]byte(table), 8285)
	if err != nil || got != 12 {
		t.Errorf("drops %d, %v, want 12", got, err)
	}
	if got, err := socketDrops([]byte(table), 8285, 53); err != nil || got != 112 {
		t.Errorf("drops of two ports %d, %v, want 112", got, err)
	}
	if _, err := socketDrops([]byte("heading\nbad line here\n"), 8285); err == nil {
		t.Error("a damaged table was accepted")
	}
}

func TestDevicesAndPorts(t *testing.T) {
	const both, six = `"EnableIPv6":true,"IPv6Network":"fd00:244::/48"`, `"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:244::/48"`
	for _, c := range []struct {
		families, backend string
		devices           string
		ports             string
	}{
		{both, `"udp"`, "[flannel0]", "[8285]"},
		{both, `"vxlan","Port":4789`, "[flannel0]", "[4789]"},
		{`"EnableIPv4":true`, `"wireguard"`, "[flannel-wg]", "[51820]"},
		{both, `"wireguard","ListenPort":7`, "[flannel-wg flannel-wg-v6]", "[7 51821]"},
		{six, `"wireguard"`, "[flannel-wg-v6]", "[51821]"},
		{both, `"wireguard","Mode":"auto"`, "[flannel-wg]", "[51820]"},
		{six, `"wireguard","Mode":"ipv6"`, "[flannel-wg]", "[51820]"},
		{both, `"ipip"`, "[flannel0]", "[]"},
	} {
		cfg, err := lease.ParseConfig([]byte(`{"Network":"10.244.0.0/16",` + c.families + `,"Backend":{"Type":` + c.backend + `}}`))
		must(t, err)
		l := &Lab{cfg: cfg}
		if d, p := fmt.Sprint(l.devices()), fmt.Sprint(l.ports()); d != c.devices || p != c.ports {
			t.Errorf("%s, %s: devices %s, ports %s; want %s, %s", c.families, c.backend, d, p, c.devices, c.ports)
		}
	}
}

// Nodes on one machine must not share a key or a socket.
func TestNodeEnvironment(t *testing.T) {
	t.Setenv("FLANNELD_WIREGUARD_KEY_FILE", "/ours")
	l := &Lab{}
	for _, name := range []string{"n1", "n2"} {
		env := l.nodeEnv(&Node{Name: name, dir: "/x/" + name, lab: l})
		for _, want := range []string{"WEFT_NODE=" + name, "WIREGUARD_KEY_FILE=/x/" + name + "/wgkey", "FLANNELD_WIREGUARD_SOCKET_DIR=/x/" + name} {
			if !slices.Contains(env, want) {
				t.Errorf("%s: environment lacks %s", name, want)
			}
		}
		if slices.Contains(env, "FLANNELD_WIREGUARD_KEY_FILE=/ours") {
			t.Errorf("%s: has the caller's key file", name)
		}
	}
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{999: "999 B", 1000: "1 kB", 1e9: "1 GB", 1536e6: "1.536 GB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) = %q, want %q", n, got, want)
		}
	}
}
