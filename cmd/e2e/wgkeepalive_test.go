package e2e

import (
	"os"
	"slices"
	"strings"
	"testing"

	"weft/cmd/weft/lab"
)

// A node behind a firewall, or a NAT, lets in what answers it, for as long as
// that remembers what went out: here three seconds. Keepalives hold the way
// open, so that others can begin to talk to its pods at any time.
func TestWireGuardKeepalive(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreDir, NetConf: wgConf("4", `,"PersistentKeepaliveInterval":1`), UpArgs: []string{"--v=1"}})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	rules := "table inet gate { counter refused { }\nchain in { type filter hook input priority 0;\n" +
		"ct state established,related accept; udp dport 51820 counter name refused drop; }; }\n"
	file := t.TempDir() + "/gate.nft"
	must(t, os.WriteFile(file, []byte(rules), 0o644))
	for _, args := range [][]string{{"nft", "-f", file},
		{"sysctl", "-qw", "net.netfilter.nf_conntrack_udp_timeout=3", "net.netfilter.nf_conntrack_udp_timeout_stream=3"}} {
		if out, err := n2.Host.Exec(within(t), args...); err != nil {
			t.Skipf("no firewall with a memory here: %v %s", err, out)
		}
	}
	must(t, l.Up(within(t)))
	m := markLog(t, n1)
	for range 6 { // a second apart: twice as long as the firewall remembers
		m.await(t, "Receiving keepalive packet")
		m = markLog(t, n1)
	}
	before := refusedAt(t, n2)
	echoSizes(t, n1.Pod, n1.PodAddr(), startEcho(t, n2.Pod, n2.PodAddr()), []int{100, 1000})
	if after := refusedAt(t, n2); after != before {
		t.Errorf("the firewall refused %s packets before, and then %s: the way was not open", before, after)
	}
	if p := interfaceOf(t, n1, "flannel-wg").peers[publicKey(t, n2)]; p.keepalive != 1 {
		t.Errorf("keepalive %d, want 1", p.keepalive)
	}
}

// refusedAt returns what the firewall of a node has refused so far.
func refusedAt(t testing.TB, n *lab.Node) string {
	t.Helper()
	out := get(t, func() ([]byte, error) { return n.Host.Exec(within(t), "nft", "list", "counters") })
	fields := strings.Fields(string(out))
	at := slices.Index(fields, "packets")
	if at < 0 || at+1 == len(fields) {
		t.Fatalf("no counter: %s", out)
	}
	return fields[at+1]
}
