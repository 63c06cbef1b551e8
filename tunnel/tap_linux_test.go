package tunnel

import (
	"errors"
	"os"
	"slices"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Wires that are not a veth, named among what is off: a pair of taps between
// which frames are carried with their virtio headers, as between two virtual
// machines with virtio cards. The second kind also agrees to superpackets in
// UDP tunnels, which Linux has since 6.17.
const (
	tapWire       = "tap"
	tapTunnelWire = "tap that takes tunnels"
)

// Offloads for TUNSETOFFLOAD, and a virtio header with room for a tunnel
// (include/uapi/linux/if_tun.h, virtio_net.h).
const (
	tunFTunnel     = 0x80
	tunFTunnelCsum = 0x100
	vnetTunnelLen  = 24
)

// tapPair makes the wire of two taps.
func (k *kernelPeer) tapPair(t testing.TB, tunnels bool) {
	t.Helper()
	ours, err := openTap(true)
	k.computes = errors.Is(err, unix.EINVAL)
	if k.computes && tunnels {
		t.Skip("taps of this kernel take no superpackets in tunnels; Linux 6.17 does")
	}
	if !tunnels {
		if err == nil {
			must(t, ours.Close())
		}
		ours, err = openTap(false)
	}
	must(t, err)
	var theirs *os.File
	k.do(func() (err error) { theirs, err = openTap(tunnels); return err })
	done := make(chan struct{}, 2)
	for _, pair := range [][2]*os.File{{ours, theirs}, {theirs, ours}} {
		go func() { ferry(t, pair[0], pair[1]); done <- struct{}{} }()
	}
	t.Cleanup(func() { ours.Close(); theirs.Close(); <-done; <-done })
}

// sums is what the checksum fields of packets in tunnels hold that the peer's
// end of the wire was to leave alone. Taps that know of tunnels do; those of
// older kernels compute them (dev->hw_enc_features, drivers/net/tun.c).
func (k *kernelPeer) sums(left sumState) sumState {
	if k.computes {
		return complete
	}
	return left
}

// ferry copies frames until either end is closed.
func ferry(t testing.TB, from, to *os.File) {
	buf := make([]byte, 1<<17)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); errors.Is(err, unix.EINVAL) {
			t.Errorf("the far tap refuses what the near one gave: % x", buf[:min(n, 80)])
		}
	}
}

// openTap makes a tap that offers what it can: superpackets of UDP datagrams
// Linux takes since 6.2.
func openTap(tunnels bool) (*os.File, error) {
	fd, err := openTunFD()
	if err != nil {
		return nil, err
	}
	ifr, err := unix.NewIfreq("wire0")
	if err != nil {
		return nil, err
	}
	ifr.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
	const tcp, udp = unix.TUN_F_CSUM | unix.TUN_F_TSO4 | unix.TUN_F_TSO6 | unix.TUN_F_TSO_ECN, tunFUSO4 | tunFUSO6
	size, bits := vnetLen, tcp|udp
	if tunnels {
		size, bits = vnetTunnelLen, bits|tunFTunnel|tunFTunnelCsum
	}
	err = errors.Join(unix.IoctlIfreq(fd, unix.TUNSETIFF, ifr), unix.IoctlSetPointerInt(fd, unix.TUNSETVNETHDRSZ, size))
	if err == nil {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, bits)
	}
	if err == unix.EINVAL && !tunnels {
		err = unix.IoctlSetInt(fd, unix.TUNSETOFFLOAD, tcp)
	}
	if err == nil {
		var l netlink.Link
		if l, err = netlink.LinkByName("wire0"); err == nil {
			err = netlink.LinkSetMTU(l, 1500)
		}
	}
	if err != nil {
		unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "tap"), nil
}

// wire makes what is between us and the peer, and returns the features to be
// switched off on it.
func (k *kernelPeer) wire(t testing.TB, off []string) []string {
	t.Helper()
	for i, name := range []string{tapWire, tapTunnelWire} {
		if slices.Contains(off, name) {
			k.tapPair(t, i == 1)
			return slices.DeleteFunc(slices.Clone(off), func(s string) bool { return s == name })
		}
	}
	must(t, netlink.LinkAdd(&netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "wire0", MTU: 1500}, PeerName: "wire0",
		PeerNamespace: netlink.NsFd(int(k.fd))}))
	return off
}
