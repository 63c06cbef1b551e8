package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"

	"weft/lease"
)

// devices are the TUN devices of every weft node: one, but with wireguard in its
// separate mode one for each family.
func (l *Lab) devices() []string {
	w, err := l.cfg.WireGuard()
	switch {
	case err != nil:
		return []string{"flannel0"}
	case w.Mode != lease.WireGuardSeparate, !l.cfg.EnableIPv6:
		return []string{"flannel-wg"}
	case !l.cfg.EnableIPv4:
		return []string{"flannel-wg-v6"}
	}
	return []string{"flannel-wg", "flannel-wg-v6"}
}

// ports are the UDP ports of the lab's tunnels: one for each device, none when
// the backend is not known to have one.
func (l *Lab) ports() []int {
	if b, err := l.cfg.UDP(); err == nil {
		return []int{b.Port}
	}
	if b, err := l.cfg.VXLAN(); err == nil {
		return []int{b.Port}
	}
	w, err := l.cfg.WireGuard()
	if err != nil {
		return nil
	}
	var ports []int
	for _, device := range l.devices() {
		port := w.ListenPort
		if device == "flannel-wg-v6" {
			port = w.ListenPortV6
		}
		ports = append(ports, port)
	}
	return ports
}

// Drops is what the kernel dropped around a node's weft, in packets.
type Drops struct {
	TUN    uint64 // sent to the TUN while its queue was full
	Socket uint64 // datagrams that found the tunnel's socket buffer full
}

// Total is the sum.
func (d Drops) Total() uint64 { return d.TUN + d.Socket }

// Drops reads the node's counters. They are those of the present device and
// sockets: a restart of weft begins the sockets' anew.
func (n *Node) Drops() (d Drops, err error) {
	for _, device := range n.lab.devices() {
		stats, err := n.Host.Statistics(device)
		var missing netlink.LinkNotFoundError
		if err != nil && !errors.As(err, &missing) {
			return d, err
		}
		d.TUN += stats.TxDropped
	}
	for _, file := range []string{"udp", "udp6"} {
		b, err := n.Host.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return d, err
		}
		k, err := socketDrops(b, n.lab.ports()...)
		if err != nil {
			return d, fmt.Errorf("%s: /proc/net/%s: %w", n.Name, file, err)
		}
		d.Socket += k
	}
	return d, nil
}

// socketDrops sums the drops of the sockets bound to ports in a table like
// /proc/net/udp: local address and port in hexadecimal in the second column,
// drops in the last.
func socketDrops(table []byte, ports ...int) (sum uint64, err error) {
	sc := bufio.NewScanner(bytes.NewReader(table))
	sc.Scan() // the heading
	for sc.Scan() {
		f := strings.Fields(sc.Text())
		if len(f) < 3 {
			return 0, fmt.Errorf("short line %q", sc.Text())
		}
		_, hexPort, _ := strings.Cut(f[1], ":")
		p, err := strconv.ParseUint(hexPort, 16, 16)
		if err != nil {
			return 0, fmt.Errorf("local address %q: %w", f[1], err)
		}
		if !slices.Contains(ports, int(p)) {
			continue
		}
		n, err := strconv.ParseUint(f[len(f)-1], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("drops %q: %w", f[len(f)-1], err)
		}
		sum += n
	}
	return sum, sc.Err()
}
