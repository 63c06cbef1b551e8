package lab

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink"
)

// tunName is the device of every weft node.
const tunName = "flannel0"

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
	stats, err := n.Host.Statistics(tunName)
	var missing netlink.LinkNotFoundError
	if err != nil && !errors.As(err, &missing) {
		return d, err
	}
	d.TUN = stats.TxDropped
	for _, file := range []string{"udp", "udp6"} {
		b, err := n.Host.ReadFile("/proc/thread-self/net/" + file)
		if errors.Is(err, fs.ErrNotExist) {
			continue // no IPv6 in this kernel
		}
		if err != nil {
			return d, err
		}
		k, err := socketDrops(b, n.lab.Port())
		if err != nil {
			return d, fmt.Errorf("%s: /proc/net/%s: %w", n.Name, file, err)
		}
		d.Socket += k
	}
	return d, nil
}

// socketDrops sums the drops of the sockets bound to port in a table like
// /proc/net/udp: local address and port in hexadecimal in the second column,
// drops in the last.
func socketDrops(table []byte, port int) (sum uint64, err error) {
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
		if int(p) != port {
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
