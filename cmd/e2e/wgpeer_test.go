package e2e

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// With one preshared key all is well; a node that has another one reaches
// nobody, and everybody says so.
func TestWireGuardPSK(t *testing.T) {
	psk := func(key string) []byte { return wgConf("46", fmt.Sprintf(`,"Mode":"auto","PSK":%q`, key)) }
	right := psk(presharedKey())
	l := newLab(t, lab.Options{Nodes: 3, Env: quiet, Store: lab.StoreEtcd, NetConf: right})
	must(t, l.StartEtcd(within(t)))
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	c := etcdClient(t, l)
	must(t, n1.Start(within(t)))
	must(t, n3.Start(within(t)))
	exchange(t, n1, n3, mega, 499)
	ts := trickles{startTrickle(t, n1, n3, "IPv4"), startTrickle(t, n3, n1, "IPv6")}
	since := ts.settle(t)

	_, err := c.Put(within(t), "/coreos.com/network/config", string(psk(presharedKey())))
	must(t, err)
	wrongPSK(t, n1, n2)
	since = ts.whole(t, "another node with a wrong PSK", since, nil)

	_, err = c.Put(within(t), "/coreos.com/network/config", string(right))
	must(t, err)
	must(t, n2.Start(within(t)))
	reach(t, n1, n2)
	exchange(t, n2, n1, mega, 499)
	ts.whole(t, "the right PSK again", since, nil)
	if drops := stopped(t, n1); drops["wg_handshake_refused"] == 0 {
		t.Errorf("the node with the right PSK: drops %v, want wg_handshake_refused", drops)
	}
}

// wrongPSK starts n2, whose PSK is not that of n1.
func wrongPSK(t *testing.T, n1, n2 *lab.Node) {
	t.Helper()
	m := markLog(t, n1)
	must(t, n2.Start(within(t)))
	wrong := startTrickle(t, n1, n2, "IPv4")
	line := m.await(t, "peer does not answer handshakes", publicKey(t, n2))
	if line.Level != "WARN" || !strings.Contains(line.Text, "PSK") {
		t.Errorf("%s", line.Text)
	}
	in, out := openUDP(t, n1.Pod, netip.AddrPortFrom(n1.PodAddr6(), 0)), openUDP(t, n2.Pod, netip.AddrPortFrom(n2.PodAddr6(), 0))
	for range 300 {
		must(t, out.sendTo([]byte("sealed with another key"), in.addr))
	}
	if wrongly := (mark{n: n2}).find(t, "peer answers"); wrongly != nil {
		t.Errorf("the node with another PSK says %s", wrongly[0].Text)
	}
	number := wrong.sentSoFar()
	if lost, _ := wrong.lost(0, number); number == 0 || lost != number {
		t.Errorf("%s: of %d sent %d arrived", wrong.name, number, number-lost)
	}
	if drops := stopped(t, n2); drops["wg_no_session"] < 100 { // the rest waits for a session
		t.Errorf("the node with another PSK: drops %v, want at least 100 wg_no_session", drops)
	}
	if k, _, err := unix.Recvfrom(in.fd, make([]byte, 64), 0); err != unix.EAGAIN {
		t.Errorf("%d bytes came from the node with another PSK (%v)", k, err)
	}
}

// A peer that began a handshake and went away before its end is called on by
// whoever has something for it, once it is back, though it says nothing itself.
func TestWireGuardSilentPeer(t *testing.T) {
	psk := func(key string) []byte { return wgConf("4", fmt.Sprintf(`,"PSK":%q`, key)) }
	right := psk(presharedKey())
	l := newLab(t, lab.Options{Nodes: 2, Env: quiet, Store: lab.StoreEtcd, NetConf: right})
	must(t, l.StartEtcd(within(t)))
	n1, n2, c := l.Nodes[0], l.Nodes[1], etcdClient(t, l)
	must(t, n1.Start(within(t)))
	_, err := c.Put(within(t), "/coreos.com/network/config", string(psk(presharedKey())))
	must(t, err)
	must(t, n2.Start(within(t)))
	mark{n: n1}.await(t, "peer added", "10.244.2.0-24")
	w := tapWire(t, n2.Host)
	out := openUDP(t, n2.Pod, netip.AddrPortFrom(n2.PodAddr(), 0))
	say(t, out, "hello", netip.AddrPortFrom(n1.PodAddr(), 7))
	for d := w.datagram(t, n1); d.kind() != 2; { // the answer, which n2 refuses
		d = w.datagram(t, n1)
	}
	tr := startTrickle(t, n1, n2, "IPv4")
	must(t, n2.Stop(within(t)))
	_, err = c.Put(within(t), "/coreos.com/network/config", string(right))
	must(t, err)
	must(t, n2.Start(within(t)))
	tr.settle(t, tr.sentSoFar())
}

// A node that restarts keeps its key; one that comes back with another key is
// the peer at once that it was, and the old key is nobody's. Sessions between
// others go on.
func TestWireGuardKeyChange(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 3, Store: lab.StoreEtcd, NetConf: wgConf("46", "")})
	n1, n2, n3 := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	ts := trickles{startTrickle(t, n2, n3, "IPv4"), startTrickle(t, n3, n2, "IPv6"), startTrickle(t, n1, n2, "IPv4"), startTrickle(t, n3, n1, "IPv6")}
	since := ts.settle(t)
	handshake := interfaceOf(t, n2, "flannel-wg").peers[publicKey(t, n3)].handshake
	for _, what := range []string{"the same key", "a new key", "another one"} {
		t.Run(what, func(t *testing.T) {
			was, subnets := publicKey(t, n1), n1.Env().Lease().Key()
			must(t, n1.Stop(within(t)))
			if what != "the same key" {
				must(t, os.Remove(wgKeyFile(n1)))
			}
			must(t, n1.Start(within(t)))
			reach(t, n1, n2)
			reach(t, n1, n3)
			now := publicKey(t, n1)
			if (now == was) != (what == "the same key") || n1.Env().Lease().Key() != subnets {
				t.Errorf("key %s of %s, was %s of %s", now, n1.Env().Lease().Key(), was, subnets)
			}
			for _, n := range []*lab.Node{n2, n3} {
				for _, device := range []string{"flannel-wg", "flannel-wg-v6"} {
					peers := interfaceOf(t, n, device).peers
					if _, left := peers[was]; len(peers) != 2 || left != (now == was) || peers[now].allowed == nil {
						t.Errorf("%s: %s has the peers %v; was %s, is %s", n.Name, device, peers, was, now)
					}
				}
			}
			since = ts.whole(t, what, since, n1)
		})
	}
	if again := interfaceOf(t, n2, "flannel-wg").peers[publicKey(t, n3)].handshake; again != handshake {
		t.Logf("the session between the others was made anew after %d s, as it is every two minutes", again-handshake)
		if again-handshake < 100 {
			t.Error("that is too soon: it was lost")
		}
	}
	exchange(t, n1, n2, mega, 499)
}

// callDue is less than the 15 s after which a peer that gets no answer begins a
// handshake by itself (whitepaper, Keepalive-Timeout and Rekey-Timeout).
const callDue = 12 * time.Second

// A node that is killed and one that stops leave keys, addresses and routes as
// they were; TCP goes on over it.
func TestWireGuardRestart(t *testing.T) {
	l := newLabUp(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd, NetConf: wgConf("46", "")})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	for _, end := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			was := [2]string{deviceOf(t, n2, "flannel-wg").String(), deviceOf(t, n2, "flannel-wg-v6").String()}
			tr := begin(t, n1, n2, n2.PodAddr6(), 0)
			tr.progress(t, 4*mega)
			if end == "SIGTERM" {
				must(t, n2.Stop(within(t)))
			} else {
				must(t, n2.Kill())
			}
			must(t, n2.Start(within(t)))
			ready := time.Now()
			tr.progress(t, 4*mega)
			t.Logf("TCP stood still for %s", tr.end(t))
			reach(t, n1, n2)
			if took := time.Since(ready); took >= callDue {
				t.Errorf("it took %s: the node did not call on a peer that sent to its old session", took)
			}
			now := [2]string{deviceOf(t, n2, "flannel-wg").String(), deviceOf(t, n2, "flannel-wg-v6").String()}
			if now != was {
				t.Errorf("devices %v, were %v", now, was)
			}
		})
	}
}

// Where the network loses every tenth datagram, what TCP carries is whole.
func TestWireGuardLossyWire(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreDir, NetConf: wgConf("46", "")})
	n1, n2 := l.Nodes[0], l.Nodes[1]
	rules := "table inet lossy { counter lost { }\nchain in { type filter hook prerouting priority -300;\n" +
		"udp dport { 51820, 51821 } numgen inc mod 10 0 counter name lost drop; }; }\n"
	file := t.TempDir() + "/lossy.nft"
	must(t, os.WriteFile(file, []byte(rules), 0o644))
	for _, n := range l.Nodes {
		if out, err := n.Host.Exec(within(t), "nft", "-f", file); err != nil {
			t.Skipf("no way to lose datagrams here: %v %s", err, out)
		}
	}
	must(t, l.SetWire(true)) // superpackets would be lost whole
	must(t, l.Up(within(t)))
	for family, a := range addrs(n2) {
		transfer(t, n1, n2, a, mega)
		echoSizes(t, n1.Pod, addrs(n1)[family], startEcho(t, n2.Pod, a), []int{1, 100, 1372, 5000})
	}
	for _, n := range l.Nodes {
		out := string(get(t, func() ([]byte, error) { return n.Host.Exec(within(t), "nft", "list", "counters") }))
		fields := strings.Fields(out)
		if at := slices.Index(fields, "packets"); at < 0 || len(fields[at+1]) < 2 {
			t.Errorf("%s: lost next to nothing: %s", n.Name, out)
		}
	}
}
