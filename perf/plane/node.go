package plane

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"weft/perf/lab"
)

// A Node is one `weft up` in one host.
type Node struct {
	*process
	subnet string // path of the subnet file
}

// StartNode starts weft in a host with the leases of a folder. The environment
// env (K=V) and the arguments come before those of o.
func StartNode(h *lab.Host, leases string, o Options, env []string, args ...string) (*Node, error) {
	n := &Node{subnet: filepath.Join(h.Dir, "subnet.env")}
	line := append([]string{
		"up", "--leases", leases, "--iface", lab.Underlay, "--subnet-file", n.subnet,
		// The baselines run without netfilter rules, and so does weft.
		"--iptables-forward-rules=false",
	}, args...)
	var err error
	n.process, err = start(h, o, env, line...)
	return n, err
}

// Ready waits for the subnet file and returns what it says. The file appears
// by an atomic rename, so it is complete when it is there.
func (n *Node) Ready(ctx context.Context) (SubnetEnv, error) {
	var text []byte
	err := n.await(ctx, n.subnet, func() (_ bool, err error) {
		if text, err = os.ReadFile(n.subnet); errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	})
	if err != nil {
		return SubnetEnv{}, err
	}
	return parseSubnetEnv(string(text))
}
