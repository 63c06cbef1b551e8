package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
)

// An entry is a lease as it lies in etcd.
type entry struct {
	lease.Lease
	key string
	rev int64            // of the last change of the key
	id  clientv3.LeaseID // NoLease: a reservation
	bad bool             // the key names subnets, but the value cannot be read
}

// list returns every key below the prefix that names subnets, and the revision
// at which this is the truth. Keys that name none are logged and left out.
func (s *Store) list(ctx context.Context) ([]entry, int64, error) {
	r, err := s.get(ctx, s.subnets, clientv3.WithPrefix())
	if err != nil {
		return nil, 0, err
	}
	all := make([]entry, 0, len(r.Kvs))
	for _, kv := range r.Kvs {
		if e, ok := s.read(kv); ok {
			all = append(all, e)
		}
	}
	return all, r.Header.Revision, nil
}

// read makes an entry of what etcd holds; false if the key names no subnets.
func (s *Store) read(kv *mvccpb.KeyValue) (entry, bool) {
	e := entry{key: string(kv.Key), rev: kv.ModRevision, id: clientv3.LeaseID(kv.Lease)}
	l, err := s.parseKey(e.key)
	if err != nil {
		s.junk.report(s.log, e.key, err)
		return e, false
	}
	e.Lease = l
	if err := json.Unmarshal(kv.Value, &e.Attrs); err != nil {
		s.junk.report(s.log, e.key, err)
		e.bad, e.Attrs = true, lease.Attrs{}
		return e, true
	}
	s.junk.forget(e.key)
	if e.id != clientv3.NoLease {
		// At the latest; asking etcd would cost a call for every lease.
		e.Expires = time.Now().Add(s.ttl)
	}
	return e, true
}

// parseKey returns the subnets that a key names.
func (s *Store) parseKey(key string) (lease.Lease, error) {
	name, ok := strings.CutPrefix(key, s.subnets)
	if !ok {
		return lease.Lease{}, fmt.Errorf("it is not below %s", s.subnets)
	}
	v4, v6, err := lease.ParseKey(name)
	return lease.Lease{Subnet: v4, Subnet6: v6}, err
}

func (s *Store) key(l lease.Lease) string { return s.subnets + l.Key() }

// junk remembers which unreadable leases were logged, so that one that is
// written again and again fills no log.
type junk struct {
	mu   sync.Mutex
	seen map[string]string // key → reason
}

// mostJunk bounds what is remembered; past it, all is forgotten.
const mostJunk = 1000

func (j *junk) report(log *slog.Logger, key string, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.seen[key] == err.Error() {
		return
	}
	if j.seen == nil || len(j.seen) >= mostJunk {
		j.seen = map[string]string{}
	}
	j.seen[key] = err.Error()
	log.Warn("a lease that cannot be read is left out", "subnet", clip(key), "err", clip(err.Error()))
}

func (j *junk) forget(key string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.seen, key)
}

// clip shortens what others wrote, for the log.
func clip(s string) string {
	const most = 200
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
