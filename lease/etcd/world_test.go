package etcd

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/lease/etcd/embedded"
	"weft/lease/leasetest"
)

// server is the etcd that most tests share, each below a prefix of its own.
var server *embedded.Server

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "weft-etcd-test")
		if err != nil {
			panic(err)
		}
		defer os.RemoveAll(dir)
		server, err = embedded.Start(context.Background(), embedded.Options{Dir: dir, Listen: []string{"http://127.0.0.1:0"}, Volatile: true})
		if err != nil {
			panic(err)
		}
		defer server.Close()
		// One call through the front door, so that the server's goroutines
		// are there before the first test counts goroutines.
		c, err := clientv3.New(clientv3.Config{Endpoints: server.Endpoints(), Logger: zap.NewNop()})
		if err != nil {
			panic(err)
		}
		defer c.Close()
		if _, err := c.Get(context.Background(), "x"); err != nil {
			panic(err)
		}
		return m.Run()
	}())
}

// rawClient speaks to etcd as etcdctl would.
func rawClient(t testing.TB, endpoints ...string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// open makes a Store that looks after things quickly.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	if testing.Verbose() && o.Log == nil {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.checkEvery, s.timeout = 50*time.Millisecond, time.Second
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// A world is one prefix of the shared etcd, reached by the nodes through a
// relay that can be cut.
type world struct {
	raw    *clientv3.Client
	relay  *relay
	prefix string
}

func newWorld(t *testing.T) *world {
	return &world{
		raw:    rawClient(t, server.Endpoints()...),
		relay:  newRelay(t, server.Endpoints()[0]),
		prefix: "/" + strings.ReplaceAll(t.Name(), "/", "-") + fmt.Sprint(time.Now().UnixNano()),
	}
}

func (w *world) key(name string) string { return w.prefix + "/subnets/" + name }

func (w *world) put(t testing.TB, key, value string, opts ...clientv3.OpOption) {
	t.Helper()
	if _, err := w.raw.Put(t.Context(), key, value, opts...); err != nil {
		t.Fatal(err)
	}
}

func (w *world) open(t testing.TB, _ string) leasetest.Store {
	return open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
}

func (w *world) get(t testing.TB, name string) (value string, reserved bool) {
	t.Helper()
	r, err := w.raw.Get(t.Context(), w.key(name))
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Kvs) == 0 {
		return "", false
	}
	return string(r.Kvs[0].Value), r.Kvs[0].Lease == 0
}

func (w *world) keys(t testing.TB) (names []string) {
	t.Helper()
	r, err := w.raw.Get(t.Context(), w.key(""), clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	for _, kv := range r.Kvs {
		names = append(names, strings.TrimPrefix(string(kv.Key), w.key("")))
	}
	return names
}

// cut takes etcd away. Before it comes back its history is compacted, so that
// nothing can be resumed.
func (w *world) cut(t testing.TB) func() {
	w.relay.cut()
	return func() {
		r, err := w.raw.Get(t.Context(), "x")
		if err == nil {
			_, err = w.raw.Compact(t.Context(), r.Header.Revision)
		}
		if err != nil {
			t.Error(err)
		}
		w.relay.mend()
	}
}

func TestStore(t *testing.T) {
	leasetest.TestStore(t, func(t *testing.T) leasetest.World {
		w := newWorld(t)
		return leasetest.World{
			Open:      w.open,
			SetConfig: func(t testing.TB, text string) { w.put(t, w.prefix+"/config", text) },
			Put:       func(t testing.TB, key, value string) { w.put(t, w.key(key), value) },
			Delete: func(t testing.TB, key string) {
				if _, err := w.raw.Delete(t.Context(), w.key(key)); err != nil {
					t.Fatal(err)
				}
			},
			Get:  w.get,
			Keys: w.keys,
			Cut:  w.cut,
		}
	})
}

// A relay passes TCP connections on to an etcd until it is cut.
type relay struct {
	url, to string
	ln      net.Listener
	wg      sync.WaitGroup

	mu    sync.Mutex
	isCut bool
	conns map[net.Conn]bool
}

func newRelay(t testing.TB, endpoint string) *relay {
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{url: u.Scheme + "://" + ln.Addr().String(), to: u.Host, ln: ln, conns: map[net.Conn]bool{}}
	r.wg.Go(r.accept)
	t.Cleanup(func() {
		ln.Close()
		r.cut()
		r.wg.Wait()
	})
	return r
}

func (r *relay) accept() {
	for {
		c, err := r.ln.Accept()
		if err != nil {
			return
		}
		up, err := net.Dial("tcp", r.to)
		if err != nil || !r.add(c, up) {
			c.Close()
			if up != nil {
				up.Close()
			}
			continue
		}
		r.wg.Go(func() { r.copy(c, up) })
		r.wg.Go(func() { r.copy(up, c) })
	}
}

// add remembers a pair of connections; false if there may be none now.
func (r *relay) add(a, b net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.isCut {
		r.conns[a], r.conns[b] = true, true
	}
	return !r.isCut
}

func (r *relay) copy(dst, src net.Conn) {
	io.Copy(dst, src)
	dst.Close()
	src.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.conns, src)
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = true
	for c := range r.conns {
		c.Close()
	}
}

func (r *relay) mend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.isCut = false
}
