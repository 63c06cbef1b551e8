package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"
)

// healthHandler answers as flanneld does: /healthz says that the process runs,
// /readyz whether the node carries packets now and, with 503, why not. /metrics
// is there as soon as metrics returns a handler. Everything else is 404.
func healthHandler(ready func() (ok bool, why string), metrics func() http.Handler) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, "flanneld is running")
	})
	mux.HandleFunc("/readyz", func(w http.ResponseWriter, _ *http.Request) {
		if ok, why := ready(); !ok {
			answer(w, http.StatusServiceUnavailable, "flanneld is not ready: "+why)
			return
		}
		answer(w, http.StatusOK, "flanneld is ready")
	})
	mux.HandleFunc("/metrics", func(w http.ResponseWriter, r *http.Request) {
		h := metrics()
		if h == nil {
			h = http.NotFoundHandler()
		}
		h.ServeHTTP(w, r)
	})
	return mux
}

func answer(w http.ResponseWriter, code int, body string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	fmt.Fprint(w, body) // the reader may be gone; nothing is to be done about it
}

// healthWriteTime is how long an answer may take, a scrape of metrics and a
// client that reads slowly included.
const healthWriteTime = 30 * time.Second

// healthStopTime is how long open requests may take when the server stops.
const healthStopTime = 100 * time.Millisecond

// serveHealth starts the health server and returns the function that stops it.
// A port of 0 or below means none. A server that cannot listen is reported in
// the log only: packets matter more than being asked about them.
func serveHealth(ctx context.Context, log *slog.Logger, ip string, port int, h http.Handler) (stop func()) {
	if port <= 0 {
		return func() {}
	}
	at := net.JoinHostPort(ip, strconv.Itoa(port))
	ln, err := new(net.ListenConfig).Listen(ctx, listenNetwork(ip), at)
	if err != nil {
		log.Error("health server cannot listen; going on without it", "address", at, "err", err)
		return func() {}
	}
	return serveOn(ln, log, h)
}

// listenNetwork keeps an IPv4 address from opening a socket for both families.
func listenNetwork(ip string) string {
	if a, err := netip.ParseAddr(ip); err == nil && a.Is4() {
		return "tcp4"
	}
	return "tcp"
}

// healthServer bounds what a client can hold up.
func healthServer(log *slog.Logger, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      healthWriteTime,
		IdleTimeout:       2 * time.Minute,
		ErrorLog:          slog.NewLogLogger(log.Handler(), slog.LevelWarn),
	}
}

func serveOn(ln net.Listener, log *slog.Logger, h http.Handler) (stop func()) {
	srv := healthServer(log, h)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); err != http.ErrServerClosed {
			log.Error("health server ended", "err", err)
		}
	}()
	log.Info("health server listens", "address", ln.Addr().String())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), healthStopTime)
		defer cancel()
		if err := srv.Shutdown(ctx); err != nil {
			srv.Close()
		}
		<-done
	}
}
