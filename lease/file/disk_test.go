package file

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"weft/lease/leasetest"
)

// A sick file works but for the errors it is given.
type sick struct {
	*os.File
	write, sync, close error
}

func (f sick) Write(b []byte) (int, error) {
	if f.write != nil {
		n, _ := f.File.Write(b[:len(b)/2])
		return n, f.write
	}
	return f.File.Write(b)
}

func (f sick) Sync() error  { return errors.Join(f.File.Sync(), f.sync) }
func (f sick) Close() error { return errors.Join(f.File.Close(), f.close) }

// infect gives s such files.
func infect(s *Store, ill sick) {
	s.open = func(path string, flag int, perm fs.FileMode) (handle, error) {
		f, err := os.OpenFile(path, flag, perm)
		if err != nil {
			return nil, err
		}
		ill.File = f
		return ill, nil
	}
}

// A network disk tells of its lack of space at fsync or close. Such a beat has
// failed, so nobody is declared dead meanwhile.
func TestBeatFailsAtTheEnd(t *testing.T) {
	for name, ill := range map[string]sick{"sync": {sync: syscall.EIO}, "close": {close: syscall.EDQUOT}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := openSlow(t, newWorld(t), "a")
				l := acquire(t, s, one, "192.168.50.1")
				healthy := s.open
				infect(s, ill)
				k := leasetest.StartKeep(t, s, l)
				pass(time.Minute)
				if !s.mute.Load() {
					t.Error("the watcher does not know that nothing can be written")
				}
				if err := k.Stop(); err != nil {
					t.Errorf("Keep gave up: %v", err)
				}
				want := errors.Join(ill.sync, ill.close).Error()
				if st := s.Status(); st.Connected || !strings.Contains(st.Err, want) {
					t.Errorf("status %+v, want %s", st, want)
				}
				if err := newKeeper(s, l).beat(); !errors.Is(err, ill.sync) && !errors.Is(err, ill.close) {
					t.Errorf("beat: %v", err)
				}
				s.open = healthy
				k = leasetest.StartKeep(t, s, l)
				pass(interval)
				if st := s.Status(); !st.Connected || s.mute.Load() {
					t.Errorf("status %+v on a disk in order", st)
				}
				if err := k.Stop(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// A beat that failed may have reached the disk all the same; our own writing
// is not taken for somebody else's.
func TestFailedBeatIsOurs(t *testing.T) {
	s := openSlow(t, newWorld(t), "a")
	k := newKeeper(s, acquire(t, s, one, "192.168.50.1"))
	healthy := s.open
	for range 3 {
		infect(s, sick{close: syscall.EIO})
		if err := k.beat(); !errors.Is(err, syscall.EIO) {
			t.Fatal(err)
		}
		s.open = healthy
		if err := k.beat(); err != nil {
			t.Fatal(err)
		}
	}
}

// A claim that could not be written does not keep the subnet from others.
func TestClaimFailsHalfway(t *testing.T) {
	for name, ill := range map[string]sick{
		"write": {write: syscall.ENOSPC}, "sync": {sync: syscall.EIO}, "close": {close: syscall.EDQUOT},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			s := openSlow(t, w, "a")
			healthy := s.open
			infect(s, ill)
			err := s.claimWithoutLink("10.5.1.0-24.json", []byte(`{"PublicIP":"192.168.50.1"}`))
			if want := errors.Join(ill.write, ill.sync, ill.close); err == nil || !strings.Contains(err.Error(), want.Error()) {
				t.Errorf("%v, want %v", err, want)
			}
			if files := mustReadDir(t, w.subnets); len(files) != 0 {
				t.Errorf("left behind: %v", files)
			}
			s.open = healthy
			if err := s.claimWithoutLink("10.5.1.0-24.json", []byte(`{"PublicIP":"192.168.50.1"}`)); err != nil {
				t.Error(err)
			}
			infect(s, ill)
			if err := s.claimWithoutLink("10.5.1.0-24.json", nil); !errors.Is(err, fs.ErrExist) {
				t.Errorf("a second claim: %v", err)
			}
			if text, _ := w.get(t, "10.5.1.0-24"); text == "" {
				t.Error("the failed claim removed the file of the first")
			}
		})
	}
}
