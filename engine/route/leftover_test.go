package route

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

// holdTUN makes a TUN device that lasts, and holds it until the file is closed.
func holdTUN(t *testing.T, name string) *os.File {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, os.ErrPermission) {
		t.Skipf("no TUN devices here: %v", err)
	}
	must(t, err)
	t.Cleanup(func() { f.Close() }) // a second time does no harm
	req, err := unix.NewIfreq(name)
	must(t, err)
	req.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI)
	must(t, unix.IoctlIfreq(int(f.Fd()), unix.TUNSETIFF, req))
	must(t, unix.IoctlSetInt(int(f.Fd()), unix.TUNSETPERSIST, 1))
	l, err := netlink.LinkByName(name)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
	return f
}

// there tells whether a link exists.
func there(t *testing.T, name string) bool {
	t.Helper()
	_, err := netlink.LinkByName(name)
	if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
		t.Fatal(err)
	}
	return err == nil
}

func wantRemoved(t *testing.T, removed []string, err error, want []string, errs ...string) {
	t.Helper()
	if !slices.Equal(removed, want) {
		t.Errorf("removed %q, want %q", removed, want)
	}
	for _, name := range want {
		if there(t, name) {
			t.Errorf("%s is still there", name)
		}
	}
	text := fmt.Sprint(err)
	for _, e := range errs {
		if !strings.Contains(text, e) {
			t.Errorf("error %v lacks %q", err, e)
		}
	}
	if len(errs) == 0 && err != nil {
		t.Errorf("error %v", err)
	}
}

// A TUN device that nobody holds is removed, unless it is ours to take up; one
// that a process holds stays.
func TestRemoveLeftoverTUN(t *testing.T) {
	nstest.Enter(t)
	names := []string{"flannel-wg", "flannel-wg-v6", "flannel0"}
	removed, err := RemoveLeftovers(names, nil)
	wantRemoved(t, removed, err, nil)

	held := holdTUN(t, "flannel-wg")
	must(t, holdTUN(t, "flannel0").Close())
	must(t, holdTUN(t, "flannel-wg-v6").Close())
	removed, err = RemoveLeftovers(names, []string{"flannel-wg-v6"})
	wantRemoved(t, removed, err, []string{"flannel0"}, "link flannel-wg: another process holds it")
	if !there(t, "flannel-wg") || !there(t, "flannel-wg-v6") {
		t.Error("one that is held, or ours, was removed")
	}
	must(t, held.Close())
	removed, err = RemoveLeftovers(names, nil)
	wantRemoved(t, removed, err, []string{"flannel-wg", "flannel-wg-v6"})
}

// Devices of other kinds are somebody's, and stay; nothing is removed that was
// not named.
func TestRemoveLeftoverOthers(t *testing.T) {
	nstest.Enter(t)
	device(t, "flannel-wg", "10.5.1.0/32")
	device(t, "flannel-wg-v6")
	must(t, holdTUN(t, "tun7").Close())
	removed, err := RemoveLeftovers([]string{"flannel-wg", "flannel-wg-v6"}, []string{"flannel-wg-v6"})
	wantRemoved(t, removed, err, nil, "link flannel-wg: it is of type bridge; left as it is", "link flannel-wg-v6: it is of type bridge")
	for _, name := range []string{"flannel-wg", "flannel-wg-v6", "tun7"} {
		if !there(t, name) {
			t.Errorf("%s is gone", name)
		}
	}
}

// A kernel WireGuard device, as stock flanneld leaves it, is removed with its
// routes, kept or not: it cannot be taken up.
func TestRemoveLeftoverWireGuard(t *testing.T) {
	nstest.Enter(t)
	if err := netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: netlink.LinkAttrs{Name: "flannel-wg"}}); err != nil {
		t.Skipf("this kernel makes no WireGuard device: %v", err)
	}
	removed, err := RemoveLeftovers([]string{"flannel-wg"}, []string{"flannel-wg"})
	wantRemoved(t, removed, err, []string{"flannel-wg"})
}

// A device is known by its name, not by another one that it goes by.
func TestRemoveLeftoverAltName(t *testing.T) {
	nstest.Enter(t)
	must(t, holdTUN(t, "tun7").Close())
	l, err := netlink.LinkByName("tun7")
	must(t, err)
	if err := netlink.LinkAddAltName(l, "flannel-wg"); err != nil {
		t.Skipf("no alternative names here: %v", err)
	}
	removed, err := RemoveLeftovers([]string{"flannel-wg"}, nil)
	wantRemoved(t, removed, err, nil)
	if !there(t, "tun7") {
		t.Error("it is gone")
	}
}
