package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/cmd/weft/lab"
)

// wg(8) sees weft's interfaces as it sees others, and what it changes counts.
func TestWireGuardTools(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: wgConf("46", `,"PersistentKeepaliveInterval":25`)})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	got := strings.Fields(wg(t, n1, "show", "interfaces"))
	for _, name := range []string{"flannel-wg", "flannel-wg-v6"} {
		if !slices.Contains(got, name) {
			t.Errorf("wg sees %v, want %s among them", got, name)
		}
	}
	t.Run("show dump", func(t *testing.T) { wgDump(t, n1, n2) })
	t.Run("set listen-port", func(t *testing.T) {
		wg(t, n1, "set", "flannel-wg", "listen-port", "7777")
		awaitPing(t, n1.Pod, n2.PodAddr()) // teaches n2 where n1 is
		awaitPing(t, n2.Pod, n1.PodAddr())
		if d := interfaceOf(t, n1, "flannel-wg"); d.port != 7777 {
			t.Errorf("the port is %d", d.port)
		}
		if e := interfaceOf(t, n2, "flannel-wg").peers[publicKey(t, n1)].endpoint; e != "10.99.0.1:7777" {
			t.Errorf("the peer sends to %s", e)
		}
		exchange(t, n1, n2, mega, 499)
	})
	t.Run("somebody else's peer", func(t *testing.T) {
		key := presharedKey() // any 32 bytes are a public key
		wg(t, n1, "set", "flannel-wg", "peer", key, "allowed-ips", "192.0.2.0/24", "endpoint", "10.99.0.200:1")
		c, m := etcdClient(t, l), markLog(t, n1)
		put(t, c, "10.244.9.0-24", `{"PublicIP":"10.99.0.9","BackendType":"wireguard","BackendData":{"PublicKey":"`+presharedKey()+`"}}`)
		m.await(t, "peer added", "10.244.9.0-24")
		if d := interfaceOf(t, n1, "flannel-wg"); len(d.peers) != 3 || strings.Join(d.peers[key].allowed, " ") != "192.0.2.0/24" {
			t.Errorf("peers %v, want three and %s with 192.0.2.0/24", d.peers, key)
		}
		remove(t, c, "10.244.9.0-24")
		m.await(t, "peer removed", "10.244.9.0-24")
		if d := interfaceOf(t, n1, "flannel-wg"); len(d.peers) != 2 {
			t.Errorf("peers %v, want two", d.peers)
		}
		reach(t, n1, n2)
	})
}

// wgDump checks what `wg show … dump` says: a line on the interface (private
// key, public key, port, mark), then one for each peer (public key, preshared
// key, endpoint, allowed IPs, latest handshake, received, sent, keepalive).
func wgDump(t *testing.T, n1, n2 *lab.Node) {
	exchange(t, n1, n2, mega, 499)
	lines := strings.Split(strings.TrimSpace(wg(t, n1, "show", "flannel-wg", "dump")), "\n")
	if len(lines) != 2 {
		t.Fatalf("%d lines, want two", len(lines))
	}
	private, public := keyPair(t, n1)
	if want := strings.Join([]string{private, public, "51820", "off"}, "\t"); lines[0] != want {
		t.Errorf("the interface is not as it should be") // the line has the private key
	}
	p := strings.Split(lines[1], "\t")
	if want := []string{publicKey(t, n2), "(none)", "10.99.0.2:51820", "10.244.2.0/24"}; strings.Join(p[:4], " ") != strings.Join(want, " ") {
		t.Errorf("the peer is %q, want %q", p[:4], want)
	}
	at, err := strconv.ParseInt(p[4], 10, 64)
	if age := time.Since(time.Unix(at, 0)); err != nil || age < -time.Second || age > 3*time.Minute {
		t.Errorf("latest handshake %q, %s ago (%v)", p[4], age, err)
	}
	for _, field := range p[5:7] {
		if n, err := strconv.Atoi(field); err != nil || n < mega {
			t.Errorf("%q bytes received or sent, want more than %d (%v)", field, mega, err)
		}
	}
	if p[7] != "25" {
		t.Errorf("keepalive %q, want 25", p[7])
	}
}
