// Package etcd keeps leases in etcd v3, in flannel's layout byte for byte, so
// that weft and stock flanneld share one cluster.
//
// # Theory of operation
//
//	PREFIX/config                                net-conf.json
//	PREFIX/subnets/10.5.1.0-24                   {"PublicIP":"192.168.50.1","PublicIPv6":null}
//	PREFIX/subnets/10.5.2.0-24&fd00:10:5:2::-64  …
//
// A lease's key hangs on an etcd lease of 24 hours, which its node renews one
// margin before the end. A key without an etcd lease is a reservation and
// stays one. Listing and watching use PREFIX/subnets/ with the closing slash.
//
// Watching. A listing at revision R is the full truth; the watch goes on from
// R+1. The etcd client resumes a broken stream at the next revision by itself.
// Whatever may leave a gap (compaction, a lost leader, an outage noticed by
// the probe, a revision that went back because etcd came up with other data)
// ends in a new full listing. A peer's key costs no further call: when it is
// to expire is etcd's business, and peers go when etcd deletes the key.
//
// Claiming. List, plan, and then one transaction which demands that no lease
// was created since the listing. That makes claims strictly one after the
// other, so two nodes can never get overlapping subnets, also not under
// different keys (10.5.1.0-24 and 10.5.1.0-24&…). Who loses lists again.
//
// Keeping. A loop compares the own key with what it should be, at every change
// of the key and every few seconds, and repairs the difference.
//
// Rivals. A node is known by its public address, so a second process with the
// same one takes the key over as if it were a restart, and both then hold one
// subnet. Its etcd lease betrays it: this process granted all of its own. The
// key is taken back, at most about once a minute, not to win but to let a rival
// that looks see it as well; and the status tells of it until long after the
// last write of the rival.
//
// Nothing here is fatal: while etcd is away everything waits, says so every
// half minute, and goes on when it is back. Each call has a time limit.
package etcd

import (
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"path"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease"
	"weft/lease/internal/contact"
)

// Options says where etcd is and who we are to it. The names in brackets are
// flanneld's flags.
type Options struct {
	Endpoints []string // [etcd-endpoints] default http://127.0.0.1:4001, http://127.0.0.1:2379
	Prefix    string   // [etcd-prefix] default /coreos.com/network

	// PEM files [etcd-cafile, etcd-certfile, etcd-keyfile]. The CA alone is
	// enough for a server with a private CA; a certificate needs its key.
	// The pair is read anew for each connection, so it can be rotated.
	CAFile, CertFile, KeyFile string

	Username, Password string // [etcd-username, etcd-password]

	RenewMargin time.Duration // [subnet-lease-renew-margin] default 1 h, 1 min to 23 h 59 min
	Log         *slog.Logger
}

const (
	leaseTTL    = 24 * time.Hour
	callTimeout = 5 * time.Second
)

// A Store is a [lease.Registrar] and a [lease.Source] over one etcd.
type Store struct {
	opt     Options
	log     *slog.Logger
	tls     *tls.Config // nil: the client's default for the scheme
	contact *contact.Contact
	junk    junk
	grants  grants
	config  string // key of the configuration
	subnets string // prefix of the leases' keys, with its slash

	ttl        time.Duration // of a lease
	timeout    time.Duration // of one call
	checkEvery time.Duration // between two looks at etcd and at the own key

	// The client is made at its first use, because with a password that
	// already takes a call. Holding the one slot of sem guards what follows.
	sem    chan struct{}
	client *clientv3.Client
	hangUp context.CancelFunc // ends the client's connections
	closed bool
}

var (
	_ lease.Registrar = (*Store)(nil)
	_ lease.Source    = (*Store)(nil)
)

// New checks the options and returns a Store. It does not yet call etcd.
func New(o Options) (*Store, error) {
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	o.RenewMargin = cmp.Or(o.RenewMargin, time.Hour)
	if o.RenewMargin < time.Minute || o.RenewMargin > leaseTTL-time.Minute {
		return nil, fmt.Errorf("etcd: renew margin %v is not in 1m..23h59m", o.RenewMargin)
	}
	if err := o.cleanEndpoints(); err != nil {
		return nil, err
	}
	tlsConf, err := o.tlsConfig()
	if err != nil {
		return nil, err
	}
	prefix := cmp.Or(o.Prefix, "/coreos.com/network")
	return &Store{
		opt:        o,
		log:        o.Log,
		tls:        tlsConf,
		contact:    contact.New("etcd", o.Log),
		config:     path.Join(prefix, "config"),
		subnets:    path.Join(prefix, "subnets") + "/",
		ttl:        leaseTTL,
		timeout:    callTimeout,
		checkEvery: 15 * time.Second,
		sem:        make(chan struct{}, 1),
	}, nil
}

// cleanEndpoints trims and checks the URLs.
func (o *Options) cleanEndpoints() error {
	var eps []string
	for _, e := range o.Endpoints {
		if e = strings.TrimSpace(e); e == "" {
			continue
		}
		if u, err := url.Parse(e); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil {
			return fmt.Errorf("etcd: endpoint %q is not http://HOST:PORT or https://HOST:PORT", e)
		}
		eps = append(eps, e)
	}
	if len(eps) == 0 {
		eps = []string{"http://127.0.0.1:4001", "http://127.0.0.1:2379"}
	}
	o.Endpoints = eps
	return nil
}

// Status tells how the connection is.
func (s *Store) Status() lease.StoreStatus { return s.contact.Status() }
