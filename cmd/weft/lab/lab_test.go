package lab

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"weft/cmd/weft/lab/probe"
)

// newLab makes a lab of stand-in nodes that is not up yet.
func newLab(t *testing.T, o Options) *Lab {
	t.Helper()
	o.Dir = t.TempDir()
	if o.Store == "" {
		o.Store = StoreDir
	}
	l, err := New(o)
	if errors.Is(err, syscall.EPERM) {
		t.Skip("needs root:", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	})
	return l
}

func limited(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestUp(t *testing.T) {
	ctx := limited(t)
	l := newLab(t, Options{Nodes: 3, IPv6: true})
	must(t, l.Up(ctx))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	if n2.PodAddr() != netip.MustParseAddr("10.244.2.2") || n2.Env().MTU != 1472 {
		t.Errorf("n2: pod %s, %+v", n2.PodAddr(), n2.Env())
	}
	out, err := n1.Pod.Exec(ctx, "/bin/sh", "-c", "echo $WEFT_N2 $WEFT_N2_6 $WEFT_N3_HOST")
	must(t, err)
	if want := n2.PodAddr().String() + " " + n2.PodAddr6().String() + " 10.99.0.3\n"; string(out) != want {
		t.Errorf("environment %q, want %q", out, want)
	}
	for _, to := range []netip.Addr{n2.PodAddr(), n2.PodAddr6(), n2.Underlay} {
		if trips := ping(t, n1.Pod, to); trips.Received != 2 {
			t.Errorf("ping %s: %+v", to, trips)
		}
	}
}

func ping(t *testing.T, from *Place, to netip.Addr) (trips probe.Trips) {
	t.Helper()
	out, err := from.Exec(limited(t), from.lab.Tool("ping", "-c2", "-i1ms", to.String())...)
	must(t, err)
	must(t, json.Unmarshal(out, &trips))
	return trips
}

func TestNodeLife(t *testing.T) {
	ctx := limited(t)
	l := newLab(t, Options{Nodes: 2})
	must(t, l.Up(ctx))
	n := l.Nodes[1]
	was := n.Env()
	if err := n.Start(ctx); err == nil {
		t.Error("a second Start was accepted")
	}
	must(t, n.Stop(ctx))
	if n.Running() {
		t.Error("running after Stop")
	}
	must(t, n.Stop(ctx)) // not running: nothing to do
	must(t, n.Start(ctx))
	must(t, n.Kill())
	must(t, n.Start(ctx))
	if n.Env() != was {
		t.Errorf("after restarts %+v, before %+v", n.Env(), was)
	}
	must(t, l.Reach(ctx))
}

func TestFailingNodeIsExplained(t *testing.T) {
	l := newLab(t, Options{Nodes: 2, Env: []string{"STANDIN_FAILS=n2"}})
	err := l.Up(limited(t))
	if err == nil {
		t.Fatal("the lab came up")
	}
	for _, want := range []string{"n2", "exit status 1", "told to fail", l.Nodes[1].LogFile()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("error lacks %q: %v", want, err)
		}
	}
}

func TestRewire(t *testing.T) {
	l := newLab(t, Options{Nodes: 1})
	n := l.Nodes[0]
	must(t, n.Start(limited(t)))
	must(t, n.Stop(limited(t)))
	e := n.Env()
	e.Subnet = netip.MustParsePrefix("10.244.77.0/24")
	must(t, os.WriteFile(n.SubnetFile(), e.Format(), 0o644))
	must(t, n.Start(limited(t)))
	if got := n.PodAddr().String(); got != "10.244.77.2" {
		t.Errorf("pod at %s after the subnet changed", got)
	}
	if trips := ping(t, n.Host, n.PodAddr()); trips.Received != 2 {
		t.Errorf("the node does not reach its pod: %+v", trips)
	}
}

func TestUnplugAndMTU(t *testing.T) {
	ctx := limited(t)
	l := newLab(t, Options{Nodes: 2})
	must(t, l.Up(ctx))
	n := l.Nodes[1]
	must(t, n.SetMTU(1300))
	must(t, l.SetWire(true))
	must(t, l.Reach(ctx))
	must(t, n.Unplug())
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := l.Reach(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Reach over an unplugged wire: %v", err)
	}
	must(t, n.Plug())
	must(t, l.SetWire(false))
	must(t, l.Reach(ctx))
}

func TestEtcd(t *testing.T) {
	ctx := limited(t)
	l := newLab(t, Options{Nodes: 1, Store: StoreEtcd})
	must(t, l.StartEtcd(ctx))
	if err := l.StartEtcd(ctx); err == nil {
		t.Error("a second StartEtcd was accepted")
	}
	must(t, l.StopEtcd(ctx))
	must(t, l.StartEtcd(ctx))
	if _, err := os.Stat(filepath.Join(l.opt.Dir, "etcd", "member")); err != nil {
		t.Error("no data of etcd:", err)
	}
	must(t, l.StopEtcd(ctx))
	must(t, l.StopEtcd(ctx))
	dir := newLab(t, Options{Nodes: 1, Store: StoreDir})
	if err := dir.StartEtcd(ctx); err == nil {
		t.Error("StartEtcd of a lab without one was accepted")
	}
}

func TestOptions(t *testing.T) {
	for want, o := range map[string]Options{
		`"a/b"`:      {Name: "a/b", Dir: "/x"},
		"251 nodes":  {Nodes: 251, Dir: "/x"},
		"directory":  {},
		`"disk"`:     {Store: "disk", Dir: "/x"},
		"10.0.0.0/8": {Network: netip.MustParsePrefix("10.0.0.0/8"), Dir: "/x"},
		"net-conf":   {NetConf: []byte("{"), Dir: "/x"},
		"fd99::/48":  {IPv6: true, Network6: netip.MustParsePrefix("fd99::/48"), Dir: "/x"},
		"-1 nodes":   {Nodes: -1, Dir: "/x"},
	} {
		if _, _, err := o.withDefaults(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want it to name %s", o, err, want)
		}
	}
}

func TestNodeCommandLine(t *testing.T) {
	o := Options{Dir: "/x", Weft: "/weft", TunMode: "plain", SourceCheck: "off", UpArgs: []string{"--v=1"}}
	o, cfg, err := o.withDefaults()
	must(t, err)
	l := &Lab{opt: o, cfg: cfg}
	node := func(i int) string {
		return strings.Join(l.command(&Node{Name: "nX", Index: i, dir: "/x/nX", lab: l}), " ")
	}
	const common = "/weft up --iface=eth0 --node-name=nX --subnet-file=/x/nX/subnet.env "
	const rest = " --tun-mode=plain --source-check=off --v=1"
	want1 := common + "--etcd-embedded --etcd-embedded-listen=http://10.99.0.1:2379 --etcd-embedded-dir=/x/nX/etcd --net-config-path=/x/net-conf.json" + rest
	if got := node(1); got != want1 {
		t.Errorf("n1: %s\nwant %s", got, want1)
	}
	if got, want := node(2), common+"--etcd-endpoints=http://10.99.0.1:2379"+rest; got != want {
		t.Errorf("n2: %s\nwant %s", got, want)
	}
	l.opt.Store = StoreEtcd
	if got, want := node(1), common+"--etcd-endpoints=http://10.99.0.251:2379"+rest; got != want {
		t.Errorf("n1: %s\nwant %s", got, want)
	}
}
