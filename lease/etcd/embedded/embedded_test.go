package embedded_test

import (
	"context"
	"net"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"weft/lease/etcd/embedded"
)

func start(t *testing.T, dir string, listen ...string) *embedded.Server {
	t.Helper()
	s, err := embedded.Start(t.Context(), embedded.Options{Dir: dir, Listen: listen, Volatile: true})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What was put is there after a restart at the same address.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	s := start(t, dir, "http://127.0.0.1:0")
	at := s.Endpoints()[0]
	c, err := clientv3.New(clientv3.Config{Endpoints: s.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Put(t.Context(), "k", "v"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	select {
	case <-s.Done():
	default:
		t.Error("closed, but not done")
	}
	s = start(t, dir, at)
	defer s.Close()
	got, err := c.Get(t.Context(), "k")
	if err != nil || len(got.Kvs) != 1 || string(got.Kvs[0].Value) != "v" {
		t.Errorf("after the restart: %v, %v", got, err)
	}
}

func TestStartErrors(t *testing.T) {
	busy, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer busy.Close()
	for _, tc := range []struct {
		o    embedded.Options
		want string
	}{
		{embedded.Options{}, "no data directory"},
		{embedded.Options{Dir: t.TempDir(), Listen: []string{"127.0.0.1:1"}}, "is not http://HOST:PORT"},
		{embedded.Options{Dir: t.TempDir(), Listen: []string{"http://" + busy.Addr().String()}}, "address already in use"},
	} {
		s, err := embedded.Start(context.Background(), tc.o)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %q", tc.o, err, tc.want)
		}
	}
}
