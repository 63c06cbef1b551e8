package e2e

import (
	"crypto/ecdh"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/lease"
)

// A wgDevice is a WireGuard device that is not weft's.
type wgDevice struct {
	name  string
	inner [2]bool // the families it carries
	outer int     // the family in which its peers are reached: 0 IPv4, 1 IPv6
	link  netlink.Link
	cmd   *exec.Cmd // wireguard-go; nil: the kernel's
}

// uapiDir is where wireguard-go has its sockets and wg(8) looks for them.
const uapiDir = "/var/run/wireguard"

// open makes the devices that the mode asks for. Those of an earlier run go.
func (n *wgNode) open(on [2]bool) error {
	want := []*wgDevice{{name: "flannel-wg", inner: on}}
	if n.conf.Mode == lease.WireGuardIPv6 || n.conf.Mode == lease.WireGuardAuto && !on[0] {
		want[0].outer = 1
	}
	ports := []int{n.conf.ListenPort, n.conf.ListenPortV6}
	if n.conf.Mode == lease.WireGuardSeparate {
		want = []*wgDevice{{name: "flannel-wg", inner: [2]bool{true, false}}, {name: "flannel-wg-v6", inner: [2]bool{false, true}, outer: 1}}
	}
	for i, d := range want {
		if !on[0] && d.inner[0] && !d.inner[1] || !on[1] && !d.inner[0] {
			continue
		}
		if old, err := netlink.LinkByName(d.name); err == nil {
			if err := netlink.LinkDel(old); err != nil {
				return err
			}
		}
		n.devices = append(n.devices, d)
		if err := d.make(n.program); err != nil {
			return fmt.Errorf("%s: %w", d.name, err)
		}
		if err := wgTool("set", d.name, "private-key", n.keyFile, "listen-port", strconv.Itoa(ports[i])); err != nil {
			return err
		}
	}
	return nil
}

// make makes the device: by the kernel, or by wireguard-go.
func (d *wgDevice) make(program string) (err error) {
	if program == "" {
		attrs := netlink.NewLinkAttrs()
		attrs.Name = d.name
		err = netlink.LinkAdd(&netlink.Wireguard{LinkAttrs: attrs})
	} else {
		err = d.run(program)
	}
	if err != nil {
		return err
	}
	d.link, err = netlink.LinkByName(d.name)
	return err
}

// run starts wireguard-go with a socket that listens already, so that nobody
// need wait for it.
func (d *wgDevice) run(program string) error {
	path := filepath.Join(uapiDir, d.name+".sock")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path})
	if err != nil {
		return err
	}
	l.SetUnlinkOnClose(false)
	defer l.Close()
	f, err := l.File()
	if err != nil {
		return err
	}
	defer f.Close()
	tun, err := d.openTUN()
	if err != nil {
		return err
	}
	defer tun.Close()
	d.cmd = exec.Command(program, "-f", d.name)
	d.cmd.Env = append(os.Environ(), "WG_UAPI_FD=3", "WG_TUN_FD=4", "LOG_LEVEL=error")
	d.cmd.ExtraFiles = []*os.File{f, tun}
	d.cmd.Stderr = os.Stderr
	return d.cmd.Start()
}

// openTUN makes the device that wireguard-go would make, and in its way.
func (d *wgDevice) openTUN() (*os.File, error) {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	r, err := unix.NewIfreq(d.name)
	if err == nil {
		r.SetUint16(unix.IFF_TUN | unix.IFF_NO_PI | unix.IFF_VNET_HDR)
		err = unix.IoctlIfreq(fd, unix.TUNSETIFF, r)
	}
	if err != nil {
		return nil, errors.Join(err, unix.Close(fd))
	}
	return os.NewFile(uintptr(fd), "tun"), nil
}

// up gives the device the address and the route of each family that it carries.
func (d *wgDevice) up(mtu int, own, networks [2]netip.Prefix) error {
	if err := errors.Join(netlink.LinkSetMTU(d.link, mtu), netlink.LinkSetUp(d.link)); err != nil {
		return err
	}
	for i, on := range d.inner {
		if !on || !own[i].IsValid() {
			continue
		}
		a := own[i].Masked().Addr()
		err := netlink.AddrAdd(d.link, &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(a, a.BitLen()))})
		if err == nil {
			err = netlink.RouteReplace(&netlink.Route{LinkIndex: d.link.Attrs().Index, Dst: ipNet(networks[i].Masked()), Scope: netlink.SCOPE_LINK})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *wgDevice) close() {
	if d.cmd != nil && d.cmd.Process != nil {
		_ = d.cmd.Process.Signal(unix.SIGTERM) // it may have ended by itself
		_ = d.cmd.Wait()
	} else if d.link != nil {
		_ = netlink.LinkDel(d.link) // the node's end; nobody is left to tell
	}
}

// peer makes the lease l a peer of a device.
func (n *wgNode) peer(d *wgDevice, l lease.Lease) error {
	data, err := l.Attrs.WireGuard([...]uint8{4, 6}[d.outer])
	if err != nil && n.conf.Mode != lease.WireGuardSeparate {
		data, err = l.Attrs.WireGuard([...]uint8{6, 4}[d.outer])
	}
	if err != nil {
		return err
	}
	var allowed []string
	for i, subnet := range subnets(l) {
		if d.inner[i] && subnet.IsValid() {
			allowed = append(allowed, subnet.String())
		}
	}
	outer := [2]netip.Addr{l.Attrs.PublicIP, l.Attrs.PublicIPv6}[d.outer]
	args := []string{"set", d.name, "peer", data.PublicKey.String(), "endpoint", netip.AddrPortFrom(outer, data.Port).String(),
		"allowed-ips", strings.Join(allowed, ","), "persistent-keepalive", strconv.Itoa(n.conf.PersistentKeepaliveInterval)}
	if n.pskFile != "" {
		args = append(args, "preshared-key", n.pskFile)
	}
	return wgTool(args...)
}

func wgTool(args ...string) error {
	if out, err := exec.Command("wg", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("wg %s: %w: %s", strings.Join(args, " "), err, out)
	}
	return nil
}

func writeKey(file string, raw []byte) error {
	return os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(raw)), 0o600)
}

func publicInFile(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	raw, err := base64.StdEncoding.DecodeString(strings.TrimSpace(string(b)))
	if err != nil {
		return "", err
	}
	k, err := ecdh.X25519().NewPrivateKey(raw)
	if err != nil {
		return "", err
	}
	return base64.StdEncoding.EncodeToString(k.PublicKey().Bytes()), nil
}
