package plane

import (
	"context"
	"crypto/ecdh"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"

	"weft/perf/lab"
)

// stockWireGuard is what flanneld's wireguard backend sets up (flannel
// pkg/backend/wireguard), with the userspace wireguard-go in place of the
// kernel's: a device, for the other host a peer that may use its subnet, and
// one route of the pods' whole network.
//
//	cni0 ─ flannel-wg ─ wireguard-go ─ socket, port 51820 ═══ the same
//	           ▲              ▲
//	    address, MTU,    keys, peer: configuration socket
//	      route
//
// wireguard-go makes its configuration socket in /run, and each host's
// processes have a /run of their own (see [lab.Space.Command]). So both may
// call their device the same; from here a socket is reached through
// /proc/PID/root.
type stockWireGuard struct {
	options Options
	peers   []*wireGuardHost
}

const (
	wireGuardDevice   = "flannel-wg"
	wireGuardPort     = 51820
	wireGuardOverhead = 80 // flannel's: outer IPv6, UDP, WireGuard's header and tag, bytes
)

// A wireGuardHost is wireguard-go in one host.
type wireGuardHost struct {
	*process
	host *lab.Host
	key  *ecdh.PrivateKey
}

// socket is the path of the configuration socket.
func (w *wireGuardHost) socket() string {
	return fmt.Sprintf("/proc/%d/root/run/wireguard/%s.sock", w.PID(), wireGuardDevice)
}

func (s *stockWireGuard) Setup(ctx context.Context, l *lab.Lab) error {
	for _, h := range l.Hosts {
		w, err := startWireGuard(ctx, h, s.options)
		if w != nil {
			s.peers = append(s.peers, w)
		}
		if err != nil {
			return err
		}
	}
	for i, w := range s.peers {
		if err := w.configure(s.peers[1-i]); err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
	}
	return awaitSession(ctx, s.peers[0].process, s.peers[0].socket(), l)
}

// startWireGuard starts wireguard-go in a host and waits for its socket. What
// it returns is to be stopped, also with an error.
func startWireGuard(ctx context.Context, h *lab.Host, o Options) (*wireGuardHost, error) {
	key, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	p, err := start(h, o, []string{"LOG_LEVEL=error"}, "-f", wireGuardDevice)
	if err != nil {
		return nil, err
	}
	w := &wireGuardHost{process: p, host: h, key: key}
	return w, w.await(ctx, w.socket(), func() (bool, error) {
		// The device comes before the socket, and after the /run of the
		// process's own: with the device there, the path leads to no
		// socket but this one's.
		if _, err := h.Netlink().LinkByName(wireGuardDevice); err != nil {
			return false, nil
		}
		_, err := uapi(w.socket(), "get=1\n")
		if unheard(err) {
			return false, nil
		}
		return err == nil, err
	})
}

// configure makes the device as flannel does, with other as the only peer.
func (w *wireGuardHost) configure(other *wireGuardHost) error {
	if _, err := uapi(w.socket(), w.peer(other)); err != nil {
		return err
	}
	link, err := w.host.Netlink().LinkByName(wireGuardDevice)
	if err != nil {
		return fmt.Errorf("device %s: %w", wireGuardDevice, err)
	}
	addr := &netlink.Addr{IPNet: ipNet(netip.PrefixFrom(w.host.Subnet.Masked().Addr(), 32))}
	route := &netlink.Route{
		LinkIndex: link.Attrs().Index, Dst: ipNet(netip.MustParsePrefix(network)), Scope: netlink.SCOPE_LINK,
	}
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"MTU", func() error { return w.host.Netlink().LinkSetMTU(link, lab.UnderlayMTU-wireGuardOverhead) }},
		{"address " + addr.String(), func() error { return w.host.Netlink().AddrAdd(link, addr) }},
		{"up", func() error { return w.host.Netlink().LinkSetUp(link) }},
		{"route " + network, func() error { return w.host.Netlink().RouteAdd(route) }},
	} {
		if err := step.do(); err != nil {
			return fmt.Errorf("device %s, %s: %w", wireGuardDevice, step.what, err)
		}
	}
	return nil
}

// peer is the configuration that makes other the only peer.
func (w *wireGuardHost) peer(other *wireGuardHost) string {
	return fmt.Sprintf("set=1\nprivate_key=%s\nlisten_port=%d\n"+
		"public_key=%s\nendpoint=%v:%d\npersistent_keepalive_interval=0\nreplace_allowed_ips=true\nallowed_ip=%v\n",
		hex.EncodeToString(w.key.Bytes()), wireGuardPort,
		hex.EncodeToString(other.key.PublicKey().Bytes()), other.host.Addr, wireGuardPort, other.host.Subnet.Masked())
}

// awaitSession waits until host 0, whose WireGuard program is p with the given
// configuration socket, has a session with the other host. A handshake is
// made only when there is something to send, and one that was lost is tried
// again after five seconds, in which a load would have moved nothing.
func awaitSession(ctx context.Context, p *process, socket string, l *lab.Lab) error {
	const discard = 9
	target := netip.AddrPortFrom(l.Hosts[1].Subnet.Masked().Addr(), discard)
	var c net.Conn
	err := l.Hosts[0].Do(func() (err error) {
		c, err = net.Dial("udp4", target.String())
		return err
	})
	if err != nil {
		return fmt.Errorf("reaching %v: %w", target, err)
	}
	defer c.Close()
	return p.await(ctx, "handshake with "+l.Hosts[1].Name(), func() (bool, error) {
		// What is refused, or not yet possible, is tried again.
		_, _ = c.Write([]byte{0})
		answer, err := uapi(socket, "get=1\n")
		if unheard(err) {
			return false, nil
		}
		return shaken(answer), err
	})
}

func (*stockWireGuard) MTU() int          { return lab.UnderlayMTU - wireGuardOverhead }
func (*stockWireGuard) Device(int) string { return wireGuardDevice }

func (s *stockWireGuard) Processes() []int {
	var pids []int
	for _, w := range s.peers {
		pids = append(pids, w.PID())
	}
	return pids
}

func (s *stockWireGuard) Teardown() error {
	var errs []error
	for _, w := range s.peers {
		errs = append(errs, w.Stop())
	}
	s.peers = nil
	return errors.Join(errs...)
}
