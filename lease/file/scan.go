package file

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"time"

	"weft/lease"
)

// A sighting is what is known of one file.
type sighting struct {
	print print
	since time.Time // when print was first seen
	read  time.Time // when the file was last read
	entry entry
	good  bool          // entry was readable at least once
	beat  time.Duration // on the watcher's clock, when a new heartbeat was seen
	told  bool          // the consumer has it,
	until time.Time     // with this end
}

// A print changes when a file is written or replaced, but file systems tell
// time in ticks: of two changes within one, the second may leave the print as
// it was. So the text is read again until print has been the same for as long
// as the coarsest tick in use, the two seconds of vfat.
type print struct {
	mtime time.Time
	size  int64
	info  fs.FileInfo // tells files apart
}

func (p print) same(q print) bool {
	return p.info != nil && q.info != nil && p.mtime.Equal(q.mtime) && p.size == q.size && os.SameFile(p.info, q.info)
}

// scan looks at the folder and returns what changed, or everything after a gap.
func (w *watcher) scan(ctx context.Context) (u lease.Update, err error) {
	only := w.only
	w.only = nil
	err = w.s.do(ctx, func() error {
		if only != nil && !w.resync {
			for _, name := range only {
				if err := w.visit(name, &u); err != nil {
					return err
				}
			}
			return nil
		}
		return w.scanAll(&u)
	})
	if err != nil || !w.resync {
		return u, err
	}
	w.resync = false
	u = lease.Update{Full: true}
	for _, v := range w.seen {
		if v.told {
			v.tell(&u)
		}
	}
	return u, nil
}

// scanAll visits every file there is or was.
func (w *watcher) scanAll(u *lease.Update) error {
	files, err := os.ReadDir(w.s.subnets)
	if errors.Is(err, fs.ErrNotExist) && len(w.seen) == 0 && w.folderIsNew() {
		return nil
	}
	if err != nil {
		return err
	}
	w.listen()
	w.tick()
	there := make(map[string]bool, len(files))
	for _, f := range files {
		if isLease(f.Name()) {
			there[f.Name()] = true
			if err := w.visit(f.Name(), u); err != nil {
				return err
			}
		}
	}
	for name := range w.seen {
		if !there[name] {
			w.gone(name, u)
		}
	}
	for name := range w.junk {
		if !there[name] {
			delete(w.junk, name)
		}
	}
	w.renew(u)
	return nil
}

// renew tells the consumer which leases have another end than it knows of. A
// heartbeat alone is no news, or a thousand nodes would make seventy updates a
// second: the end must have moved by a quarter of a lease's life. Only complete
// scans do this, so many renewals make one update.
func (w *watcher) renew(u *lease.Update) {
	for _, v := range w.seen {
		end := v.entry.Expires
		if v.told && (end.IsZero() != v.until.IsZero() || end.Sub(v.until).Abs() > w.s.patience()/4) {
			v.tell(u)
		}
	}
}

// tell adds the lease as it is now to u.
func (v *sighting) tell(u *lease.Update) {
	v.until = v.entry.Expires
	u.Events = append(u.Events, lease.Event{Type: lease.Added, Lease: v.entry.Lease})
}

// folderIsNew reports whether the shared folder is there and nobody has leased
// anything in it.
func (w *watcher) folderIsNew() bool {
	_, err := os.Stat(w.s.opt.Dir)
	return err == nil
}

// tick moves the watcher's clock. A pause of our own, and a time in which even
// our own heartbeat found no way to the disk, is nobody's death.
func (w *watcher) tick() {
	now := time.Now()
	if !w.scanned.IsZero() && !w.s.mute.Load() {
		w.lived += min(now.Sub(w.scanned), w.s.opt.Interval)
	}
	w.scanned = now
}

// visit looks at one file and adds to u what that changes.
func (w *watcher) visit(name string, u *lease.Update) error {
	fi, err := os.Lstat(w.s.path(name))
	if errors.Is(err, fs.ErrNotExist) {
		w.gone(name, u)
		return nil
	}
	if err != nil {
		return err
	}
	v, known := w.seen[name]
	p := print{fi.ModTime(), fi.Size(), fi}
	if !known || !v.print.same(p) || v.read.Sub(v.since) < w.s.trust {
		e, err := w.s.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			w.gone(name, u)
			return nil
		}
		if errors.Is(err, errBadName) {
			w.complain(name, err)
			return nil
		}
		if err != nil {
			return err
		}
		v = w.sight(name, p, e, u)
	}
	w.judge(v, u)
	return nil
}

// sight notes what was read from a file.
func (w *watcher) sight(name string, p print, e entry, u *lease.Update) *sighting {
	v, known := w.seen[name]
	if !known {
		v = &sighting{beat: w.lived}
		w.seen[name] = v
	}
	v.read = time.Now()
	if !known || !v.print.same(p) {
		v.print, v.since = p, v.read
	}
	if e.bad != nil {
		w.complain(name, e.bad)
		return v
	}
	delete(w.junk, name)
	e.Expires = v.entry.Expires
	if !v.good || !v.entry.rec.still(e.rec) || v.entry.rec.reserved != e.rec.reserved {
		v.beat, e.Expires = w.lived, w.s.expiry(e.rec)
	}
	changed := !v.entry.Attrs.Equal(e.Attrs)
	v.entry, v.good = e, true
	if v.told && changed {
		v.tell(u)
	}
	return v
}

// judge tells the consumer when a lease comes to life or is dead.
func (w *watcher) judge(v *sighting, u *lease.Update) {
	alive := v.good && (v.entry.rec.reserved || w.lived-v.beat < w.s.patience())
	switch {
	case alive && !v.told:
		v.tell(u)
	case !alive && v.told:
		w.s.log.Warn("a node has given no sign of life; its lease is no longer used",
			"subnet", v.entry.Key(), "peer", v.entry.rec.node, "for", w.s.patience())
		u.Events = append(u.Events, lease.Event{Type: lease.Removed, Lease: v.entry.Lease})
	}
	v.told = alive
}

// gone notes that a file is no more.
func (w *watcher) gone(name string, u *lease.Update) {
	if v, known := w.seen[name]; known && v.told {
		u.Events = append(u.Events, lease.Event{Type: lease.Removed, Lease: v.entry.Lease})
	}
	delete(w.seen, name)
}

// complain logs junk, the same junk once.
func (w *watcher) complain(name string, err error) {
	if w.junk == nil {
		w.junk = map[string]string{}
	}
	if w.junk[name] != err.Error() {
		w.junk[name] = err.Error()
		w.s.log.Warn("a lease that cannot be read is left out", "subnet", name, "err", err)
	}
}
