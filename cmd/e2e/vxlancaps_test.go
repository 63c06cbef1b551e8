package e2e

import (
	"testing"

	"weft/cmd/weft/lab"
)

// Each capability switched off, against a peer that has the kernel's all: what
// comes from it are superpackets with unfinished checksums, wherever the wire
// carries those.
func TestVXLANCapabilities(t *testing.T) {
	off, mode := "", ""
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: conf("46", `{"Type":"vxlan"}`),
		Extra: func(n *lab.Node) (args, env []string) {
			if n.Index != 1 {
				return nil, nil
			}
			if mode != "" {
				args = append(args, "--tun-mode="+mode)
			}
			return args, []string{"WEFT_DISABLE=" + off}
		}}, map[int]bool{2: true}))
	n, k := l.Nodes[0], l.Nodes[1]
	for _, c := range []struct{ name, off, mode string }{
		{"vnet", "vnet", ""}, {"tso", "tso", ""}, {"uso", "uso", ""}, {"gso", "gso", ""}, {"gro", "gro", ""}, {"mmsg", "mmsg", ""}, {"ecn", "ecn", ""},
		{"all", "vnet,tso,uso,gso,gro,mmsg,ecn", ""}, {"plain mode", "", "plain"}, {"none", "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			off, mode = c.off, c.mode
			m := markLog(t, n)
			restart(t, n)
			lacks(t, m, c.off, c.mode)
			reach(t, n, k)
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				exchange(t, n, k, 4*mega, 311)
				exchange(t, k, n, mega, 499)
			}
		})
	}
}
