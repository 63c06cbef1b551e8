package plane

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"

	"weft/perf/lab"
)

// weft runs `weft up` in both hosts, with leases in a folder that both see.
type weft struct {
	options Options
	backend string                   // Type of the net-conf.json
	tunMode string                   // value of --tun-mode
	env     func(*lab.Host) []string // of weft in a host, K=V; nil for nothing but options.Env
	nodes   []*Node
	mtu     int
}

const (
	network    = "10.5.0.0/16" // the pods' network that weft takes its subnets from
	weftDevice = "flannel0"    // weft's TUN
)

// nodeName is the name by which the weft on host i knows its lease.
func nodeName(i int) string { return fmt.Sprintf("host-%c", 'a'+i) }

func (w *weft) Setup(ctx context.Context, l *lab.Lab) error {
	leases := filepath.Join(l.Dir, "leases")
	if err := WriteConfig(leases, network, w.backend); err != nil {
		return err
	}
	for i, h := range l.Hosts {
		var env []string
		if w.env != nil {
			env = w.env(h)
		}
		n, err := StartNode(h, leases, w.options, env, "--node-name="+nodeName(i), "--tun-mode="+w.tunMode)
		if err != nil {
			return err
		}
		w.nodes = append(w.nodes, n)
	}
	for i, h := range l.Hosts {
		env, err := w.nodes[i].Ready(ctx)
		if err != nil {
			return err
		}
		h.Subnet, w.mtu = env.Subnet, env.MTU
	}
	if a, b := l.Hosts[0].Subnet, l.Hosts[1].Subnet; a.Overlaps(b) {
		return fmt.Errorf("weft gave the hosts the subnets %v and %v, which overlap", a, b)
	}
	return nil
}

func (w *weft) MTU() int          { return w.mtu }
func (w *weft) Device(int) string { return weftDevice }

func (w *weft) Processes() []int {
	var pids []int
	for _, n := range w.nodes {
		pids = append(pids, n.PID())
	}
	return pids
}

func (w *weft) Teardown() error {
	var errs []error
	for _, n := range w.nodes {
		errs = append(errs, n.Stop())
	}
	w.nodes = nil
	return errors.Join(errs...)
}

// SubnetEnv is what the benchmarks read of a subnet file.
type SubnetEnv struct {
	Subnet netip.Prefix // FLANNEL_SUBNET, masked
	MTU    int          // FLANNEL_MTU, bytes
}

// parseSubnetEnv reads a subnet file: lines KEY=VALUE.
func parseSubnetEnv(text string) (SubnetEnv, error) {
	var env SubnetEnv
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		var err error
		switch key {
		case "FLANNEL_SUBNET":
			env.Subnet, err = netip.ParsePrefix(value)
			env.Subnet = env.Subnet.Masked()
		case "FLANNEL_MTU":
			env.MTU, err = strconv.Atoi(value)
		}
		if err != nil {
			return env, fmt.Errorf("%s=%s: %w", key, value, err)
		}
	}
	if !env.Subnet.IsValid() || env.MTU <= 0 {
		return env, fmt.Errorf("FLANNEL_SUBNET or FLANNEL_MTU is missing in %q", text)
	}
	return env, nil
}
