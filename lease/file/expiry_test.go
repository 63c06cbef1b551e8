package file

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease"
	"weft/lease/leasetest"
)

// The tests here run on a clock of their own, so minutes pass at once. Files
// keep real time; they are therefore read at every look.

const interval = 15 * time.Second

func openSlow(t testing.TB, w *world, node string) *Store {
	s := open(t, Options{Dir: w.dir, NodeName: node, Interval: interval, DeadAfter: 20, NoNotify: true})
	s.trust = 1 << 62
	return s
}

func claimFor(t testing.TB, conf, ip string) lease.Claim {
	c, err := lease.ParseConfig([]byte(conf))
	if err != nil {
		t.Fatal(err)
	}
	claim := lease.Claim{Config: c}
	if err := claim.Attrs.UnmarshalJSON([]byte(`{"PublicIP":"` + ip + `"}`)); err != nil {
		t.Fatal(err)
	}
	return claim
}

func acquire(t testing.TB, s *Store, conf, ip string) lease.Lease {
	t.Helper()
	l, err := s.Acquire(t.Context(), claimFor(t, conf, ip))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

const (
	two = `{"Network":"10.5.0.0/16","SubnetMax":"10.5.2.0"}` // subnets
	one = `{"Network":"10.5.0.0/16","SubnetMax":"10.5.1.0"}`
)

// expect checks what the watcher sees once all is quiet.
func expect(t testing.TB, v *leasetest.Watcher, when, want string) {
	t.Helper()
	synctest.Wait()
	v.Await(t, when+": "+want, func(leases string, _ int) bool {
		if leases != want {
			t.Errorf("%s: %s, want %s", when, leases, want)
		}
		return true
	})
}

// pass lets time pass and everybody finish what that set off.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// A node that stops beating is dead after DeadAfter intervals and not before;
// when it comes back it is there again, with the same subnet.
func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := openSlow(t, w, "a")
		l := acquire(t, s, one, "192.168.50.1")
		k := leasetest.StartKeep(t, s, l)
		v := leasetest.Follow(t, openSlow(t, w, "observer"))
		pass(time.Hour)
		expect(t, v, "after an hour alive", "10.5.1.0-24=192.168.50.1")
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		pass(19 * interval)
		expect(t, v, "after 19 intervals of silence", "10.5.1.0-24=192.168.50.1")
		pass(3 * interval)
		expect(t, v, "after 22 intervals of silence", "")
		if keys := w.keys(t); len(keys) != 1 {
			t.Errorf("keys %q: the file has to wait for its node", keys)
		}
		l = acquire(t, s, two, "192.168.50.1")
		leasetest.StartKeep(t, s, l)
		pass(interval)
		expect(t, v, "after its return", "10.5.1.0-24=192.168.50.1")
		pass(time.Hour)
		expect(t, v, "an hour later", "10.5.1.0-24=192.168.50.1")
		v.Stop()
	})
}

// Nobody dies while the disk is away, nor while our own beat cannot be written.
func TestNoDeathWithoutDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := openSlow(t, w, "a")
		acquire(t, s, two, "192.168.50.1")
		me := openSlow(t, w, "b")
		v := leasetest.Follow(t, me)
		pass(interval)
		w.move(t, "away")
		pass(2 * time.Hour)
		if st := me.Status(); st.Connected || st.Err == "" {
			t.Errorf("status %+v", st)
		}
		w.move(t, "subnets")
		pass(interval)
		if st := me.Status(); !st.Connected {
			t.Errorf("status %+v", st)
		}
		only := w.keys(t)[0] + "=192.168.50.1"
		expect(t, v, "after two hours without the disk", only)
		me.mute.Store(true)
		pass(2 * time.Hour)
		expect(t, v, "after two hours on a full disk", only)
		me.mute.Store(false)
		pass(22 * interval)
		expect(t, v, "when only it is silent", "")
		v.Stop()
	})
}

// A full network gives the subnet of a dead node to a new one, and that of a
// living node or a reservation to nobody.
func TestMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.put(t, "10.5.3.0-24", `{"PublicIP":"192.168.50.77"}`)
		w.put(t, "10.5.4.0-24", `junk`)
		const four = `{"Network":"10.5.0.0/16","SubnetMax":"10.5.4.0"}`
		alive, dead := openSlow(t, w, "alive"), openSlow(t, w, "dead")
		kept := acquire(t, alive, four, "192.168.50.1")
		k := leasetest.StartKeep(t, alive, kept)
		gone := acquire(t, dead, four, "192.168.50.2")

		start := time.Now()
		fresh := openSlow(t, w, "new")
		got := acquire(t, fresh, four, "192.168.50.3")
		if got.Key() != gone.Key() {
			t.Errorf("got %s, wanted that of the dead %s", got.Key(), gone.Key())
		}
		if waited := time.Since(start); waited < 20*interval {
			t.Errorf("buried after %v", waited)
		}
		// The dead node comes to: it has lost its subnet and must say so.
		if err := dead.Keep(t.Context(), gone); !errors.Is(err, lease.ErrTaken) || !strings.Contains(err.Error(), "new") {
			t.Errorf("Keep: %v", err)
		}
		leasetest.StartKeep(t, fresh, got)
		if l, err := openSlow(t, w, "late").Acquire(t.Context(), claimFor(t, four, "192.168.50.4")); !errors.Is(err, lease.ErrNoSubnet) {
			t.Errorf("all are alive: %v, %v", l, err)
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		for _, f := range mustReadDir(t, w.subnets) {
			if strings.HasPrefix(f.Name(), ".") {
				t.Errorf("left behind: %s", f.Name())
			}
		}
	})
}

func mustReadDir(t testing.TB, dir string) []os.DirEntry {
	t.Helper()
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A node that comes back at the last moment keeps its subnet.
func TestBuryTheLiving(t *testing.T) {
	w := newWorld(t)
	s := openSlow(t, w, "a")
	l := acquire(t, s, one, "192.168.50.1")
	before, err := s.read(fileName(l))
	if err != nil {
		t.Fatal(err)
	}
	k := newKeeper(s, l)
	if err := k.beat(); err != nil {
		t.Fatal(err)
	}
	if err := openSlow(t, w, "b").bury(before); err != nil {
		t.Fatal(err)
	}
	if after, err := s.read(fileName(l)); err != nil || after.rec.beat != before.rec.beat+1 {
		t.Errorf("%+v, %v", after, err)
	}
	if files := mustReadDir(t, w.subnets); len(files) != 1 {
		t.Errorf("left behind: %v", files)
	}
}

// A heartbeat changes digits in place: same file, same length, nothing else.
func TestBeatInPlace(t *testing.T) {
	w := newWorld(t)
	s := openSlow(t, w, "a")
	l := acquire(t, s, one, "192.168.50.1")
	path := w.path(l.Key())
	fi, _ := os.Stat(path)
	text, _ := os.ReadFile(path)
	k := newKeeper(s, l)
	for range 3 {
		if err := k.beat(); err != nil {
			t.Fatal(err)
		}
	}
	fi2, _ := os.Stat(path)
	text2, err := os.ReadFile(path)
	if err != nil || !os.SameFile(fi, fi2) || !sameShape(text, text2) || bytes.Equal(text, text2) {
		t.Errorf("was %s\nis  %s", text, text2)
	}
	if want := `{"PublicIP":"192.168.50.1","PublicIPv6":null,"Node":"a","Instance":"` + s.instance + `","Beat":"000000000004","Time":"`; !strings.HasPrefix(string(text2), want) {
		t.Errorf("got %s", text2)
	}
	// A file that took its place in the meantime is not touched by a beat
	// that was already under way.
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w.put(t, l.Key(), `{"PublicIP":"192.168.50.9"}`)
	if err := k.write(f, text2, entry{Lease: l}); err != nil {
		t.Fatal(err)
	}
	if v, _ := w.get(t, l.Key()); v != `{"PublicIP":"192.168.50.9"}` {
		t.Errorf("the new owner's file became %s", v)
	}
}

// Things that are no leases, though their names say so.
func TestOddFiles(t *testing.T) {
	w := newWorld(t)
	if err := os.Mkdir(w.path("10.5.1.0-24"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(w.path("10.5.2.0-24"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("nowhere", w.path("10.5.3.0-24")); err != nil {
		t.Fatal(err)
	}
	w.put(t, "10.5.4.0-24", `{"PublicIP":"192.168.50.4","X":"`+strings.Repeat("x", 1<<20)+`"}`)
	w.put(t, "10.5.5.0-24", `{"PublicIP":"192.168.50.5"}`)
	v := leasetest.Follow(t, open(t, Options{Dir: w.dir, Interval: 20 * time.Millisecond, NodeName: "a"}))
	v.AwaitLeases(t, "10.5.5.0-24=192.168.50.5")
}

// Without the folder everything waits, says so and stops when told to.
func TestNoFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "absent")
	s := open(t, Options{Dir: dir, NodeName: "a"})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if l, err := s.Acquire(ctx, claimFor(t, one, "192.168.50.1")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, %v", l, err)
	}
	if st := s.Status(); st.Connected || !strings.Contains(st.Err, dir) {
		t.Errorf("status %+v", st)
	}
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		t.Error("the folder was made on what may be an unmounted disk")
	}
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{}, {Dir: "x", DeadAfter: 1}, {Dir: "x", Interval: -1}} {
		if _, err := New(o); err == nil {
			t.Errorf("%+v: accepted", o)
		}
	}
	if s, err := New(Options{Dir: "x"}); err != nil || s.opt.NodeName == "" || s.patience() != 5*time.Minute {
		t.Errorf("%+v, %v", s, err)
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"PublicIP":"192.168.50.1","PublicIPv6":null,"Node":"n1","Instance":"QX4ZT7B2KM5RC","Beat":"000000000017","Time":"2026-11-21T08:15:46Z"}`))
	f.Add([]byte(`{"PublicIP":"192.168.50.1","BackendType":"vxlan","BackendData":{"VNI":1}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decode(data)
		if err != nil {
			return
		}
		text, err := r.encode()
		if err != nil {
			return // a year that RFC 3339 cannot write
		}
		back, err := decode(text)
		if err != nil || !back.Equal(r.Attrs) || back.node != r.node || back.instance != r.instance || back.beat != r.beat || back.reserved != r.reserved {
			t.Errorf("%s: written as %s, read as %+v, %v", data, text, back, err)
		}
		if n, err := r.next().encode(); err == nil && !r.reserved && !sameShape(text, n) && !r.time.IsZero() {
			t.Errorf("a beat changed the shape: %s, then %s", text, n)
		}
	})
}
