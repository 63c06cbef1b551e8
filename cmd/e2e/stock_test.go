package e2e

import (
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/lease"
)

// A stockPeer stands in for a node that runs stock flanneld with its udp
// backend: one socket on port 8285, whose payloads are inner packets as they
// are; each side subtracts one from the TTL, and a node's kernel one more. It
// was written from the format, not with weft's code.
type stockPeer struct {
	s   *socket
	pod netip.Addr
}

func startStock(t *testing.T, l *lab.Lab) stockPeer {
	t.Helper()
	addr := netip.MustParseAddr("10.99.0.202")
	s := openUDP(t, plug(t, l, "stock", addr), netip.AddrPortFrom(addr, 8285))
	return stockPeer{s, netip.MustParseAddr("10.244.202.2")}
}

// hop subtracts one from the TTL as the kernel and flannel's proxy do: by
// adding 0x0100 to the checksum with the carry (RFC 1141).
func hop(p []byte) {
	p[8]--
	c := uint32(binary.BigEndian.Uint16(p[10:])) + 0x0100
	binary.BigEndian.PutUint16(p[10:], uint16(c+c>>16))
}

// receive returns the next packet for the peer's pod as it is on the wire.
func (sp stockPeer) receive(t *testing.T) []byte {
	t.Helper()
	buf := make([]byte, 2048)
	n, from, err := sp.s.receive(within(t), buf)
	must(t, err)
	if from != netip.MustParseAddrPort("10.99.0.1:8285") {
		t.Errorf("a datagram from %s, want port 8285 of the node", from)
	}
	return buf[:n]
}

// icmpEcho makes an ICMP echo request (type 8) or reply (0); rest begins with
// identifier and sequence number.
func icmpEcho(src, dst netip.Addr, ttl, typ byte, rest []byte) []byte {
	p := make([]byte, 24, 24+len(rest))
	p[0], p[8], p[9], p[6] = 0x45, ttl, unix.IPPROTO_ICMP, 0x40
	binary.BigEndian.PutUint16(p[2:], uint16(24+len(rest)))
	copy(p[12:], src.AsSlice())
	copy(p[16:], dst.AsSlice())
	binary.BigEndian.PutUint16(p[10:], ^fold(sum(p[:20])))
	p[20] = typ
	p = append(p, rest...)
	binary.BigEndian.PutUint16(p[22:], ^fold(sum(p[20:])))
	return p
}

func TestStockPeer(t *testing.T) {
	l := newLab(t, lab.Options{Nodes: 1, Env: quiet, Store: lab.StoreEtcd})
	must(t, l.StartEtcd(within(t)))
	n := l.Nodes[0]
	c := etcdClient(t, l)
	put(t, c, "10.244.202.0-24", udpLease("10.99.0.202"))
	must(t, n.Start(within(t)))
	mark{n, 0}.await(t, "peer added", "10.244.202.0-24")
	if got := leases(t, c)["10.244.1.0-24"].value; got != `{"PublicIP":"10.99.0.1","PublicIPv6":null}` {
		t.Errorf("weft's own lease reads %s", got)
	}
	sp := startStock(t, l)
	t.Run("weft pings stock", func(t *testing.T) { sp.answers(t, n) })
	t.Run("stock pings weft", func(t *testing.T) { sp.asks(t, n) })
	t.Run("unfinished checksums", func(t *testing.T) { sp.unfinished(t, n) })
	t.Run("time exceeded", func(t *testing.T) { sp.expires(t, n) })
}

// answers lets the pod ping the peer's pod: 64 leaves as 62.
func (sp stockPeer) answers(t *testing.T, n *lab.Node) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for buf := make([]byte, 2048); ; {
			k, _, err := sp.s.receive(t.Context(), buf)
			if err != nil || k < 24 {
				return
			}
			p := slices.Clone(buf[:k])
			if p[20] != 8 {
				continue
			}
			if p[8] != 62 || fold(sum(p[:20])) != 0xffff {
				t.Errorf("on the wire with TTL %d and header sum %x, want 62 and ffff", p[8], fold(sum(p[:20])))
			}
			hop(p) // the peer's proxy, and then its pod answers
			r := icmpEcho(sp.pod, n.PodAddr(), 64, 0, p[24:])
			hop(r)
			hop(r)
			if err := sp.s.sendTo(r, tunnelOf(n)); err != nil {
				t.Error(err)
			}
			return
		}
	}()
	awaitPing(t, n.Pod, sp.pod)
	<-done
}

// asks pings the pod; the answer must be what stock flannel would have sent,
// byte for byte but for the IP identification.
func (sp stockPeer) asks(t *testing.T, n *lab.Node) {
	rest, err := hex.DecodeString("12340001" + hex.EncodeToString([]byte("abcdefgh")))
	must(t, err)
	must(t, sp.s.sendTo(icmpEcho(sp.pod, n.PodAddr(), 62, 8, rest), tunnelOf(n)))
	got := sp.receive(t)
	want := icmpEcho(n.PodAddr(), sp.pod, 62, 0, rest)
	copy(want[4:8], got[4:8]) // identification and DF are the pod's choice
	binary.BigEndian.PutUint16(want[10:], 0)
	binary.BigEndian.PutUint16(want[10:], ^fold(sum(want[:20])))
	if string(got) != string(want) {
		t.Errorf("the answer on the wire is\n%x, want\n%x", got, want)
	}
}

// unfinished sends packets whose UDP checksum is only the sum of the pseudo
// header, as a peer's kernel hands them over when it leaves the rest to a
// network card that is not there.
func (sp stockPeer) unfinished(t *testing.T, n *lab.Node) {
	in := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	for _, size := range []int{1, 2, 3, 100, 1443, 1444} {
		b := payload(size)
		p := inner4(netip.AddrPortFrom(sp.pod, 7), in.addr, 62, b)
		pseudo := slices.Concat(p[12:20], []byte{0, unix.IPPROTO_UDP}, p[24:26])
		binary.BigEndian.PutUint16(p[26:], fold(sum(pseudo)))
		must(t, sp.s.sendTo(p, tunnelOf(n)))
		buf := make([]byte, 2048)
		k, from, err := in.receive(within(t), buf)
		if err != nil || string(buf[:k]) != string(b) || from.Addr() != sp.pod {
			t.Fatalf("of %d bytes %d arrived from %s: %v", size, k, from, err)
		}
		wrong := inner4(netip.AddrPortFrom(sp.pod, 7), in.addr, 62, b)
		binary.BigEndian.PutUint16(wrong[26:], fold(sum(pseudo))^0x5555)
		must(t, sp.s.sendTo(wrong, tunnelOf(n)))
	}
	sp.ping(t, n) // after the wrong ones
	if k, _, err := unix.Recvfrom(in.fd, make([]byte, 2048), 0); err != unix.EAGAIN {
		t.Errorf("%d bytes with a wrong checksum were delivered (%v)", k, err)
	}
}

func (sp stockPeer) ping(t *testing.T, n *lab.Node) {
	t.Helper()
	must(t, sp.s.sendTo(icmpEcho(sp.pod, n.PodAddr(), 62, 8, []byte{1, 2, 3, 4}), tunnelOf(n)))
	if got := sp.receive(t); len(got) != 28 || got[20] != 0 {
		t.Errorf("no echo reply but %x", got)
	}
}

// expires sends packets that die at weft (TTL 1) and in its kernel (2); stock
// flannel is silent about the first.
func (sp stockPeer) expires(t *testing.T, n *lab.Node) {
	for _, ttl := range []byte{1, 2} {
		p := icmpEcho(sp.pod, n.PodAddr(), ttl, 8, []byte{0, 0, 0, ttl})
		must(t, sp.s.sendTo(p, tunnelOf(n)))
		got := sp.receive(t)
		if len(got) < 28+28 || got[20] != 11 || string(got[12:20]) != string(slices.Concat([]byte{10, 244, 1, 0}, sp.pod.AsSlice())) {
			t.Errorf("TTL %d: answered by %x, want time exceeded from 10.244.1.0", ttl, got)
		}
	}
}

// The same binary under the name of flanneld: flags with one dash, and the
// rest from the environment.
func TestCalledAsFlanneld(t *testing.T) {
	link := t.TempDir() + "/flanneld"
	must(t, symlink(weft, link))
	l := newLab(t, lab.Options{Nodes: 2, Store: lab.StoreEtcd,
		Env: []string{"FLANNELD_ETCD_ENDPOINTS=http://" + switchAddr.String() + ":2379", "FLANNELD_IP_MASQ=true", "FLANNELD_IFACE=nonsense"},
		Command: func(n *lab.Node) []string {
			return []string{link, "-iface=eth0", "-subnet-file", n.SubnetFile(), "-healthz-port", "8081", "--v=1",
				"-iptables-resync=2", "-kube-annotation-prefix=x.y", "-etcd-prefix=/coreos.com/network"}
		}})
	must(t, l.Up(within(t)))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	everything(t, n1, n2, 8*mega, 397)
	masqueraded(t, l, n1)
	if _, body := health(t, n1, "/healthz"); body != "flanneld is running" {
		t.Errorf("/healthz: %q", body)
	}
	env, err := lease.ReadEnv(n1.SubnetFile())
	must(t, err)
	if !env.IPMasq {
		t.Errorf("subnet.env: %+v", env)
	}
	for args, code := range map[string]int{"-version": 0, "-help": 0, "-no-such-flag": 2, "-healthz-port=x": 2, "-iface=eth0 extra": 2} {
		if _, err := n1.Host.Exec(within(t), append([]string{link}, strings.Fields(args)...)...); exitCode(err) != code {
			t.Errorf("flanneld %s: %v, want exit code %d", args, err, code)
		}
	}
}
