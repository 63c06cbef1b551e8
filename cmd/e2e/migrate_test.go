package e2e

import (
	"fmt"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/cmd/weft/lab"
)

// A cluster is moved from one backend to another one node at a time, under
// traffic between all pairs of pods, and back again. A node that restarts loses
// what restarts lose; everybody else loses nothing, at no time.
func TestMigration(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, NetConf: conf("46", `{"Type":"udp"}`)})
	m := migration{l: l, c: etcdClient(t, l), types: map[*lab.Node]string{}}
	for _, n := range l.Nodes {
		m.types[n] = "udp"
		for _, to := range l.Nodes {
			if to != n {
				m.ts = append(m.ts, startTrickle(t, n, to, "IPv4"), startTrickle(t, n, to, "IPv6"))
			}
		}
	}
	m.since = m.ts.settle(t)
	m.to(t, "vxlan", []int{0, 1, 2})
	m.to(t, "udp", []int{2, 0, 1})
}

type migration struct {
	l     *lab.Lab
	c     *clientv3.Client
	types map[*lab.Node]string
	ts    trickles
	since []int
}

// to gives the cluster another backend, and the nodes that one in order.
func (m *migration) to(t *testing.T, backend string, order []int) {
	_, err := m.c.Put(within(t), "/coreos.com/network/config", string(conf("46", fmt.Sprintf(`{"Type":%q}`, backend))))
	must(t, err)
	for _, i := range order {
		n := m.l.Nodes[i]
		t.Run(n.Name+" to "+backend, func(t *testing.T) {
			subnets := n.Env().Lease()
			restart(t, n)
			m.types[n] = backend
			m.since = m.ts.whole(t, "restart of "+n.Name, m.since, n)
			if now := n.Env().Lease(); now.Key() != subnets.Key() {
				t.Errorf("%s has now %s, had %s", n.Name, now.Key(), subnets.Key())
			}
			m.mixed(t)
			m.since = m.ts.whole(t, "after the restart of "+n.Name, m.since, nil)
		})
	}
	exchange(t, m.l.Nodes[0], m.l.Nodes[1], 4*mega, 173)
}

// mixed checks what a cluster must do in any state of the migration.
func (m *migration) mixed(t *testing.T) {
	list := leases(t, m.c)
	for _, n := range m.l.Nodes {
		want := map[string]string{"udp": "", "vxlan": "vxlan"}[m.types[n]]
		if got := leaseOf(t, list, n).Attrs.BackendType; got != want {
			t.Errorf("the lease of %s is of type %q, want %q", n.Name, got, want)
		}
	}
	for i, from := range m.l.Nodes {
		to := m.l.Nodes[(i+1)%len(m.l.Nodes)]
		pings(t, from, to)
		for family, a := range addrs(to) {
			transfer(t, from, to, a, mega)
			echoSizes(t, from.Pod, addrs(from)[family], startEcho(t, to.Pod, a), []int{1, 100, 1372, 5000, 30000})
			m.hops(t, from, to, family)
			m.hops(t, to, from, family)
		}
	}
}

// hops: what a way costs is for the receiver's backend to say, since everybody
// is spoken to in his own.
func (m *migration) hops(t *testing.T, from, to *lab.Node, family string) {
	t.Helper()
	want := map[string]int{"udp": 60, "vxlan": 62}[m.types[to]]
	if got := hopsLeft(t, from, to, family); got != want {
		t.Errorf("%s to %s, %s: TTL 64 arrives as %d, want %d", from.Name, to.Name, family, got, want)
	}
}
