package main

import (
	"errors"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"weft/engine"
	"weft/engine/iface"
	"weft/tunnel/wg"
)

// newFlagSet defines all flags on a bare set that fills o.
func newFlagSet(o *options) *pflag.FlagSet {
	fs := pflag.NewFlagSet("up", pflag.ContinueOnError)
	for _, g := range flagTable(o) {
		g.addTo(fs)
	}
	return fs
}

func TestEngineOptions(t *testing.T) {
	tests := []struct {
		args string
		want engine.Options
	}{
		{"", engine.Options{
			Version: "dev", StoreKind: "etcd", StoreWhere: "http://127.0.0.1:4001,http://127.0.0.1:2379",
			SubnetFile: "/run/flannel/subnet.env", RandomFully: true, ForwardRules: true,
			RulesResync: 5 * time.Second, TunMode: "auto", SourceCheck: "strict",
			ProbeInterval: 10 * time.Second, SocketDir: "/var/run/wireguard",
		}},
		{"--iface a,b --iface=c --iface-regex x{1,2} --iface-can-reach 10.0.0.1 --public-ip 10.0.0.2 --public-ipv6 fd00::2 " +
			"--subnet-file f --ip-masq --ip-masq-fully-random-disable --iptables-forward-rules=false " +
			"--iptables-resync 30 --ip-blackhole-route --tun-mode plain --source-check off --gbp-policy 0,7 --peer-port udp=9000,vxlan=1 --peer-port vxlan=4789 " +
			"--wireguard-socket-dir d --probe-interval 0 --node-name n7 --leases l",
			engine.Options{
				Name: "n7", Version: "dev", StoreKind: "file", StoreWhere: "l",
				Iface: iface.Options{
					Iface: []string{"a", "b", "c"}, IfaceRegex: []string{"x{1,2}"},
					CanReach: "10.0.0.1", PublicIP: "10.0.0.2", PublicIPv6: "fd00::2",
				},
				SubnetFile: "f", IPMasq: true, RulesResync: 30 * time.Second, Blackhole: true,
				TunMode: "plain", SourceCheck: "off", GBPPolicy: "0,7",
				PeerPorts: map[string]uint16{"udp": 9000, "vxlan": 4789},
				SocketDir: "d", ProbeInterval: -1,
			}},
	}
	for _, tt := range tests {
		o := defaultOptions()
		if err := newFlagSet(o).Parse(strings.Fields(tt.args)); err != nil {
			t.Fatal(err)
		}
		got := o.engineOptions()
		if got.Key == nil {
			t.Errorf("%q: the engine cannot ask for a key", tt.args)
		}
		got.Key = nil // functions cannot be compared; see TestWireGuardKeyFile
		if !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q:\ngot  %+v\nwant %+v", tt.args, got, tt.want)
		}
	}
}

func TestEndpoints(t *testing.T) {
	o := defaultOptions()
	fs := newFlagSet(o)
	if err := fs.Parse([]string{"--etcd-endpoints", " http://a:1 ,, https://[fd00::1]:3 "}); err != nil {
		t.Fatal(err)
	}
	want := []string{"http://a:1", "https://[fd00::1]:3"}
	if !slices.Equal(o.etcdEndpoints, want) {
		t.Errorf("got %q, want %q", o.etcdEndpoints, want)
	}
	if err := fs.Parse([]string{"--etcd-endpoints", "http://c:4"}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"http://c:4"}; !slices.Equal(o.etcdEndpoints, want) {
		t.Errorf("a second use left %q, want %q alone, as with flanneld", o.etcdEndpoints, want)
	}
}

func TestNodeName(t *testing.T) {
	o := defaultOptions()
	if err := o.resolve([]string{"NODE_NAME=n1"}); err != nil || o.nodeName != "n1" {
		t.Errorf("name %q, err %v; want that of $NODE_NAME", o.nodeName, err)
	}
	o.nodeName = "n2"
	if err := o.resolve([]string{"NODE_NAME=n1"}); err != nil || o.nodeName != "n2" {
		t.Errorf("name %q, err %v; want that of the flag", o.nodeName, err)
	}
	o.nodeName = ""
	if err := o.resolve(nil); err != nil || o.nodeName == "" {
		t.Errorf("name %q, err %v; want the host's", o.nodeName, err)
	}
}

// The flag counts before WIREGUARD_KEY_FILE, which is flannel's; FLANNELD_ and
// the flag's name do as well.
func TestWireGuardKeyFile(t *testing.T) {
	dir := t.TempDir()
	byFlag, byEnv := filepath.Join(dir, "flag"), filepath.Join(dir, "env")
	for _, tt := range []struct {
		args    string
		environ []string
		want    string
	}{
		{"--wireguard-key-file " + byFlag, nil, byFlag},
		{"", []string{"WIREGUARD_KEY_FILE=" + byEnv}, byEnv},
		{"--wireguard-key-file " + byFlag, []string{"WIREGUARD_KEY_FILE=" + byEnv}, byFlag},
		{"", []string{"WIREGUARD_KEY_FILE=" + byEnv, "FLANNELD_WIREGUARD_KEY_FILE=" + byFlag}, byFlag},
	} {
		o := defaultOptions()
		fs := newFlagSet(o)
		if err := errors.Join(fs.Parse(strings.Fields(tt.args)), readEnvironment(fs, o, tt.environ), o.resolve(tt.environ)); err != nil {
			t.Fatal(err)
		}
		got, err := o.engineOptions().Key()
		if err != nil || got.Path != tt.want || got.Why == "" {
			t.Errorf("%q, %q: key in %q (%s), %v; want %q", tt.args, tt.environ, got.Path, got.Why, err, tt.want)
		}
	}
	flagKey, err := wg.LoadKey(byFlag)
	if err != nil {
		t.Fatal(err)
	}
	if envKey, err := wg.LoadKey(byEnv); err != nil || envKey.Key == flagKey.Key {
		t.Errorf("both files hold one key, or none: %v", err)
	}
}
