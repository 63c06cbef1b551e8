package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"weft/engine/control"
)

// MaxPeers is how many peers have series of their own, unless [PeerSeries] says
// otherwise.
const MaxPeers = 500

// A Source is a node whose metrics are wanted.
type Source interface {
	Status(ctx context.Context) control.Status
}

// An Option changes what [Handler] shows.
type Option func(*exporter)

// PeerSeries bounds how many peers have series of their own; 0 is none.
func PeerSeries(n int) Option { return func(e *exporter) { e.peers = n } }

// An exporter has what all scrapes have in common.
type exporter struct {
	source  Source
	log     *slog.Logger
	peers   int
	process *prometheus.Registry // of the process and the Go runtime
	scrapes chan struct{}        // a slot for each that is under way
	table   []metric
	descs   []*prometheus.Desc // of table's rows
}

// Bounds of what scrapes may cost the node. The health port asks nobody who he is.
const (
	maxScrapes = 2                // at once
	scrapeTime = 10 * time.Second // for the Status of one
)

// Handler answers with the metrics of n as of that moment, in the format that the
// request asks for. A metric that cannot be shown is left out and logged. While
// two requests are answered, a third one gets the status 503.
func Handler(n Source, log *slog.Logger, opts ...Option) http.Handler {
	e := &exporter{source: n, log: log, peers: MaxPeers, process: prometheus.NewRegistry(), table: all(),
		scrapes: make(chan struct{}, maxScrapes)}
	for _, o := range opts {
		o(e)
	}
	e.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for _, m := range e.table {
		e.descs = append(e.descs, prometheus.NewDesc(m.name, m.help, m.labels, nil))
	}
	return e
}

// ServeHTTP answers one scrape. It has a registry of its own, because a
// collector is not told of the request, whose end is to end the Status too.
func (e *exporter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	select {
	case e.scrapes <- struct{}{}:
		defer func() { <-e.scrapes }()
	default:
		http.Error(w, fmt.Sprintf("metrics: %d scrapes are under way", maxScrapes), http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), scrapeTime)
	defer cancel()
	own := prometheus.NewRegistry()
	if err := own.Register(&scrape{e, ctx}); err != nil {
		e.log.Error("metrics: registering those of this scrape", "err", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	promhttp.HandlerFor(prometheus.Gatherers{own, e.process}, promhttp.HandlerOpts{
		ErrorLog:      errorLog{e.log},
		ErrorHandling: promhttp.ContinueOnError,
	}).ServeHTTP(w, r)
}

// A scrape collects the metrics of one request.
type scrape struct {
	*exporter
	ctx context.Context
}

// Describe says which metrics there may be.
func (s *scrape) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range s.descs {
		ch <- d
	}
}

// Collect takes a Status and reads the metrics from it.
func (s *scrape) Collect(ch chan<- prometheus.Metric) {
	snap := &snapshot{Status: s.source.Status(s.ctx)}
	snap.shown, snap.omitted = choose(snap.Peers, s.peers)
	for i, m := range s.table {
		desc := s.descs[i]
		m.read(snap, func(v float64, labels ...string) {
			for i := range labels { // names come from the lease store, where anything may stand
				labels[i] = strings.ToValidUTF8(labels[i], "\uFFFD")
			}
			sample, err := prometheus.NewConstMetric(desc, m.kind, v, labels...)
			if err != nil {
				sample = prometheus.NewInvalidMetric(desc, fmt.Errorf("%s: %w", m.name, err))
			}
			ch <- sample
		})
	}
}

// errorLog writes what promhttp complains of to a slog.Logger.
type errorLog struct{ log *slog.Logger }

// Println logs one complaint.
func (l errorLog) Println(v ...any) {
	l.log.Error("metrics: not all could be shown", "err", strings.TrimSpace(fmt.Sprintln(v...)))
}
