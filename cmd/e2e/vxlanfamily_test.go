package e2e

import (
	"slices"
	"strings"
	"testing"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// A node of a dual-stack network that goes without IPv6 for one run keeps its
// name among the others: the lease's key, both endpoints and their addresses.
// Its IPv4 works meanwhile, and its IPv6 does when it has the family back.
func TestVXLANWithoutIPv6(t *testing.T) {
	off := ""
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"vxlan"}`),
		Extra: func(n *lab.Node) (args, env []string) {
			if n.Index == 1 {
				env = []string{"WEFT_DISABLE=" + off}
			}
			return nil, env
		}}, map[int]bool{3: true}))
	n1, n2, k := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	c := etcdClient(t, l)
	key := lease.Key(n1.Env().Subnet, n1.Env().IPv6Subnet)
	was, value, number := entries(t, k), leases(t, c)[key].value, len(leases(t, c))
	for _, part := range []string{`"PublicIP":"10.99.0.1"`, `"PublicIPv6":"fd99::1"`, `"BackendData":{"VNI":1,`, `"BackendV6Data":{"VNI":1,`} {
		if !strings.Contains(value, part) {
			t.Fatalf("lease %s of a dual-stack node lacks %s", value, part)
		}
	}
	for _, run := range []struct {
		name, off string
		families  int
	}{{"without IPv6", "ipv6", 1}, {"with it again", "", 2}} {
		t.Run(run.name, func(t *testing.T) {
			off = run.off
			m := markLog(t, k)
			restart(t, n1)
			if got := addrs(n1); len(got) != run.families {
				t.Errorf("the pod has the addresses %v, want %d", got, run.families)
			}
			list := leases(t, c)
			if now := list[key].value; now != value || len(list) != number {
				t.Errorf("lease %s is %s among %d, was %s among %d", key, now, len(list), value, number)
			}
			for _, to := range []*lab.Node{n2, k} {
				for family, a := range addrs(n1) { // those that the pod has now
					awaitPing(t, to.Pod, a)
					awaitPing(t, n1.Pod, addrs(to)[family])
				}
				exchange(t, n1, to, mega, 499)
				exchange(t, to, n1, mega, 499)
			}
			if now := entries(t, k); !slices.Equal(now, was) {
				t.Errorf("the kernel peer has now\n%s\nhad\n%s", strings.Join(now, "\n"), strings.Join(was, "\n"))
			}
			if changed := m.find(t, "peer"); changed != nil {
				t.Errorf("the kernel peer had to act: %v", changed)
			}
		})
	}
}
