package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// What happens to etcd and in it, under traffic. The network is large enough
// for a thousand leases.
func TestStore(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, Network: netip.MustParsePrefix("172.16.0.0/12")})
	must(t, l.StartEtcd(within(t)))
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	must(t, n1.Start(within(t)))
	must(t, n2.Start(within(t)))
	reach(t, n1, n2)
	s := store{l, etcdClient(t, l), n1, n2, n3}
	t.Run("layout", s.layout)
	t.Run("etcd stopped and started", s.outage)
	t.Run("a node joins afterwards", func(t *testing.T) {
		must(t, n3.Start(within(t)))
		must(t, l.Reach(within(t)))
	})
	t.Run("own key deleted", s.keyDeleted)
	t.Run("own key taken", s.keyTaken)
	t.Run("junk", s.junk)
	t.Run("leases not to be used", s.refused)
	t.Run("a lease that flaps", s.flapping)
	t.Run("reservation", s.reservation)
	t.Run("peer removed while down", s.removedWhileDown)
	t.Run("a thousand leases", s.thousand)
}

type store struct {
	*lab.Lab
	c          *clientv3.Client
	n1, n2, n3 *lab.Node
}

// layout checks keys and values byte for byte.
func (s store) layout(t *testing.T) {
	got := leases(t, s.c)
	for key, addr := range map[string]string{"172.16.1.0-24": "10.99.0.1", "172.16.2.0-24": "10.99.0.2"} {
		if l := got[key]; l.value != udpLease(addr) || l.lease == 0 {
			t.Errorf("%s: %+v, want value %s with an etcd lease", key, l, udpLease(addr))
			continue
		}
		r, err := s.c.TimeToLive(within(t), got[key].lease)
		must(t, err)
		if r.GrantedTTL != 86400 {
			t.Errorf("%s: granted for %d s, want 24 h", key, r.GrantedTTL)
		}
	}
	if len(got) != 2 {
		t.Errorf("leases %v, want two", got)
	}
}

// under runs f while two pods move data, and then checks that the data are
// whole and never stood still for long.
func (s store) under(t *testing.T, f func()) {
	t.Helper()
	tr := begin(t, s.n1, s.n2, s.n2.PodAddr(), 0)
	tr.progress(t, 4*mega)
	f()
	tr.progress(t, 16*mega)
	if gap := tr.end(t); gap > 5*time.Second {
		t.Errorf("traffic stood still for %s", gap)
	}
}

func (s store) outage(t *testing.T) {
	before := leases(t, s.c)
	m1, m2 := markLog(t, s.n1), markLog(t, s.n2)
	s.under(t, func() {
		must(t, s.StopEtcd(within(t)))
		begin(t, s.n2, s.n1, s.n1.PodAddr(), 16*mega).wait(t) // a new connection as well
		if code, body := health(t, s.n1, "/readyz"); code != 200 {
			t.Errorf("/readyz without etcd: %d %q", code, body)
		}
		must(t, s.StartEtcd(within(t)))
	})
	if lost := append(m1.find(t, "peer removed"), m2.find(t, "peer removed")...); lost != nil {
		t.Errorf("peers lost while etcd was away: %v", lost)
	}
	for key, was := range before {
		if now := leases(t, s.c)[key]; now != was {
			t.Errorf("%s: %+v after the outage, %+v before", key, now, was)
		}
	}
}

func (s store) keyDeleted(t *testing.T) {
	key := lease.Key(s.n2.Env().Subnet, netip.Prefix{})
	pid := s.n2.PID()
	s.under(t, func() {
		r, err := s.c.Delete(within(t), prefix+key)
		must(t, err)
		e := awaitPut(t, s.c, key, r.Header.Revision)
		if string(e.Kv.Value) != udpLease("10.99.0.2") || e.Kv.Lease == 0 {
			t.Errorf("put back as %s with etcd lease %d", e.Kv.Value, e.Kv.Lease)
		}
	})
	if !s.n2.Running() || s.n2.PID() != pid {
		t.Error("the node ended when its lease was deleted")
	}
	must(t, s.Reach(within(t)))
}

// keyTaken gives a node's key to another node. The node neither ends nor moves
// its pods to another subnet; it says what is wrong, and is back when it can.
func (s store) keyTaken(t *testing.T) {
	key := lease.Key(s.n3.Env().Subnet, netip.Prefix{})
	pid, before, m := s.n3.PID(), flannel0(t, s.n3), markLog(t, s.n3)
	s.under(t, func() {
		put(t, s.c, key, udpLease("10.99.0.77"))
		m.await(t, "another node holds this node's subnet")
		if code, body := health(t, s.n3, "/readyz"); code != 503 || !strings.Contains(body, "another node") {
			t.Errorf("/readyz: %d %q", code, body)
		}
	})
	if now := flannel0(t, s.n3); s.n3.PID() != pid || !s.n3.Running() || now.String() != before.String() {
		t.Errorf("running: %v, flannel0 %s, was %s", s.n3.Running(), now, before)
	}
	r, err := s.c.Delete(within(t), prefix+key)
	must(t, err)
	if e := awaitPut(t, s.c, key, r.Header.Revision); string(e.Kv.Value) != udpLease("10.99.0.3") {
		t.Errorf("put back as %s", e.Kv.Value)
	}
	must(t, s.Reach(within(t)))
	awaitReady(t, s.n3) // which takes some time, lest it flaps
}

// junk puts what is no lease. A peer that joins afterwards shows that the
// nodes have gone past it.
func (s store) junk(t *testing.T) {
	marks := []mark{markLog(t, s.n1), markLog(t, s.n2), markLog(t, s.n3)}
	junk := map[string]string{
		"foo": "bar", "172.16.9.0-24": "{", "172.16.10.0-24": `{"PublicIP":""}`, "172.16.11.0-24": `{"PublicIP":null}`,
		"172.16.12.0-24": "", "172.16.13.0-33": udpLease("10.99.0.77"), "": udpLease("10.99.0.77"), "172.16.14.0-24": `[1]`,
		"172.16.15.0-24": `{}`, "172.16.16.0-24/": udpLease("10.99.0.77"), "\x00\xff": "\xff",
		"../subnetsX/zz": "zz", "172.16.17.0-24": `{"PublicIP":"10.99.0.77","PublicIPv6":7}`,
	}
	s.under(t, func() {
		for k, v := range junk {
			put(t, s.c, k, v)
		}
		_, err := s.c.Put(within(t), "/coreos.com/network/subnetsX/a", "zz")
		must(t, err)
		put(t, s.c, "172.16.99.0-24", udpLease("10.99.0.99"))
		for _, m := range marks {
			m.await(t, "peer added", "172.16.99.0-24")
		}
		for k := range junk {
			remove(t, s.c, k)
		}
		remove(t, s.c, "172.16.99.0-24")
		for _, m := range marks {
			m.await(t, "peer removed", "172.16.99.0-24")
		}
	})
	for _, m := range marks {
		if lost := m.find(t, "peer removed"); len(lost) != 1 {
			t.Errorf("%s lost peers over junk: %v", m.n.Name, lost)
		}
	}
	must(t, s.Reach(within(t)))
}

// refused puts leases that are well-formed and must not be used all the same.
func (s store) refused(t *testing.T) {
	m := markLog(t, s.n1)
	before := flannel0(t, s.n1)
	bad := map[string]string{
		"172.16.0.0-12":  udpLease("10.99.0.77"),                                                                      // over everybody
		"172.16.1.0-25":  udpLease("10.99.0.77"),                                                                      // in ours
		"192.168.7.0-24": udpLease("10.99.0.77"),                                                                      // foreign
		"0.0.0.0-0":      udpLease("10.99.0.77"),                                                                      // a default route
		"172.16.20.7-24": udpLease("10.99.0.77"),                                                                      // host bits
		"172.16.21.0-24": udpLease("10.99.0.1"),                                                                       // our address
		"172.16.22.0-24": udpLease("224.0.0.1"),                                                                       // nobody's address
		"172.16.23.0-24": udpLease("172.16.23.1"),                                                                     // a loop
		"172.16.24.0-24": `{"PublicIP":"10.99.0.77","PublicIPv6":null,"BackendType":"vxlan","BackendData":{"VNI":1}}`, // another type
		"172.16.25.0-24": udpLease("0.0.0.0"),
	}
	s.under(t, func() {
		for k, v := range bad {
			put(t, s.c, k, v)
		}
		for k := range bad {
			if l := m.await(t, "lease not used", `"subnet":"`+k+`"`); l.Level != "WARN" || l.Err == "" {
				t.Errorf("%s: %s", k, l.Text)
			}
		}
		out := openUDP(t, s.n1.Pod, netip.AddrPortFrom(s.n1.PodAddr(), 0))
		for _, to := range []string{"172.16.24.2", "172.16.22.2", "172.16.30.2"} {
			e := ask(t, out, netip.AddrPortFrom(netip.MustParseAddr(to), 9), 10)
			if e.errno != unix.ENETUNREACH {
				t.Errorf("%s: %s, want ENETUNREACH", to, e)
			}
		}
		for k := range bad {
			remove(t, s.c, k)
		}
	})
	if now := flannel0(t, s.n1); now.String() != before.String() {
		t.Errorf("flannel0 is %s, was %s", now, before)
	}
	if lost := m.find(t, "peer removed"); lost != nil {
		t.Errorf("peers lost: %v", lost)
	}
	must(t, s.Reach(within(t)))
}

// flapping lets a lease come and go as fast as etcd can. A node is stopped
// meanwhile.
func (s store) flapping(t *testing.T) {
	m := markLog(t, s.n1)
	s.under(t, func() {
		stopping := make(chan error, 1)
		var took time.Duration
		for i := range 200 {
			put(t, s.c, "172.16.50.0-24", udpLease(fmt.Sprintf("10.99.0.%d", 100+i%50)))
			remove(t, s.c, "172.16.50.0-24")
			if i == 50 {
				ctx := within(t)
				go func() {
					start := time.Now()
					err := s.n3.Stop(ctx)
					took = time.Since(start)
					stopping <- err
				}()
			}
		}
		must(t, <-stopping)
		if took > time.Second {
			t.Errorf("the node took %s to stop", took)
		}
		must(t, s.n3.Start(within(t)))
		put(t, s.c, "172.16.51.0-24", udpLease("10.99.0.98"))
		m.await(t, "peer added", "172.16.51.0-24")
		remove(t, s.c, "172.16.51.0-24")
		m.await(t, "peer removed", "172.16.51.0-24")
	})
	must(t, s.Reach(within(t)))
	if added, gone := m.find(t, "peer added", "172.16.50.0-24"), m.find(t, "peer removed", "172.16.50.0-24"); len(added) != len(gone) {
		t.Errorf("added %d times and removed %d times", len(added), len(gone))
	}
}

// Three nodes that all had the same subnet, as copies of one machine have it,
// race for it. All get one, and one of them gets that one.
func TestRaceForOneSubnet(t *testing.T) {
	for _, kind := range []lab.Store{lab.StoreEtcd, lab.StoreDir} {
		t.Run(string(kind), func(t *testing.T) {
			l := newLab(t, lab.Options{Nodes: 3, Store: kind})
			env, err := lease.ReadEnv(l.Nodes[0].SubnetFile())
			must(t, err)
			env.Subnet = netip.MustParsePrefix("10.244.42.0/24")
			for _, n := range l.Nodes {
				must(t, lease.WriteEnv(n.SubnetFile(), env))
			}
			must(t, l.Up(within(t)))
			winners := 0
			for _, n := range l.Nodes {
				if n.Env().Subnet == env.Subnet {
					winners++
				}
			}
			if winners != 1 {
				t.Errorf("%d nodes hold %s, want one", winners, env.Subnet)
			}
		})
	}
}
