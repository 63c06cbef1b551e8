package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"weft/cmd/weft/lab/space"
	"weft/lease"
)

// A Node is one host of a lab, and the one pod on it.
type Node struct {
	Name      string     // n1, n2, …
	Index     int        // from 1
	Underlay  netip.Addr // of its eth0
	Underlay6 netip.Addr
	Host      *Place // the node's own network namespace
	Pod       *Place // that of its pod

	lab *Lab
	dir string

	life sync.Mutex // held while weft is started or stopped; taken before mu
	mu   sync.Mutex
	weft *process  // nil before the first Start
	env  lease.Env // what the pod was last wired up by
}

// newNode makes the namespaces of a node and plugs it into the switch. The
// pod has no address before the node has a subnet.
func (l *Lab) newNode(i int) (n *Node, err error) {
	n = &Node{
		Name:      "n" + strconv.Itoa(i),
		Index:     i,
		Underlay:  host(underlay4, i),
		Underlay6: host(underlay6, i),
		lab:       l,
	}
	n.dir = filepath.Join(l.opt.Dir, n.Name)
	if err := os.MkdirAll(n.dir, 0o755); err != nil {
		return nil, err
	}
	if n.Host, err = l.place(n.Name + "/host"); err != nil {
		return nil, err
	}
	if n.Pod, err = l.place(n.Name); err != nil {
		return nil, err
	}
	n.Host.node, n.Pod.node = n, n
	return n, n.furnish()
}

func (n *Node) furnish() error {
	wire := []netip.Prefix{netip.PrefixFrom(n.Underlay, underlay4.Bits())}
	if n.lab.cfg.EnableIPv6 {
		wire = append(wire, netip.PrefixFrom(n.Underlay6, underlay6.Bits()))
	}
	if err := n.Host.Router(n.lab.cfg.EnableIPv6); err != nil {
		return err
	}
	if n.lab.cfg.EnableIPv6 {
		if err := n.Pod.NoDAD(); err != nil {
			return err
		}
	}
	if err := n.lab.Switch.Pair(n.Name, "underlay", n.Host.Space, "eth0"); err != nil {
		return err
	}
	if err := n.Host.Bridge("cni0", net.HardwareAddr{0x02, 0xfa, 0, 0, 0, byte(n.Index)}); err != nil {
		return err
	}
	return errors.Join(
		n.Host.Pair("pod", "cni0", n.Pod.Space, "eth0"),
		n.Host.Addresses("eth0", wire...),
		n.seed(),
	)
}

func (n *Node) seed() error {
	if _, err := os.Stat(n.SubnetFile()); !errors.Is(err, fs.ErrNotExist) {
		return err // nil: the node has had a subnet before
	}
	if e, ok := seed(n.lab.cfg, n.Index); ok {
		return lease.WriteEnv(n.SubnetFile(), e)
	}
	return nil
}

// SubnetFile is the path of the node's subnet.env.
func (n *Node) SubnetFile() string { return filepath.Join(n.dir, "subnet.env") }

// Socket is the path of the control socket of the node's weft.
func (n *Node) Socket() string { return filepath.Join(n.dir, "control.sock") }

// LogFile is the path of what the node's weft wrote to stdout and stderr,
// over all its starts.
func (n *Node) LogFile() string { return filepath.Join(n.dir, "weft.log") }

// Env is what the pod is wired up by; zero before the first Start.
func (n *Node) Env() lease.Env {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.env
}

// PodAddr is the IPv4 address of the pod; zero before the first Start, or when
// the overlay has none.
func (n *Node) PodAddr() netip.Addr { return pod(n.Env().Subnet).Addr() }

// PodAddr6 is the IPv6 address of the pod.
func (n *Node) PodAddr6() netip.Addr { return pod(n.Env().IPv6Subnet).Addr() }

// Running reports whether the node's weft runs.
func (n *Node) Running() bool {
	p := n.process()
	return p != nil && p.running()
}

func (n *Node) process() *process {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.weft
}

// PID is the process id of the node's weft, 0 before the first Start.
func (n *Node) PID() int {
	if p := n.process(); p != nil {
		return p.cmd.Process.Pid
	}
	return 0
}

// Start starts weft on the node, waits until it says that it is ready, and
// wires the pod up by the subnet it has got.
func (n *Node) Start(ctx context.Context) error {
	n.life.Lock()
	defer n.life.Unlock()
	if n.Running() {
		return fmt.Errorf("%s: weft runs already", n.Name)
	}
	argv, env := n.lab.command(n), n.lab.nodeEnv(n)
	if extra := n.lab.opt.Extra; extra != nil {
		moreArgs, moreEnv := extra(n)
		argv, env = append(argv, moreArgs...), append(env, moreEnv...)
	}
	p, err := launch(n.Host, "weft", n.dir, argv, env)
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	n.mu.Lock()
	n.weft = p
	n.mu.Unlock()
	if err := p.awaitReady(ctx); err != nil {
		return errors.Join(fmt.Errorf("%s: %w", n.Name, err), p.kill())
	}
	return n.wire()
}

// wire wires the pod up by what is in the subnet file, if that is news.
func (n *Node) wire() error {
	env, err := lease.ReadEnv(n.SubnetFile())
	if err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	if env == n.Env() {
		return nil
	}
	if err := wire(n.Host.Space, n.Pod.Space, env); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.env = env
	return nil
}

// Stop asks weft on the node to end and waits for it. An exit status other
// than 0 is an error; when ctx ends first, weft is killed.
func (n *Node) Stop(ctx context.Context) error {
	return n.withWeft(func(p *process) error { return p.stop(ctx) })
}

// Kill ends weft on the node as a crash would.
func (n *Node) Kill() error { return n.withWeft((*process).kill) }

// withWeft calls f unless weft does not run, which is no error.
func (n *Node) withWeft(f func(*process) error) error {
	n.life.Lock()
	defer n.life.Unlock()
	p := n.process()
	if p == nil || !p.running() {
		return nil
	}
	if err := f(p); err != nil {
		return fmt.Errorf("%s: %w", n.Name, err)
	}
	return nil
}

// wire does for one pod what a CNI bridge plugin does: the first host of the
// subnet is cni0, the second the pod, whose default route is the first.
func wire(hostNS, podNS *space.Space, e lease.Env) error {
	var cni, addrs []netip.Prefix
	for _, s := range []netip.Prefix{e.Subnet, e.IPv6Subnet} {
		if s.IsValid() {
			cni, addrs = append(cni, gateway(s)), append(addrs, pod(s))
		}
	}
	if err := errors.Join(
		podNS.MTU("eth0", e.MTU),
		hostNS.MTU("pod", e.MTU),
		hostNS.MTU("cni0", e.MTU),
		hostNS.Addresses("cni0", cni...),
		podNS.Addresses("eth0", addrs...),
	); err != nil {
		return err
	}
	for _, gw := range cni {
		if err := podNS.Default("eth0", gw.Addr()); err != nil {
			return err
		}
	}
	return nil
}

// command is the command line of a node's weft.
func (l *Lab) command(n *Node) []string {
	if l.opt.Command != nil {
		if argv := l.opt.Command(n); argv != nil {
			return argv
		}
	}
	argv := []string{l.opt.Weft, "up", "--iface=eth0", "--node-name=" + n.Name, "--subnet-file=" + n.SubnetFile()}
	if l.cfg.EnableIPv6 {
		argv = append(argv, "--public-ipv6="+n.Underlay6.String())
	}
	argv = append(argv, l.storeArgs(n)...)
	if l.opt.TunMode != "" {
		argv = append(argv, "--tun-mode="+l.opt.TunMode)
	}
	if l.opt.SourceCheck != "" {
		argv = append(argv, "--source-check="+l.opt.SourceCheck)
	}
	return append(argv, l.opt.UpArgs...)
}

// nodeEnv is the environment of a node's weft: ours, without what would be
// taken for its flags, and what the options add.
func (l *Lab) nodeEnv(n *Node) []string {
	env := slices.DeleteFunc(os.Environ(), func(kv string) bool {
		return strings.HasPrefix(kv, "FLANNELD_") || strings.HasPrefix(kv, "NOTIFY_SOCKET=")
	})
	env = append(env, "WEFT_NODE="+n.Name, "WIREGUARD_KEY_FILE="+filepath.Join(n.dir, "wgkey"),
		"FLANNELD_WIREGUARD_SOCKET_DIR="+n.dir, "FLANNELD_SOCKET="+n.Socket(), // one machine's nodes would share the usual places
		"FLANNELD_SOCKET_GROUP="+strconv.Itoa(os.Getgid())) // of all groups this one is sure to exist in here
	return append(env, l.opt.Env...)
}
