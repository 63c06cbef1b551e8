package etcd

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"

	"weft/lease/etcd/internal/zapslog"
)

// reconnect is how a lost connection is made anew; grpc's own figures start at
// one second and end at two minutes.
var reconnect = grpc.ConnectParams{
	Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 2, Jitter: 0.2, MaxDelay: 5 * time.Second},
	MinConnectTimeout: callTimeout,
}

// Close ends all connections. Neither the lease nor its key is touched: they
// are there for the next start.
func (s *Store) Close() error {
	s.sem <- struct{}{}
	defer func() { <-s.sem }()
	s.closed = true
	if s.client == nil {
		return nil
	}
	err := s.client.Close()
	s.hangUp()
	s.client = nil
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// dial returns the client, making it if need be.
func (s *Store) dial(ctx context.Context) (*clientv3.Client, error) {
	select {
	case s.sem <- struct{}{}:
		defer func() { <-s.sem }()
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if s.closed {
		return nil, errors.New("the store is closed")
	}
	if s.client != nil {
		return s.client, nil
	}
	life, hangUp := context.WithCancel(context.Background())
	stop := context.AfterFunc(ctx, hangUp) // ctx limits the making, not the life
	c, err := clientv3.New(clientv3.Config{
		Endpoints:            s.opt.Endpoints,
		TLS:                  s.tls,
		Username:             s.opt.Username,
		Password:             s.opt.Password,
		DialOptions:          []grpc.DialOption{grpc.WithConnectParams(reconnect)},
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 5 * time.Second,
		Context:              life,
		Logger:               zapslog.New(s.log),
	})
	if !stop() && err == nil {
		c.Close()
		err = ctx.Err()
	}
	if err != nil {
		hangUp()
		return nil, err
	}
	s.client, s.hangUp = c, hangUp
	return c, nil
}

// call makes one call to etcd under the time limit.
func call[T any](parent context.Context, s *Store, f func(context.Context, *clientv3.Client) (T, error)) (v T, err error) {
	ctx, cancel := context.WithTimeout(parent, s.timeout)
	defer cancel()
	c, err := s.dial(ctx)
	if err == nil {
		v, err = f(ctx, c)
	}
	switch {
	case err == nil:
		s.contact.OK()
	case errors.Is(err, context.DeadlineExceeded) && parent.Err() == nil:
		err = fmt.Errorf("nothing within %v from %s: %w", s.timeout, strings.Join(s.opt.Endpoints, ", "), err)
	}
	return v, err
}

func (s *Store) get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	return call(ctx, s, func(ctx context.Context, c *clientv3.Client) (*clientv3.GetResponse, error) {
		return c.Get(ctx, key, opts...)
	})
}

// commit carries out ops if all of cmps hold, in one step.
func (s *Store) commit(ctx context.Context, cmps []clientv3.Cmp, ops ...clientv3.Op) (done bool, err error) {
	r, err := call(ctx, s, func(ctx context.Context, c *clientv3.Client) (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).If(cmps...).Then(ops...).Commit()
	})
	return err == nil && r.Succeeded, err
}

// grant makes an etcd lease for our key.
func (s *Store) grant(ctx context.Context) (clientv3.LeaseID, error) {
	r, err := call(ctx, s, func(ctx context.Context, c *clientv3.Client) (*clientv3.LeaseGrantResponse, error) {
		return c.Grant(ctx, int64(s.ttl/time.Second))
	})
	if err != nil {
		return clientv3.NoLease, err
	}
	s.grants.add(r.ID)
	return r.ID, nil
}
