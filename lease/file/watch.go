package file

import (
	"context"
	"errors"
	"iter"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"

	"weft/lease"
)

// Watch implements [lease.Source]. A lease whose text becomes unreadable stays
// as it was. While the folder cannot be read an error is yielded at once and
// then every half minute.
func (s *Store) Watch(ctx context.Context) iter.Seq2[lease.Update, error] {
	return func(yield func(lease.Update, error) bool) {
		w := watcher{s: s, seen: map[string]*sighting{}, resync: true}
		defer w.close()
		for ctx.Err() == nil {
			u, err := w.scan(ctx)
			switch {
			case errors.Is(err, errAbandoned):
				w.abandoned = true
				return
			case ctx.Err() != nil:
				return
			case err != nil:
				w.resync = true
				if report := s.contact.Failed(err); report != nil && !yield(lease.Update{}, report) {
					return
				}
			default:
				s.contact.OK()
				if (u.Full || len(u.Events) > 0) && !yield(u, nil) {
					return
				}
			}
			w.wait(ctx)
		}
	}
}

// A watcher is one consumer's view of the folder.
type watcher struct {
	s      *Store
	seen   map[string]*sighting // by file name
	junk   map[string]string    // names that name no subnets, and files that are unreadable: what was logged
	resync bool                 // the next update is a full one
	only   []string             // what to look at; nil: everything

	lived   time.Duration // time in which life could be observed
	scanned time.Time     // the last complete scan

	notify    *fsnotify.Watcher // nil: none
	deaf      bool              // there are no events here
	abandoned bool              // a scan hangs, and this watcher belongs to it
}

// listen asks for events of the folder, once. Without them polling goes on.
func (w *watcher) listen() {
	if w.s.opt.NoNotify || w.deaf || w.notify != nil {
		return
	}
	n, err := fsnotify.NewWatcher()
	if err == nil {
		if err = n.Add(w.s.subnets); err == nil {
			w.notify = n
			return
		}
		n.Close()
	}
	w.deaf = true
	w.s.log.Info("no file events here; the lease folder is only polled", "err", err)
}

func (w *watcher) close() {
	if w.notify != nil && !w.abandoned {
		w.notify.Close()
	}
}

// settle is how long events are gathered before the folder is looked at.
const settle = 5 * time.Millisecond

// wait waits until it is time to look again, and notes at what.
func (w *watcher) wait(ctx context.Context) {
	t := time.NewTimer(w.s.opt.Interval / 2)
	defer t.Stop()
	var events <-chan fsnotify.Event
	var errs <-chan error
	if w.notify != nil {
		events, errs = w.notify.Events, w.notify.Errors
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			if time.Since(w.scanned) >= w.s.opt.Interval/2 {
				w.only = nil
			}
			return
		case e, ok := <-events:
			if !ok || w.folderMoved(e) {
				w.close()
				w.notify, w.only = nil, nil
				return
			}
			if name := filepath.Base(e.Name); isLease(name) {
				if w.only == nil {
					t.Reset(settle)
				}
				w.only = append(w.only, name)
			}
		case <-errs: // events were lost; look at everything
			w.only = nil
			return
		}
	}
}

// folderMoved reports whether e says that the watched folder itself went away.
func (w *watcher) folderMoved(e fsnotify.Event) bool {
	return e.Name == w.s.subnets && e.Has(fsnotify.Remove|fsnotify.Rename)
}
