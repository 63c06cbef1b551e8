package file

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Keep implements [lease.Registrar]: once per interval it looks at the own
// file, repairs it if need be, and writes the next heartbeat.
func (s *Store) Keep(ctx context.Context, l lease.Lease) error {
	k := newKeeper(s, l)
	defer s.mute.Store(false)
	for {
		err := s.retry(ctx, func() error {
			err := k.beat()
			s.mute.Store(err != nil && !errors.Is(err, errRace))
			return err
		}, lease.ErrTaken, errRace)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !errors.Is(err, errRace): // after a race the next look tells more
			return fmt.Errorf("keep %s: %w", l.Key(), err)
		}
		if !contact.Sleep(ctx, s.opt.Interval) {
			return nil
		}
	}
}

// A keeper holds one file.
type keeper struct {
	s    *Store
	own  lease.Lease
	name string
	last record // what we wrote last, or tried to
	seen bool   // the file was found once; from then on our count of the heartbeats rules
}

func newKeeper(s *Store, l lease.Lease) *keeper {
	k := &keeper{s: s, own: l, name: fileName(l), last: s.record(l.Attrs)}
	k.last.reserved = l.Expires.IsZero()
	return k
}

// beat looks at the file and writes the next heartbeat into the very file that
// it looked at.
func (k *keeper) beat() (err error) {
	f, err := k.s.open(k.s.path(k.name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return k.recreate()
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	data, err := io.ReadAll(io.LimitReader(f, mostText))
	if err != nil {
		return err
	}
	e := entry{Lease: k.own, name: k.name}
	if e.rec, e.bad = decode(data); e.bad == nil {
		e.Attrs = e.rec.Attrs
	}
	if err := k.taken(e); err != nil {
		return err
	}
	if e.bad == nil && !e.nameless() {
		k.last.reserved = e.rec.reserved
		if !k.seen {
			k.last.beat = e.rec.beat
		}
		k.seen = true
	}
	return k.write(f, data, e)
}

// taken returns [lease.ErrTaken] if another node, or another process of the
// same name, wrote e.
func (k *keeper) taken(e entry) error {
	switch sameName := e.rec.node == k.last.node; {
	case e.bad != nil, e.nameless():
		return nil
	case e.rec.node == "" && lease.Claim{Attrs: k.own.Attrs}.Owns(e.Lease):
		return nil
	case !sameName:
		return fmt.Errorf("%w, %s", lease.ErrTaken, nodeOf(e))
	case e.rec.instance != "" && e.rec.instance != k.last.instance, k.seen && e.rec.beat > k.last.beat:
		return fmt.Errorf("%w, %w", lease.ErrTaken, k.s.sameName(k.own.Attrs, e))
	}
	return nil
}

// write puts the next heartbeat over data, the contents of f.
func (k *keeper) write(f handle, data []byte, e entry) error {
	k.last = k.last.next() // also if it fails: the disk may have it nevertheless
	text, err := k.last.encode()
	if err != nil {
		return err
	}
	switch {
	case k.last.reserved && bytes.Equal(text, data):
		return nil // a reservation has no heartbeat
	case sameShape(data, text):
		began := time.Now()
		_, err = f.WriteAt(text, 0)
		if err = errors.Join(err, f.Sync()); err == nil {
			k.s.compare(f, began, time.Now())
		}
		return err
	}
	if e.bad != nil || !e.Attrs.Equal(k.own.Attrs) {
		k.s.log.Warn("the own lease was changed; it is written again", "subnet", k.own.Key())
	}
	return k.s.replace(k.name, k.last)
}

// recreate writes the vanished file again if nobody else has taken its place.
// It does not make the folder: if that is gone, the disk is.
func (k *keeper) recreate() error {
	all, err := k.s.list()
	if err != nil {
		return err
	}
	for _, e := range all {
		if err := k.taken(e); err != nil && e.Overlaps(k.own) {
			return err
		}
	}
	k.s.log.Warn("the own lease vanished; it is written again", "subnet", k.own.Key())
	k.last.reserved = false
	k.last = k.last.next()
	return k.s.claimAlone(k.name, k.last, k.own, func(e entry) bool { return e.bad == nil && k.taken(e) == nil })
}
