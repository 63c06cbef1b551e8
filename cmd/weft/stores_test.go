package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	confA = `{"Network": "10.5.0.0/16"}`
	confB = `{"Network": "10.6.0.0/16"}`
)

var discard = slog.New(slog.DiscardHandler)

// writeConf returns the path of a new file that holds text.
func writeConf(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "net-conf.json")
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return name
}

// network opens the store that o names, reads its configuration and closes it.
func network(t *testing.T, o *options) netip.Prefix {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	st, err := openStore(ctx, o, discard)
	if err != nil {
		t.Fatal(err)
	}
	c, err := st.registrar.Config(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Error(err)
	}
	return c.Network
}

// TestSeed: the first configuration that a store gets is the one it keeps.
func TestSeed(t *testing.T) {
	stores := map[string]func(*options){
		"leases": func(o *options) { o.leases = filepath.Join(t.TempDir(), "net") },
		"etcd-embedded": func(o *options) {
			o.etcdEmbedded, o.etcdEmbeddedDir, o.etcdEmbeddedListen = true, t.TempDir(), "http://127.0.0.1:0"
		},
	}
	for name, choose := range stores {
		t.Run(name, func(t *testing.T) {
			o := defaultOptions()
			o.nodeName = "n1"
			choose(o)
			for _, conf := range []string{confA, confB} {
				o.netConfigPath = writeConf(t, conf)
				if got := network(t, o); got.String() != "10.5.0.0/16" {
					t.Errorf("seeded with %s, the store says %s", conf, got)
				}
			}
		})
	}
}

// TestSeedFolderRace: many nodes start at once; one configuration is stored,
// whole, and nothing else is left behind.
func TestSeedFolderRace(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			o := defaultOptions()
			o.leases, o.nodeName = dir, fmt.Sprintf("n%d", i)
			conf := fmt.Sprintf(`{"Network": "10.%d.0.0/16"}`, i)
			if err := seedFolder(o, []byte(conf), discard); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 || left[0].Name() != "net-conf.json" {
		t.Errorf("left in the folder: %v, err %v", left, err)
	}
	o := defaultOptions()
	o.leases = dir
	if got := network(t, o); got.Bits() != 16 {
		t.Errorf("network %s", got)
	}
}

func TestSeedConfig(t *testing.T) {
	o := defaultOptions()
	o.netConfigPath = filepath.Join(t.TempDir(), "nowhere.json")
	if _, err := seedConfig(o); err == nil || !strings.Contains(err.Error(), "--net-config-path: ") {
		t.Errorf("missing file: err %v", err)
	}
	o.netConfigPath = writeConf(t, `{"Network": 10}`)
	o.fromEnv = map[string]string{"net-config-path": "FLANNELD_NET_CONFIG_PATH"}
	if _, err := seedConfig(o); err == nil || !strings.Contains(err.Error(), "FLANNELD_NET_CONFIG_PATH=") || !strings.Contains(err.Error(), "Network: ") {
		t.Errorf("bad file: err %v", err)
	}
}

// TestEtcdAway: an etcd that does not answer is no reason not to start.
func TestEtcdAway(t *testing.T) {
	o := defaultOptions()
	o.etcdEndpoints = []string{"http://127.0.0.1:1"}
	st, err := openStore(t.Context(), o, discard)
	if err != nil {
		t.Fatal(err)
	}
	if err := st.close(); err != nil {
		t.Error(err)
	}
}

// TestEtcdNever: one that can never work is.
func TestEtcdNever(t *testing.T) {
	o := defaultOptions()
	o.etcdEndpoints = []string{"https://127.0.0.1:1"}
	o.etcdCAFile = filepath.Join(t.TempDir(), "nowhere.pem")
	if _, err := openStore(t.Context(), o, discard); err == nil || !strings.Contains(err.Error(), o.etcdCAFile) {
		t.Errorf("err %v, want one that names %s", err, o.etcdCAFile)
	}
}
