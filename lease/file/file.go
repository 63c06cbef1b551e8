// Package file keeps leases in a folder on a disk that all nodes share (NFS,
// a cluster file system, or just a directory for nodes on one machine), so
// that labs and batch jobs need no etcd.
//
// # Theory of operation
//
//	DIR/net-conf.json                               the configuration, as under etcd
//	DIR/subnets/10.5.1.0-24.json                    one lease, one file
//	DIR/subnets/10.5.2.0-24&fd00:10:5:2::-64.json   …
//
// File names are the keys that flannel uses in etcd, and the text is flannel's
// value with four fields of our own behind it:
//
//	{"PublicIP":"192.168.50.1","PublicIPv6":null,
//	 "Node":"n1","Instance":"QX4ZT7B2KM5RC",
//	 "Beat":"000000000017","Time":"2026-11-21T08:15:46Z"}
//
// So a dump of etcd is a valid folder. A file without Beat, as such a dump or
// an administrator makes it, is a reservation and never expires.
//
// Claiming. A complete temporary file is linked to its name, which fails if
// the name exists, also over NFS: of several nodes one wins. Then the folder
// is listed again, because the same addresses can hide under another name
// (10.5.1.0-24 and 10.5.1.0-24&…). Whoever sees an overlap with another node
// withdraws and tries again; of two, at least the later one sees it.
//
// Names. A node knows its lease by Node, so it finds it again when its address
// has changed. Names can be double (cloned machines, localhost.localdomain),
// which Instance shows: each process draws its own. A lease with our name and
// our address is taken over at once, since that is a restart. One with our
// name and another address is first watched for two intervals. If its Beat
// moves it is another node's, and ours is a new subnet; if not, it is ours
// from before. Whoever finds another Instance in the lease that it keeps, or a
// Beat that it did not write, has lost it.
//
// Heartbeat. Its node rewrites Beat and Time in place, through a file that it
// has opened and found to be its own, and looks what fsync and close say of
// it: a network disk tells of a full disk only there. If the name was meanwhile given to
// another node, the write lands in the unlinked old file and does no harm; a
// rename here could overwrite the new owner. All fields have fixed width, so
// the text is valid at every moment. New contents go by rename.
//
// Expiry. A lease is dead when its Beat has not changed for DeadAfter
// intervals as the observer counts them. Nobody compares clocks; Time is for
// people. An interval counts only if the observer could read the folder and,
// if it holds a lease itself, could write its own beat: when the disk is away,
// full or read-only, nobody dies. A dead lease is no longer reported, but its
// file stays for the node to come back to, until a network without free
// subnets needs the space.
//
// Watching. The folder is read every half interval. Inotify, where it works,
// only makes this faster; no event is relied upon.
package file

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Options says where the folder is and who we are in it.
type Options struct {
	Dir       string        // the shared folder, which must exist
	NodeName  string        // by which a node knows its own lease; default the host name; no two nodes may share one
	Interval  time.Duration // between two heartbeats; default 15 s; the same on all nodes
	DeadAfter int           // intervals without a heartbeat; default 20, which makes five minutes
	NoNotify  bool          // do without inotify
	Log       *slog.Logger
}

// A Store is a [lease.Registrar] and a [lease.Source] over one folder.
type Store struct {
	opt      Options
	log      *slog.Logger
	contact  *contact.Contact
	subnets  string               // the folder with the leases
	instance string               // random; tells this process from others of the same node name
	mute     atomic.Bool          // the last own heartbeat could not be written
	date     atomic.Pointer[date] // of the last own heartbeat; nil before the first
	trust    time.Duration        // see print
	open     opener               // os.OpenFile, but in tests
}

var (
	_ lease.Registrar = (*Store)(nil)
	_ lease.Source    = (*Store)(nil)
)

// New checks the options and returns a Store. It does not touch the folder.
func New(o Options) (*Store, error) {
	if o.Dir == "" {
		return nil, errors.New("lease folder: no directory was given")
	}
	if o.NodeName == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("lease folder: no node name was given: %w", err)
		}
		o.NodeName = name
	}
	o.Interval = cmp.Or(o.Interval, 15*time.Second)
	o.DeadAfter = cmp.Or(o.DeadAfter, 20)
	if o.Interval < 0 || o.DeadAfter < 2 {
		return nil, fmt.Errorf("lease folder: interval %v and %d of them to expiry; at least two are needed", o.Interval, o.DeadAfter)
	}
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	return &Store{
		opt:      o,
		log:      o.Log,
		contact:  contact.New("the lease folder "+o.Dir, o.Log),
		subnets:  filepath.Join(o.Dir, "subnets"),
		instance: rand.Text()[:13], // of 5 bits each
		trust:    2 * time.Second,
		open:     func(path string, flag int, perm fs.FileMode) (handle, error) { return os.OpenFile(path, flag, perm) },
	}, nil
}

// Status tells whether the folder could be read last time.
func (s *Store) Status() lease.StoreStatus { return s.contact.Status() }

// Close does nothing: between calls no file is open.
func (s *Store) Close() error { return nil }

// Config implements [lease.Registrar]. It looks every second and logs a line
// whenever the reason for waiting changes.
func (s *Store) Config(ctx context.Context) (*lease.Config, error) {
	path := filepath.Join(s.opt.Dir, "net-conf.json")
	reason := ""
	for {
		var c *lease.Config
		err := s.do(ctx, func() error {
			data, err := os.ReadFile(path)
			if err == nil {
				c, err = lease.ParseConfig(data)
			}
			return err
		})
		if err == nil {
			return c, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if why := err.Error(); why != reason {
			s.log.Warn("waiting for a network configuration", "file", path, "err", why)
			reason = why
		}
		if !contact.Sleep(ctx, time.Second) {
			return nil, ctx.Err()
		}
	}
}

// Own returns the lease that the folder holds for this node, with the values
// it has there; see the method of the same name of the etcd store. Of several
// it prefers one that is this node's for sure to one that merely has its name.
func (s *Store) Own(ctx context.Context, a lease.Attrs) (l lease.Lease, found bool, err error) {
	err = s.retry(ctx, func() error {
		all, err := s.list()
		best := others
		for _, e := range all {
			if b := s.bond(a, e); b > best {
				l, found, best = e.Lease, true, b
			}
		}
		if errors.Is(err, os.ErrNotExist) {
			return nil // nobody has used the folder yet
		}
		return err
	})
	if err != nil {
		return lease.Lease{}, false, err
	}
	return l, found, nil
}

const (
	slow  = 10 * time.Second       // an operation on the disk that takes longer is reported
	grace = 500 * time.Millisecond // how long its end is awaited when all is to stop
)

// errAbandoned says that an operation on the disk was left running.
var errAbandoned = errors.New("the disk hangs")

// do calls f, which works on the disk, and returns its error. If ctx ends and
// f does not, the error is errAbandoned: a hung network disk blocks f beyond
// remedy, its goroutine is left behind, and what f writes to is f's for ever.
func (s *Store) do(ctx context.Context, f func() error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	began := time.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTimer(slow)
	defer t.Stop()
	end := ctx.Done()
	for {
		select {
		case err := <-done:
			return err
		case <-end:
			end = nil
			t.Reset(grace)
		case <-t.C:
			if ctx.Err() != nil {
				return errAbandoned
			}
			s.contact.Log(errAbandoned, began)
			t.Reset(slow)
		}
	}
}

// retry is [contact.Contact.Retry] for an f that works on the disk.
func (s *Store) retry(ctx context.Context, f func() error, final ...error) error {
	return s.contact.Retry(ctx, func() error { return s.do(ctx, f) }, final...)
}
