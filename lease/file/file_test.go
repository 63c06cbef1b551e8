package file

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/lease"
	"weft/lease/leasetest"
)

// open gives a node its access, with quick intervals.
func open(t testing.TB, o Options) *Store {
	t.Helper()
	if testing.Verbose() {
		o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// A world is one folder. While it is cut the leases lie beside their place.
type world struct{ dir, subnets string }

func newWorld(t testing.TB) *world {
	w := &world{dir: t.TempDir()}
	w.subnets = filepath.Join(w.dir, "subnets")
	if err := os.Mkdir(w.subnets, 0o755); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) path(key string) string { return filepath.Join(w.subnets, key+suffix) }

func (w *world) put(t testing.TB, key, value string) {
	t.Helper()
	tmp := filepath.Join(w.dir, "put.tmp")
	err := os.WriteFile(tmp, []byte(value), 0o644)
	if err == nil {
		err = os.Rename(tmp, w.path(key))
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (w *world) get(t testing.TB, key string) (string, bool) {
	t.Helper()
	b, err := os.ReadFile(w.path(key))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return string(b), err == nil && !strings.Contains(string(b), `"Beat"`)
}

func (w *world) keys(t testing.TB) (keys []string) {
	t.Helper()
	files, err := os.ReadDir(w.subnets)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		keys = append(keys, strings.TrimSuffix(f.Name(), suffix))
	}
	return keys
}

func (w *world) move(t testing.TB, to string) {
	to = filepath.Join(w.dir, to)
	if err := os.Rename(w.subnets, to); err != nil {
		t.Fatal(err)
	}
	w.subnets = to
}

func suite(t *testing.T, noNotify bool) {
	leasetest.TestStore(t, func(t *testing.T) leasetest.World {
		w := newWorld(t)
		return leasetest.World{
			Open: func(t testing.TB, node string) leasetest.Store {
				return open(t, Options{Dir: w.dir, NodeName: node, Interval: 20 * time.Millisecond, DeadAfter: 1e6, NoNotify: noNotify})
			},
			SetConfig: func(t testing.TB, text string) {
				if err := lease.WriteFile(filepath.Join(w.dir, "net-conf.json"), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			},
			Put: w.put,
			Delete: func(t testing.TB, key string) {
				if err := os.Remove(w.path(key)); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			},
			Get:  w.get,
			Keys: w.keys,
			Cut: func(t testing.TB) func() {
				w.move(t, "away")
				return func() { w.move(t, "subnets") }
			},
		}
	})
}

func TestStore(t *testing.T) { suite(t, false) }

// Where the file system sends no events, polling alone must do.
func TestStorePolling(t *testing.T) { suite(t, true) }
