package space

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func newSpace(t *testing.T, name string) *Space {
	t.Helper()
	s, err := New(name)
	if errors.Is(err, unix.EPERM) {
		t.Skip("needs root:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var mac = net.HardwareAddr{2, 0, 0, 0, 0, 1}

func TestSpaceIsSeparate(t *testing.T) {
	s := newSpace(t, "a")
	var inside string
	must(t, s.Do(func() (err error) {
		inside, err = os.Readlink("/proc/thread-self/ns/net")
		return err
	}))
	outside, err := os.Readlink("/proc/self/ns/net")
	must(t, err)
	if inside == outside {
		t.Fatalf("the thread is still in %s", outside)
	}
	links, err := s.Netlink().LinkList()
	must(t, err)
	if len(links) != 1 || links[0].Attrs().Name != "lo" || links[0].Attrs().Flags&net.FlagUp == 0 {
		t.Errorf("links of a new namespace: %v, want lo alone and up", links)
	}
}

func TestCloseKillsChildren(t *testing.T) {
	s := newSpace(t, "a")
	cmd := exec.Command("sleep", "1000")
	must(t, s.Start(cmd))
	s.Close()
	err := cmd.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ProcessState.String() != "signal: killed" {
		t.Errorf("child ended with %v, want killed", err)
	}
	if err := s.Do(func() error { return nil }); !errors.Is(err, ErrClosed) {
		t.Errorf("Do after Close: %v, want ErrClosed", err)
	}
	s.Close()
}

func TestTwoSpacesTalk(t *testing.T) {
	sw, a := newSpace(t, "switch"), newSpace(t, "a")
	must(t, sw.Bridge("br0", mac))
	must(t, sw.Pair("a", "br0", a, "eth0"))
	must(t, sw.Addresses("br0", netip.MustParsePrefix("10.99.0.254/24")))
	must(t, a.Addresses("eth0", netip.MustParsePrefix("10.99.0.1/24")))

	var l net.Listener
	must(t, sw.Do(func() (err error) { l, err = net.Listen("tcp", "10.99.0.254:0"); return }))
	defer l.Close()
	var c net.Conn
	must(t, a.Do(func() (err error) { c, err = net.Dial("tcp", l.Addr().String()); return }))
	c.Close()
}

func TestAddressesAreExact(t *testing.T) {
	sw, a := newSpace(t, "switch"), newSpace(t, "a")
	must(t, a.Router(true))
	must(t, sw.Bridge("br0", mac))
	must(t, sw.Pair("a", "br0", a, "eth0"))
	for _, want := range [][]string{
		{"10.99.0.1/24", "fd99::1/64"},
		{"10.99.0.2/24", "fd99::1/64"},
		{"10.99.0.2/24"},
		{},
	} {
		var ps []netip.Prefix
		for _, w := range want {
			ps = append(ps, netip.MustParsePrefix(w))
		}
		must(t, a.Addresses("eth0", ps...))
		if got := addresses(t, a, "eth0"); !slices.Equal(got, want) {
			t.Errorf("addresses %v, want %v", got, want)
		}
	}
}

func addresses(t *testing.T, s *Space, link string) []string {
	l, err := s.Netlink().LinkByName(link)
	must(t, err)
	have, err := s.Netlink().AddrList(l, 0)
	must(t, err)
	list := []string{}
	for _, a := range have {
		if p := prefixOf(a.IPNet); !p.Addr().IsLinkLocalUnicast() {
			list = append(list, p.String())
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				t.Errorf("%s is tentative", p)
			}
		}
	}
	slices.Sort(list)
	return list
}

func TestErrorsNameTheThing(t *testing.T) {
	s := newSpace(t, "a")
	for what, err := range map[string]error{
		"nolink":            s.Up("nolink"),
		"net.ipv4.nonesuch": s.Sysctl("net.ipv4.nonesuch", "1"),
		"nolink2":           s.SetFeatures("nolink2", false, Wire...),
	} {
		if err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("error %v does not name %s", err, what)
		}
	}
}

func TestFeatures(t *testing.T) {
	sw, a := newSpace(t, "switch"), newSpace(t, "a")
	must(t, sw.Bridge("br0", mac))
	must(t, sw.Pair("a", "br0", a, "eth0"))
	for _, on := range []bool{false, true} {
		must(t, a.SetFeatures("eth0", on, Wire...))
		if got := tso(t, a, "eth0"); got != on {
			t.Errorf("TSO is %v after setting %v", got, on)
		}
		active, err := a.Features("eth0")
		must(t, err)
		for _, name := range Wire {
			if slices.Contains(active, name) != on {
				t.Errorf("%s is not listed as %v: %v", name, on, active)
			}
		}
	}
	// A veth does not have rx-all, and has no TSO without scatter-gather: the
	// kernel takes both requests and leaves the features as they are.
	must(t, a.SetFeatures("eth0", true, "rx-all"))
	must(t, a.SetFeatures("eth0", false, "tx-scatter-gather"))
	for name, why := range map[string]string{"no-such-feature": "not known", "tx-tcp-segmentation": "stays false"} {
		err := a.SetFeatures("eth0", true, "rx-gro", name)
		if err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), why) {
			t.Errorf("error %v, want one that says that %s is %s", err, name, why)
		}
	}
	if _, err := a.Features("nolink3"); err == nil || !strings.Contains(err.Error(), "nolink3") {
		t.Errorf("error %v does not name nolink3", err)
	}
}

// tso asks by another way than SetFeatures uses: ETHTOOL_GTSO.
func tso(t *testing.T, s *Space, link string) bool {
	req := binary.NativeEndian.AppendUint32(nil, 0x1e)
	req = append(req, 0, 0, 0, 0)
	must(t, s.Do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		return (&ethtool{fd, link}).call(req)
	}))
	return binary.NativeEndian.Uint32(req[4:]) == 1
}

func TestFeatureRequest(t *testing.T) {
	known := make([]string, 34)
	known[1], known[33] = "one", "two"
	got, err := featureRequest(known, true, []string{"two", "one"})
	must(t, err)
	var want []byte
	for _, w := range []uint32{unix.ETHTOOL_SFEATURES, 2, 2, 2, 2, 2} {
		want = binary.NativeEndian.AppendUint32(want, w)
	}
	if !slices.Equal(got, want) {
		t.Errorf("request % x, want % x", got, want)
	}
}
