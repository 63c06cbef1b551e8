package file

import (
	"errors"
	"io/fs"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease/leasetest"
)

// An undated file cannot tell its date.
type undated struct{ *os.File }

func (undated) Stat() (fs.FileInfo, error) { return nil, syscall.ESTALE }

// Our clock is the bubble's here, in which writing takes no time; the date of the
// lease file is the kernel's. What is between them is known from the heartbeats
// alone: nothing else lies in the folder, or is asked of it.
func TestClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		s := openSlow(t, w, "a")
		l := acquire(t, s, one, "192.168.50.1")
		if ahead, err := s.Clock(t.Context()); err == nil {
			t.Errorf("ahead by %v before the first heartbeat", ahead)
		}
		k := leasetest.StartKeep(t, s, l)
		for range 3 {
			synctest.Wait()
			info, err := os.Stat(w.path(l.Key()))
			if err != nil {
				t.Fatal(err)
			}
			want := time.Until(info.ModTime())
			if ahead, err := s.Clock(t.Context()); err != nil || ahead != want {
				t.Errorf("ahead by %v, %v; want %v", ahead, err, want)
			}
			pass(interval)
		}
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		for _, dir := range []string{w.dir, w.subnets} {
			if files := mustReadDir(t, dir); len(files) != 1 {
				t.Errorf("in the folder: %v", files)
			}
		}
		if err := os.RemoveAll(w.dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Clock(t.Context()); err != nil {
			t.Errorf("without the folder: %v", err)
		}
	})
}

// A heartbeat whose date cannot be read is one, but no word on the clock.
func TestClockWithoutDate(t *testing.T) {
	s := openSlow(t, newWorld(t), "a")
	k := newKeeper(s, acquire(t, s, one, "192.168.50.1"))
	if err := k.beat(); err != nil {
		t.Fatal(err)
	}
	healthy := s.open
	s.open = func(path string, flag int, perm fs.FileMode) (handle, error) {
		f, err := os.OpenFile(path, flag, perm)
		return undated{f}, err
	}
	if err := k.beat(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clock(t.Context()); !errors.Is(err, syscall.ESTALE) {
		t.Errorf("without a date: %v", err)
	}
	s.open = healthy
	if err := k.beat(); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Clock(t.Context()); err != nil {
		t.Error(err)
	}
}
