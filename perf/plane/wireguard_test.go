package plane

import (
	"context"
	"crypto/ecdh"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"weft/perf/lab"
)

// TestMain lets the test program enter namespaces as perf does.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == lab.EnterCommand {
		fmt.Fprintln(os.Stderr, lab.Enter(os.Args[2:]))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// wireGuardGo builds stock wireguard-go from the module in go.mod.
func wireGuardGo(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), WireGuardGo)
	text, err := exec.Command("go", "build", "-o", path, "golang.zx2c4.com/wireguard").CombinedOutput()
	if err != nil {
		t.Fatalf("building wireguard-go: %v\n%s", err, text)
	}
	return path
}

// TestStockWireGuardConnects sets the plane up as a run does, and checks that
// pods reach each other encrypted, and that two hosts may have devices of one
// name.
func TestStockWireGuardConnects(t *testing.T) {
	l := newLab(t)
	p := &stockWireGuard{options: Options{Program: wireGuardGo(t)}}
	stopped := false
	stop := func() {
		if err := p.Teardown(); err != nil && !stopped {
			t.Error(err)
		}
		stopped = true
	}
	defer stop()
	if err := p.Setup(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if err := l.AttachPods(p.MTU()); err != nil {
		t.Fatal(err)
	}
	for i, h := range l.Hosts {
		if err := exchange(l, i, 1-i); err != nil {
			t.Errorf("from host %d: %v", i, err)
		}
		link, err := h.Netlink().LinkByName(p.Device(i))
		if err != nil || link.Attrs().MTU != 1420 {
			t.Errorf("device %+v, %v, want an MTU of 1420", link, err)
		}
		answer, err := uapi(p.peers[i].socket(), "get=1\n")
		for _, want := range []string{
			"listen_port=51820\n", fmt.Sprintf("allowed_ip=%v\n", l.Hosts[1-i].Subnet),
			fmt.Sprintf("endpoint=%v:51820\n", l.Hosts[1-i].Addr),
		} {
			if err != nil || strings.Count(answer, want) != 1 {
				t.Errorf("host %d, %v: no %q", i, err, want)
			}
		}
	}
	if pids := p.Processes(); len(pids) != 2 || pids[0] == pids[1] {
		t.Errorf("processes %v, want one per host", pids)
	}
	stop()
	if left := p.Processes(); len(left) != 0 {
		t.Errorf("processes %v after the end", left)
	}
}

// TestWireGuardProgramFails checks that the end of a program is told with what
// it wrote, and does not keep a run waiting.
func TestWireGuardProgramFails(t *testing.T) {
	l := newLab(t)
	program := filepath.Join(t.TempDir(), "fails")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho \"no $2 here\" >&2\nexit 3\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	p := &stockWireGuard{options: Options{Program: program}}
	err := p.Setup(t.Context(), l)
	for _, want := range []string{l.Hosts[0].Name(), "no flannel-wg here", "exit status 3"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v, want one with %q", err, want)
		}
	}
	if err := p.Teardown(); err != nil {
		t.Errorf("%v: what failed was told before", err)
	}
}

// TestSessionIsAwaited checks that a plane without a handshake is not taken
// for one that is ready.
func TestSessionIsAwaited(t *testing.T) {
	l := newLab(t)
	// Nothing listens at the other host.
	if err := new(routes).Setup(t.Context(), l); err != nil {
		t.Fatal(err)
	}
	w, err := startWireGuard(t.Context(), l.Hosts[0], Options{Program: wireGuardGo(t)})
	if w != nil {
		defer func() {
			if err := w.Stop(); err != nil {
				t.Error(err)
			}
		}()
	}
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*readyPoll)
	defer cancel()
	if err := awaitSession(ctx, w.process, w.socket(), l); err == nil || !strings.Contains(err.Error(), "no handshake with") {
		t.Errorf("error %v, want one about the handshake", err)
	}
}

func TestPeerConfiguration(t *testing.T) {
	side := func(key byte, addr, subnet string) *wireGuardHost {
		k, err := ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{key}, 32))
		if err != nil {
			t.Fatal(err)
		}
		return &wireGuardHost{key: k, host: &lab.Host{Addr: netip.MustParseAddr(addr), Subnet: netip.MustParsePrefix(subnet)}}
	}
	a, b := side(1, "192.168.50.1", "10.5.1.0/24"), side(2, "192.168.50.2", "10.5.2.0/24")
	got := a.peer(b)
	want := "set=1\nprivate_key=" + strings.Repeat("01", 32) + "\nlisten_port=51820\n" +
		fmt.Sprintf("public_key=%x\n", b.key.PublicKey().Bytes()) + "endpoint=192.168.50.2:51820\n" +
		"persistent_keepalive_interval=0\nreplace_allowed_ips=true\nallowed_ip=10.5.2.0/24\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestWeftWireGuardEnvironment checks that what belongs to one node is not
// shared by the hosts.
func TestWeftWireGuardEnvironment(t *testing.T) {
	a, b := wireGuardEnv(&lab.Host{Dir: "/lab/a"}), wireGuardEnv(&lab.Host{Dir: "/lab/b"})
	want := []string{"WIREGUARD_KEY_FILE=/lab/a/wireguard.key", "FLANNELD_WIREGUARD_SOCKET_DIR=/lab/a/wireguard"}
	if !slices.Equal(a, want) {
		t.Errorf("environment %q, want %q", a, want)
	}
	for i := range a {
		if a[i] == b[i] {
			t.Errorf("both hosts have %s", a[i])
		}
	}
}
