package main

import (
	"bytes"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestHealthHandler(t *testing.T) {
	var ok bool
	why := "no lease yet"
	var metrics http.Handler
	h := healthHandler(func() (bool, string) { return ok, why }, func() http.Handler { return metrics })
	get := func(path string, code int, body string) {
		t.Helper()
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		if w.Code != code {
			t.Errorf("%s: code %d, want %d", path, w.Code, code)
		}
		if body != "" && w.Body.String() != body {
			t.Errorf("%s: body %q, want %q", path, w.Body, body)
		}
		if ct := w.Header().Get("Content-Type"); !strings.HasPrefix(ct, "text/plain") {
			t.Errorf("%s: content type %q", path, ct)
		}
	}
	get("/healthz", 200, "flanneld is running")
	get("/readyz", 503, "flanneld is not ready: no lease yet")
	ok = true
	get("/readyz", 200, "flanneld is ready")
	ok, why = false, "flannel0 is gone"
	get("/readyz", 503, "flanneld is not ready: flannel0 is gone")
	get("/healthz", 200, "flanneld is running")
	for _, path := range []string{"/", "/metrics", "/healthz/", "/healthz/x"} {
		get(path, 404, "")
	}
	metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "weft_up 1") })
	get("/metrics", 200, "weft_up 1")
}

func TestHealthServer(t *testing.T) {
	defer goleak.VerifyNone(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + ln.Addr().String() + "/healthz"
	stop := serveOn(ln, slog.New(slog.DiscardHandler), healthHandler(func() (bool, string) { return true, "" }, nil))
	client := &http.Client{Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	res, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil || string(body) != "flanneld is running" {
		t.Errorf("body %q, err %v", body, err)
	}
	stop()
	if res, err := client.Get(url); err == nil {
		res.Body.Close()
		t.Error("the server answers after it was stopped")
	}
}

// TestHealthServerCannotListen takes the port first. flanneld panics there.
func TestHealthServerCannotListen(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	var b bytes.Buffer
	log := slog.New(slog.NewTextHandler(&b, nil))
	port := ln.Addr().(*net.TCPAddr).Port
	stop := serveHealth(t.Context(), log, "127.0.0.1", port, nil)
	stop()
	if !strings.Contains(b.String(), "level=ERROR") || !strings.Contains(b.String(), ln.Addr().String()) {
		t.Errorf("want an error that names %s, got %q", ln.Addr(), &b)
	}
}

func TestHealthServerOff(t *testing.T) {
	for _, port := range []int{0, -1} {
		var b bytes.Buffer
		serveHealth(t.Context(), slog.New(slog.NewTextHandler(&b, nil)), "0.0.0.0", port, nil)()
		if b.Len() > 0 {
			t.Errorf("port %d: %s", port, &b)
		}
	}
}

// With --metrics=false the health port has no metrics, though there are some.
func TestMetricsOff(t *testing.T) {
	for on, code := range map[bool]int{true: 200, false: 404} {
		opt := defaultOptions()
		opt.metrics = on
		s := &supervisor{opt: opt, metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { answer(w, 200, "weft_up 1") })}
		w := httptest.NewRecorder()
		healthHandler(nil, s.metricsHandler).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		if w.Code != code {
			t.Errorf("--metrics=%v: code %d, want %d", on, w.Code, code)
		}
	}
}

// No client holds a connection of the health server for ever.
func TestHealthServerBounds(t *testing.T) {
	srv := healthServer(slog.New(slog.DiscardHandler), nil)
	if srv.ReadTimeout <= 0 || srv.WriteTimeout <= 0 || srv.IdleTimeout <= 0 {
		t.Errorf("times to read %v, to write %v and idle %v; want all bounded", srv.ReadTimeout, srv.WriteTimeout, srv.IdleTimeout)
	}
}
