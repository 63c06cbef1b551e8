package main

import (
	"maps"
	"slices"
	"testing"

	"github.com/spf13/pflag"
)

// flanneldFlags are flanneld's flags and their defaults (flannel v0.28.9,
// main.go and klog).
var flanneldFlags = map[string]string{
	"etcd-endpoints":               "http://127.0.0.1:4001,http://127.0.0.1:2379",
	"etcd-prefix":                  "/coreos.com/network",
	"etcd-keyfile":                 "",
	"etcd-certfile":                "",
	"etcd-cafile":                  "",
	"etcd-username":                "",
	"etcd-password":                "",
	"iface":                        "",
	"iface-regex":                  "",
	"iface-can-reach":              "",
	"public-ip":                    "",
	"public-ipv6":                  "",
	"subnet-file":                  "/run/flannel/subnet.env",
	"subnet-lease-renew-margin":    "60",
	"ip-masq":                      "false",
	"ip-masq-fully-random-disable": "false",
	"iptables-forward-rules":       "true",
	"iptables-resync":              "5",
	"ip-blackhole-route":           "false",
	"kube-subnet-mgr":              "false",
	"kube-api-url":                 "",
	"kubeconfig-file":              "",
	"kube-annotation-prefix":       "flannel.alpha.coreos.com",
	"net-config-path":              "/etc/kube-flannel/net-conf.json",
	"set-node-network-unavailable": "true",
	"healthz-ip":                   "0.0.0.0",
	"healthz-port":                 "0",
	"version":                      "false",
	"v":                            "0",
	"vmodule":                      "",
	"log_backtrace_at":             "",
}

// weftFlags are the daemon's flags that flanneld does not have.
var weftFlags = map[string]string{
	"leases":               "",
	"node-name":            "",
	"etcd-embedded":        "false",
	"etcd-embedded-dir":    "/var/lib/weft/etcd",
	"etcd-embedded-listen": "http://127.0.0.1:2379",
	"tun-mode":             "auto",
	"source-check":         "strict",
	"gbp-policy":           "",
	"peer-port":            "",
	"wireguard-key-file":   "",
	"wireguard-socket-dir": "/var/run/wireguard",
	"log-format":           "text",
	"metrics":              "true",
	"socket":               "",
	"socket-group":         "",
	"probe-interval":       "10",
}

func TestFlagTable(t *testing.T) {
	want := maps.Clone(flanneldFlags)
	maps.Copy(want, weftFlags)
	got := make(map[string]string)
	upFlags(t).VisitAll(func(f *pflag.Flag) {
		got[f.Name] = f.DefValue
		if f.Usage == "" {
			t.Errorf("--%s has no help text", f.Name)
		}
	})
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if def, ok := got[name]; !ok {
			t.Errorf("--%s is missing", name)
		} else if def != want[name] {
			t.Errorf("--%s: default %q, want %q", name, def, want[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			t.Errorf("--%s is neither flanneld's nor in the list of ours", name)
		}
	}
}

// TestDefaultsPassTheirChecks sets each flag to its own default, which any
// script that spells out the defaults does.
func TestDefaultsPassTheirChecks(t *testing.T) {
	fs := upFlags(t)
	fs.VisitAll(func(f *pflag.Flag) {
		if f.Value.Type() == "list" && f.DefValue == "" {
			return // a repeatable flag: its default is not to be given
		}
		if err := fs.Set(f.Name, f.DefValue); err != nil {
			t.Error(err)
		}
		if got := f.Value.String(); got != f.DefValue {
			t.Errorf("--%s=%s became %q", f.Name, f.DefValue, got)
		}
	})
}

// upFlags returns the flags of a fresh `weft up`.
func upFlags(t *testing.T) *pflag.FlagSet {
	t.Helper()
	return (&app{}).upCommand("up").Flags()
}
