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
	last record // as last written by us
}

func newKeeper(s *Store, l lease.Lease) *keeper {
	return &keeper{s: s, own: l, name: fileName(l),
		last: record{Attrs: l.Attrs, node: s.opt.NodeName, reserved: l.Expires.IsZero(), time: time.Now()}}
}

// beat looks at the file and writes the next heartbeat into the very file that
// it looked at.
func (k *keeper) beat() error {
	f, err := os.OpenFile(k.s.path(k.name), os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return k.recreate()
	}
	if err != nil {
		return err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, mostText))
	if err != nil {
		return err
	}
	e := entry{Lease: k.own, name: k.name}
	if e.rec, e.bad = decode(data); e.bad == nil {
		e.Attrs = e.rec.Attrs
	}
	if k.s.foreign(k.own.Attrs, e) {
		return fmt.Errorf("%w, %s", lease.ErrTaken, nodeOf(e))
	}
	if e.bad == nil && k.s.owns(k.own.Attrs, e) {
		k.last.reserved, k.last.beat = e.rec.reserved, e.rec.beat
	}
	return k.write(f, data, e)
}

// write puts the next heartbeat over data, the contents of f.
func (k *keeper) write(f *os.File, data []byte, e entry) error {
	next := k.last.next()
	text, err := next.encode()
	if err != nil {
		return err
	}
	switch {
	case next.reserved && bytes.Equal(text, data):
		return nil // a reservation has no heartbeat
	case sameShape(data, text):
		_, err = f.WriteAt(text, 0)
	default:
		if e.bad != nil || !e.Attrs.Equal(k.own.Attrs) {
			k.s.log.Warn("the own lease was changed; it is written again", "subnet", k.own.Key())
		}
		err = k.s.replace(k.name, next)
	}
	if err == nil {
		k.last = next
	}
	return err
}

// recreate writes the vanished file again if nobody else has taken its place.
// It does not make the folder: if that is gone, the disk is.
func (k *keeper) recreate() error {
	all, err := k.s.list()
	if err != nil {
		return err
	}
	for _, e := range all {
		if k.s.foreign(k.own.Attrs, e) && e.Overlaps(k.own) {
			return fmt.Errorf("%w, %s", lease.ErrTaken, nodeOf(e))
		}
	}
	k.s.log.Warn("the own lease vanished; it is written again", "subnet", k.own.Key())
	k.last.reserved = false
	next := k.last.next()
	if err := k.s.claimAlone(lease.Claim{Attrs: k.own.Attrs}, k.name, next, k.own); err != nil {
		return err
	}
	k.last = next
	return nil
}

// nodeOf names the node of e for an error.
func nodeOf(e entry) string {
	if e.rec.node != "" {
		return e.rec.node
	}
	if e.Attrs.PublicIP.IsValid() {
		return e.Attrs.PublicIP.String()
	}
	return e.Attrs.PublicIPv6.String()
}
