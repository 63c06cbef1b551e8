package etcd

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	const off = 2 * time.Hour
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/version" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.Header().Set("Date", time.Now().Add(off).UTC().Format(http.TimeFormat))
	}))
	defer server.Close()
	dead := httptest.NewServer(nil)
	dead.Close()
	s, err := New(Options{Endpoints: []string{dead.URL, server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	ahead, err := s.Clock(context.Background())
	if err != nil || (ahead-off).Abs() > time.Minute {
		t.Errorf("ahead by %v, %v; want %v", ahead, err, off)
	}
}

func TestClockUnknown(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
	}))
	defer server.Close()
	s, err := New(Options{Endpoints: []string{server.URL}})
	if err != nil {
		t.Fatal(err)
	}
	if ahead, err := s.Clock(context.Background()); err == nil {
		t.Errorf("ahead by %v of a server that does not tell", ahead)
	}
}

// TestClockOfEtcd asks a real one.
func TestClockOfEtcd(t *testing.T) {
	s := open(t, Options{Endpoints: server.Endpoints()})
	if ahead, err := s.Clock(context.Background()); err != nil || ahead.Abs() > time.Minute {
		t.Errorf("ahead by %v, %v", ahead, err)
	}
}
