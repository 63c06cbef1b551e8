package e2e

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
	"weft/cmd/weft/lab/probe"
)

// device describes flannel0, or one of its like, and what hangs on it,
// link-local addresses aside.
type device struct {
	index, mtu    int
	addrs, routes []string
}

func (d device) String() string {
	return fmt.Sprintf("index %d, mtu %d, %s; %s", d.index, d.mtu, strings.Join(d.addrs, " "), strings.Join(d.routes, "; "))
}

func flannel0(t testing.TB, n *lab.Node) device {
	t.Helper()
	return deviceOf(t, n, "flannel0")
}

func deviceOf(t testing.TB, n *lab.Node, name string) (d device) {
	t.Helper()
	nl := n.Host.Netlink()
	link := get(t, func() (netlink.Link, error) { return nl.LinkByName(name) })
	d.index, d.mtu = link.Attrs().Index, link.Attrs().MTU
	for _, a := range get(t, func() ([]netlink.Addr, error) { return nl.AddrList(link, netlink.FAMILY_ALL) }) {
		if !a.IP.IsLinkLocalUnicast() {
			d.addrs = append(d.addrs, a.IPNet.String())
		}
	}
	for _, r := range get(t, func() ([]netlink.Route, error) {
		return nl.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{LinkIndex: d.index, Table: unix.RT_TABLE_MAIN},
			netlink.RT_FILTER_OIF|netlink.RT_FILTER_TABLE)
	}) {
		if r.Protocol == unix.RTPROT_KERNEL || r.Dst.IP.IsMulticast() {
			continue
		}
		d.routes = append(d.routes, fmt.Sprintf("%s gw %v src %v scope %v metric %d", r.Dst, r.Gw, r.Src, r.Scope, r.Priority))
	}
	slices.Sort(d.addrs)
	slices.Sort(d.routes)
	return d
}

// testFiles checks subnet.env byte for byte, and the address and routes that
// flannel's udp backend gives its device.
func testFiles(t *testing.T, n *lab.Node) {
	b, err := os.ReadFile(n.SubnetFile())
	must(t, err)
	want := "FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.2.1/24\n" +
		"FLANNEL_IPV6_NETWORK=fd00:244::/48\nFLANNEL_IPV6_SUBNET=fd00:244:0:2::1/64\n" +
		"FLANNEL_MTU=1472\nFLANNEL_IPMASQ=false\n"
	if string(b) != want {
		t.Errorf("subnet.env:\n%swant:\n%s", b, want)
	}
	st, err := os.Stat(n.SubnetFile())
	must(t, err)
	if st.Mode() != 0o644 {
		t.Errorf("subnet.env has mode %v", st.Mode())
	}
	d := flannel0(t, n)
	d.index = 0
	const wantDevice = "index 0, mtu 1472, 10.244.2.0/32 fd00:244:0:2::/128; " +
		"10.244.0.0/16 gw <nil> src <nil> scope universe metric 0; fd00:244::/48 gw <nil> src <nil> scope universe metric 1024"
	if d.String() != wantDevice {
		t.Errorf("flannel0: %s\nwant %s", d, wantDevice)
	}
}

// testDeviceDeleted takes the device away under traffic.
func testDeviceDeleted(t *testing.T, n1, n2 *lab.Node) {
	tr := begin(t, n1, n2, n2.PodAddr(), 0)
	tr.progress(t, 4*mega)
	was, m := flannel0(t, n2), markLog(t, n2)
	link := get(t, func() (netlink.Link, error) { return n2.Host.Netlink().LinkByName("flannel0") })
	must(t, n2.Host.Netlink().LinkDel(link))
	m.await(t, "data plane open")
	tr.progress(t, 16*mega)
	t.Logf("traffic stood still for %s", tr.end(t))
	reach(t, n1, n2)
	now := flannel0(t, n2)
	if now.index == was.index {
		t.Error("the device is still the same; was it deleted?")
	}
	now.index = was.index
	if now.String() != was.String() {
		t.Errorf("flannel0 came back as %s, was %s", now, was)
	}
}

// testRestart ends and starts a node under traffic, gently and by force.
func testRestart(t *testing.T, n1, n2 *lab.Node) {
	for _, end := range []string{"SIGTERM", "SIGKILL"} {
		t.Run(end, func(t *testing.T) {
			tr := begin(t, n1, n2, n2.PodAddr(), 0)
			tr.progress(t, 8*mega)
			ping := startPinger(t, n1.Pod, n2.PodAddr())
			was, env, m := flannel0(t, n2), n2.Env(), markLog(t, n2)
			start := time.Now()
			if end == "SIGTERM" {
				must(t, n2.Stop(within(t)))
				if took := time.Since(start); took > time.Second {
					t.Errorf("it took %s to stop, promised is one second", took)
				}
				if late := m.find(t, "has not stopped in time"); late != nil {
					t.Errorf("it left the node behind: %v", late)
				}
			} else {
				must(t, n2.Kill())
			}
			down := time.Since(start)
			if left := flannel0(t, n2); left.String() != was.String() {
				t.Errorf("flannel0 after the end: %s, was %s", left, was)
			}
			must(t, n2.Start(within(t)))
			up := time.Since(start)
			if now := flannel0(t, n2); now.String() != was.String() {
				t.Errorf("flannel0 after the start: %s, was %s", now, was)
			}
			if n2.Env() != env {
				t.Errorf("subnet.env %+v, was %+v", n2.Env(), env)
			}
			tr.progress(t, 16*mega)
			gap, lost := ping.end(t)
			t.Logf("down after %s, ready after %s; no ping for %s (%d lost), TCP stood still for %s", down, up, gap, lost, tr.end(t))
			if gap > 10*time.Second {
				t.Errorf("pods did not reach each other for %s", gap)
			}
		})
	}
}

// A pinger pings as fast as replies come, and remembers the longest silence.
type pinger struct {
	cancel context.CancelFunc
	done   chan error
	gap    time.Duration
	trips  probe.Trips
}

func startPinger(t testing.TB, from *lab.Place, to netip.Addr) *pinger {
	t.Helper()
	var p *probe.Pinger
	must(t, from.Do(func() (err error) { p, err = probe.NewPinger(to.Is6()); return }))
	ctx, cancel := context.WithCancel(t.Context())
	pr := &pinger{cancel: cancel, done: make(chan error, 1)}
	go func() {
		defer p.Close()
		last := time.Now()
		var err error
		pr.trips, err = p.Ping(ctx, probe.Echo{To: to, Count: 1 << 30, Interval: 2 * time.Millisecond, Timeout: 100 * time.Millisecond},
			func(int, time.Duration) {
				now := time.Now()
				pr.gap, last = max(pr.gap, now.Sub(last)), now
			})
		pr.done <- err
	}()
	t.Cleanup(cancel)
	return pr
}

func (p *pinger) end(t testing.TB) (gap time.Duration, lost int) {
	t.Helper()
	p.cancel()
	if err := <-p.done; !errors.Is(err, context.Canceled) {
		t.Errorf("ping: %v", err)
	}
	return p.gap, p.trips.Sent - p.trips.Received
}

// health asks a node's health server from the node itself.
func health(t testing.TB, n *lab.Node, path string) (code int, body string) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, addr string) (c net.Conn, err error) {
			err = n.Host.Do(func() error { c, err = new(net.Dialer).DialContext(ctx, network, addr); return err })
			return c, err
		}}}
	req, err := http.NewRequestWithContext(within(t), "GET", "http://127.0.0.1:"+strconv.Itoa(healthPort)+path, nil)
	must(t, err)
	r, err := client.Do(req)
	must(t, err)
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	must(t, err)
	return r.StatusCode, string(b)
}

// awaitReady asks until the node says that it is ready. Nothing but the answer
// tells of it.
func awaitReady(t testing.TB, n *lab.Node) {
	t.Helper()
	again := time.NewTicker(50 * time.Millisecond)
	defer again.Stop()
	for ctx := within(t); ; {
		code, body := health(t, n, "/readyz")
		if code == http.StatusOK {
			return
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			t.Fatalf("%s: /readyz: %d %q for %s", n.Name, code, body, limit)
		}
	}
}

func testHealth(t *testing.T, n *lab.Node) {
	for _, c := range []struct {
		path, body string
		code       int
	}{
		{"/healthz", "flanneld is running", 200},
		{"/readyz", "flanneld is ready", 200},
		{"/status", "404 page not found\n", 404},
	} {
		if code, body := health(t, n, c.path); code != c.code || body != c.body {
			t.Errorf("%s: %d %q, want %d %q", c.path, code, body, c.code, c.body)
		}
	}
	if code, body := health(t, n, "/metrics"); code != 200 || !strings.Contains(body, "\nweft_up 1\n") {
		t.Errorf("/metrics: %d, %d bytes", code, len(body))
	}
	m := markLog(t, n)
	must(t, n.Host.Addresses("eth0", netip.PrefixFrom(n.Underlay6, 64)))
	m.await(t, "underlay interface has changed")
	if code, body := health(t, n, "/readyz"); code != 503 || !strings.Contains(body, "underlay interface") {
		t.Errorf("/readyz without the address: %d %q", code, body)
	}
	if code, _ := health(t, n, "/healthz"); code != 200 {
		t.Errorf("/healthz without the address: %d", code)
	}
	must(t, n.Host.Addresses("eth0", netip.PrefixFrom(n.Underlay, 24), netip.PrefixFrom(n.Underlay6, 64)))
	m.await(t, "underlay interface is back")
	if code, body := health(t, n, "/readyz"); code != 200 {
		t.Errorf("/readyz with the address back: %d %q", code, body)
	}
}
