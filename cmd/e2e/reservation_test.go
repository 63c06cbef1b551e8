package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// reservation takes the etcd lease off a key: while the node runs, and while
// it does not. It stays so.
func (s store) reservation(t *testing.T) {
	key := lease.Key(s.n3.Env().Subnet, netip.Prefix{})
	put(t, s.c, key, udpLease("10.99.0.3"))
	restart(t, s.n3)
	must(t, s.Reach(within(t)))
	must(t, s.n3.Stop(within(t)))
	put(t, s.c, key, udpLease("10.99.0.3"))
	must(t, s.n3.Start(within(t)))
	must(t, s.Reach(within(t)))
	if l := leases(t, s.c)[key]; l.lease != 0 || l.value != udpLease("10.99.0.3") {
		t.Errorf("the reservation has become %+v", l)
	}
}

func (s store) removedWhileDown(t *testing.T) {
	key := lease.Key(s.n3.Env().Subnet, netip.Prefix{})
	gone := s.n3.PodAddr()
	must(t, s.n3.Stop(within(t)))
	must(t, s.n1.Stop(within(t)))
	remove(t, s.c, key)
	must(t, s.n1.Start(within(t)))
	reach(t, s.n1, s.n2)
	out := openUDP(t, s.n1.Pod, netip.AddrPortFrom(s.n1.PodAddr(), 0))
	if e := ask(t, out, netip.AddrPortFrom(gone, 9), 10); e.errno != unix.ENETUNREACH {
		t.Errorf("a pod of the removed node: %s, want ENETUNREACH", e)
	}
	must(t, s.n3.Start(within(t)))
	if s.n3.PodAddr() != gone {
		t.Errorf("the node came back with pod %s, had %s", s.n3.PodAddr(), gone)
	}
	must(t, s.Reach(within(t)))
}

func (s store) thousand(t *testing.T) {
	m := markLog(t, s.n1)
	s.under(t, func() {
		s.bulk(t, func(i int) clientv3.Op {
			return clientv3.OpPut(prefix+thousandth(i), udpLease(fmt.Sprintf("10.98.%d.%d", i/200, 1+i%200)))
		})
		m.await(t, "peer added", "172.23.231.0-24")
	})
	if n := len(m.find(t, "peer added")); n != 1000 {
		t.Errorf("%d peers added, want 1000", n)
	}
	restart(t, s.n1) // and from one listing
	must(t, s.Reach(within(t)))
	everything(t, s.n1, s.n2, 16*mega, 211)
	all, own, file := residentSet(t, s.n1)
	t.Logf("resident set with 1,000 leases: %d kB, of which its own %d kB, pages of the program %d kB", all, own, file)
	if own > 40<<10 {
		t.Errorf("%d kB of memory with 1,000 leases, want at most 40 MiB", own)
	}
	s.bulk(t, func(i int) clientv3.Op { return clientv3.OpDelete(prefix + thousandth(i)) })
	m.await(t, "peer removed", "172.23.231.0-24")
	must(t, s.Reach(within(t)))
}

// thousandth is the key of lease number i of a thousand.
func thousandth(i int) string { return fmt.Sprintf("172.%d.%d.0-24", 20+i/256, i%256) }

// bulk does a thousand things to etcd, a hundred in each transaction.
func (s store) bulk(t *testing.T, op func(i int) clientv3.Op) {
	t.Helper()
	for i := 0; i < 1000; i += 100 {
		var ops []clientv3.Op
		for j := range 100 {
			ops = append(ops, op(i+j))
		}
		_, err := s.c.Txn(within(t)).Then(ops...).Commit()
		must(t, err)
	}
}

// residentSet is how much memory a node's weft has, in kB: all of it, and of
// that what is its own and what are pages of the program's file.
func residentSet(t testing.TB, n *lab.Node) (all, own, file int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.PID()))
	must(t, err)
	value := map[string]int{}
	for _, m := range regexp.MustCompile(`(Vm|Rss)(\w+):\s+(\d+) kB`).FindAllStringSubmatch(string(b), -1) {
		v, err := strconv.Atoi(m[3])
		must(t, err)
		value[m[1]+m[2]] = v
	}
	return value["VmRSS"], value["RssAnon"], value["RssFile"]
}
