// Package embedded runs a whole etcd, of one member, inside this process. It
// is for labs, tests and small clusters whose first node carries the leases of
// all: nothing has to be installed beside weft.
//
// It is a package of its own so that a program which only speaks to an etcd
// does not carry the server along.
package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"sync"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"google.golang.org/grpc"

	"weft/lease/etcd/internal/zapslog"
)

// Options says how the server is to be run.
type Options struct {
	Dir    string   // where its data lives; it is made if missing
	Listen []string // client URLs; default http://127.0.0.1:2379; port 0 picks a free one

	// Files in PEM form for https. With a ClientCAFile, clients must show a
	// certificate that it has signed.
	CertFile, KeyFile, ClientCAFile string

	// Volatile trades safety for speed: nothing is synced to disk, and a
	// crash of the machine may lose leases, and passwords are hashed in
	// haste. For tests and labs.
	Volatile bool

	Log *slog.Logger // etcd's own lines, at debug level; nil: none
}

// A Server is a running etcd.
type Server struct {
	etcd      *embed.Etcd
	rpc       []*grpc.Server // that serve the clients
	endpoints []string
	close     sync.Once
}

// Start runs a server and waits until it can answer, or ctx ends. The peer
// port that etcd insists on is a free one on loopback; nobody calls there.
func Start(ctx context.Context, o Options) (*Server, error) {
	cfg, err := o.config()
	if err != nil {
		return nil, fmt.Errorf("embedded etcd: %w", err)
	}
	s := &Server{}
	cfg.ServiceRegister = func(g *grpc.Server) { s.rpc = append(s.rpc, g) }
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return nil, fmt.Errorf("embedded etcd in %s: %w", o.Dir, err)
	}
	s.etcd = e
	for _, l := range e.Clients {
		u := url.URL{Scheme: cfg.ListenClientUrls[0].Scheme, Host: l.Addr().String()}
		s.endpoints = append(s.endpoints, u.String())
	}
	select {
	case <-e.Server.ReadyNotify():
		return s, nil
	case err = <-e.Err():
	case <-e.Server.StopNotify():
		err = errors.New("it stopped while starting")
	case <-ctx.Done():
		err = ctx.Err()
	}
	s.Close()
	return nil, fmt.Errorf("embedded etcd in %s: %w", o.Dir, err)
}

func (o Options) config() (*embed.Config, error) {
	if o.Dir == "" {
		return nil, errors.New("no data directory was given")
	}
	cfg := embed.NewConfig()
	cfg.Dir = filepath.Clean(o.Dir)
	var err error
	if cfg.ListenClientUrls, err = o.listenURLs(); err != nil {
		return nil, err
	}
	cfg.AdvertiseClientUrls = cfg.ListenClientUrls
	peer := url.URL{Scheme: "http", Host: "127.0.0.1:0"}
	cfg.ListenPeerUrls = []url.URL{peer}
	cfg.AdvertisePeerUrls = []url.URL{peer}
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	if o.CertFile != "" {
		cfg.ClientTLSInfo = transport.TLSInfo{
			CertFile: o.CertFile, KeyFile: o.KeyFile,
			TrustedCAFile: o.ClientCAFile, ClientCertAuth: o.ClientCAFile != "",
		}
	}
	// A single member has nobody to wait for: short ticks make it its own
	// leader at once, and nothing else depends on them.
	cfg.TickMs, cfg.ElectionMs = 10, 50
	if o.Volatile {
		cfg.UnsafeNoFsync = true
		cfg.BcryptCost = 4 // the least there is; passwords here protect nothing
	}
	cfg.EnableGRPCGateway = false // HTTP+JSON; it would dial the listen URL, which has no port yet
	cfg.AutoCompactionMode, cfg.AutoCompactionRetention = embed.CompactorModePeriodic, "1h"
	log := cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	cfg.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapslog.New(log))
	return cfg, nil
}

func (o Options) listenURLs() (urls []url.URL, err error) {
	listen := o.Listen
	if len(listen) == 0 {
		listen = []string{"http://127.0.0.1:2379"}
	}
	for _, text := range listen {
		u, err := url.Parse(text)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("listen URL %q is not http://HOST:PORT or https://HOST:PORT", text)
		}
		urls = append(urls, *u)
	}
	return urls, nil
}

// Endpoints returns the URLs at which clients reach the server.
func (s *Server) Endpoints() []string { return s.endpoints }

// Done is closed when the server has stopped, for whatever reason.
func (s *Server) Done() <-chan struct{} { return s.etcd.Server.StopNotify() }

// Close stops the server and waits for it. The data stays in Dir.
// It may be called again. Clients are cut off; etcd by itself would first wait
// for their calls to end, for five seconds if need be.
func (s *Server) Close() {
	s.close.Do(func() {
		for _, g := range s.rpc {
			g.Stop()
		}
		s.etcd.Close()
	})
}
