package e2e

import (
	"testing"

	"weft/cmd/weft/lab"
)

// Each capability switched off on one node, which meets another that has
// everything, and all of them on both.
func TestWireGuardCapabilities(t *testing.T) {
	off, mode := map[int]string{}, map[int]string{}
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: wgConf("46", `,"Mode":"auto"`),
		Extra: func(n *lab.Node) (args, env []string) {
			if m := mode[n.Index]; m != "" {
				args = append(args, "--tun-mode="+m)
			}
			return args, []string{"WEFT_DISABLE=" + off[n.Index]}
		}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	const all = "vnet,tso,uso,gso,gro,mmsg,ecn"
	for _, c := range []struct{ name, off1, mode1, off2, mode2 string }{
		{name: "vnet", off1: "vnet"}, {name: "tso", off1: "tso"}, {name: "uso", off1: "uso"}, {name: "gso", off1: "gso"},
		{name: "gro", off1: "gro"}, {name: "mmsg", off1: "mmsg"}, {name: "ecn", off1: "ecn"},
		{name: "all", off1: all, off2: all},
		{name: "plain mode", mode1: "plain"},
		{name: "plain mode and nothing else", off1: all, mode1: "plain", off2: all, mode2: "plain"},
		{name: "ipv6 on one side", off2: "ipv6"},
		{name: "everything on again"},
	} {
		t.Run(c.name, func(t *testing.T) {
			off[1], off[2], mode[1], mode[2] = c.off1, c.off2, c.mode1, c.mode2
			m1, m2 := markLog(t, n1), markLog(t, n2)
			restart(t, n1, n2)
			lacks(t, m1, c.off1, c.mode1)
			lacks(t, m2, c.off2, c.mode2)
			reachCommon(t, n1, n2)
			for _, like := range []bool{false, true} {
				must(t, l.SetWire(like))
				exchange(t, n1, n2, 2*mega, 311)
				exchange(t, n2, n1, mega, 499)
			}
		})
	}
}
