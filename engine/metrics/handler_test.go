package metrics

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"weft/encap"
	"weft/engine/control"
)

// A fixed node always has the same Status.
type fixed control.Status

func (f fixed) Status(context.Context) control.Status { return control.Status(f) }

// scrapeText gets the metrics of a node as text, and what was logged.
func scrapeText(t *testing.T, st control.Status, opts ...Option) (text, logged string) {
	t.Helper()
	var log bytes.Buffer
	w := httptest.NewRecorder()
	Handler(fixed(st), slog.New(slog.NewTextHandler(&log, nil)), opts...).
		ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("answered %d: %s", w.Code, w.Body)
	}
	return w.Body.String(), log.String()
}

// gather gets the metrics of a node as Prometheus understands them.
func gather(t *testing.T, st control.Status, opts ...Option) map[string]*dto.MetricFamily {
	t.Helper()
	text, logged := scrapeText(t, st, opts...)
	if logged != "" {
		t.Errorf("logged %s", logged)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in:\n%s", err, text)
	}
	return families
}

// samples returns the samples of a metric by their labels, as name=value,…
func samples(f *dto.MetricFamily) map[string]float64 {
	out := map[string]float64{}
	for _, m := range f.GetMetric() {
		var labels []string
		for _, l := range m.Label {
			labels = append(labels, l.GetName()+"="+l.GetValue())
		}
		out[strings.Join(labels, ",")] = m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return out
}

// Every row of the table reads what it says it does.
func TestSamples(t *testing.T) {
	const n2, n3 = "peer=192.0.2.12,subnet=10.244.2.0/24", "peer=192.0.2.13,subnet=10.244.3.0/24"
	const n4 = "peer=2001:db8::4,subnet=fd00:244:4::/64"
	at := float64(start.Unix())
	want := map[string]map[string]float64{
		"weft_up":                          {"": 1},
		"weft_health":                      {"state=ok": 0, "state=degraded": 1, "state=down": 0},
		"weft_engine_open":                 {"": 1},
		"weft_feature_enabled":             {"feature=vnet": 1, "feature=gso": 1, "feature=uso": 0},
		"weft_mtu_bytes":                   {"": 1450},
		"weft_underlay_mtu_bytes":          {"iface=eth0": 1500},
		"weft_repairs_total":               {"what=route": 2},
		"weft_trace_sessions":              {"": 1},
		"weft_trace_records_lost_total":    {"": 9},
		"weft_packets_total":               {"direction=out": 100, "direction=in": 200},
		"weft_bytes_total":                 {"direction=out": 90000, "direction=in": 180000},
		"weft_io_calls_total":              {"direction=out": 10, "direction=in": 20},
		"weft_batches_total":               {"direction=out": 5, "direction=in": 6},
		"weft_socket_drops_total":          {"address=192.0.2.11:8472,kind=vxlan": 7},
		"weft_tun_queue_drops_total":       {"": 5},
		"weft_icmp_answers_total":          {"": 11},
		"weft_leases":                      {"": 4},
		"weft_leases_refused":              {"": 1},
		"weft_lease_store_connected":       {"kind=etcd": 1},
		"weft_peers":                       {"state=ok": 1, "state=new": 1, "state=silent": 0, "state=down": 1, "state=unusable": 0},
		"weft_peer_series_omitted":         {"": 0},
		"weft_peer_up":                     {n2: 1, n3: 0},
		"weft_peer_rtt_seconds":            {n2: 0.0006},
		"weft_peer_probe_loss_ratio":       {n2: 0, n3: 1},
		"weft_peer_probes_total":           {n2: 12, n3: 0, n4: 0},
		"weft_peer_probe_answers_total":    {n2: 11, n3: 0, n4: 0},
		"weft_peer_mtu_bytes":              {n2: 1350, n3: 1420, n4: 1430},
		"weft_peer_path_mtu_bytes":         {n2: 1400},
		"weft_peer_sent_packets_total":     {n2: 60, n3: 0, n4: 0},
		"weft_peer_sent_bytes_total":       {n2: 6000, n3: 0, n4: 0},
		"weft_peer_received_packets_total": {n2: 70, n3: 0, n4: 0},
		"weft_peer_received_bytes_total":   {n2: 7000, n3: 0, n4: 0},

		"weft_lease_expiry_timestamp_seconds":             {"": at + 24*3600},
		"weft_lease_store_last_contact_timestamp_seconds": {"": at + 50*60},
		"weft_lease_store_last_change_timestamp_seconds":  {"": at + 60},
		"weft_lease_store_clock_skew_seconds":             {"": 0.25},
		"weft_peer_heard_timestamp_seconds":               {n2: at + 30*60},
		"weft_peer_handshake_timestamp_seconds":           {n3: at + 60},
		"weft_peer_lease_expiry_timestamp_seconds":        {n3: at + 2*3600},
	}
	got := gather(t, full())
	for name, w := range want {
		if g := samples(got[name]); !maps.Equal(g, w) {
			t.Errorf("%s is %v, want %v", name, g, w)
		}
	}
	for _, n := range Names() {
		f := got[n.Name]
		if f == nil {
			t.Errorf("%s is not in the exposition of a full Status", n.Name)
			continue
		}
		if strings.ToLower(f.GetType().String()) != n.Type || f.GetHelp() != n.Help {
			t.Errorf("%s is a %s, %q; Names says %s, %q", n.Name, f.GetType(), f.GetHelp(), n.Type, n.Help)
		}
		if _, ok := want[n.Name]; !ok && !strings.HasSuffix(n.Name, "_info") && n.Name != "weft_drops_total" {
			t.Errorf("%s is not looked at", n.Name)
		}
	}
	for name := range got {
		if strings.HasPrefix(name, "weft_") && !slices.ContainsFunc(Names(), func(n Info) bool { return n.Name == name }) {
			t.Errorf("%s is not in Names", name)
		}
	}
	for _, of := range []string{"go_goroutines", "process_cpu_seconds_total"} {
		if got[of] == nil {
			t.Errorf("no %s", of)
		}
	}
}

func TestInfo(t *testing.T) {
	got := gather(t, full())
	for name, part := range map[string]string{
		"weft_build_info": "platform=linux/arm64,version=v1.2.3",
		"weft_node_info":  "backend=vxlan,iface=eth0,nested=wireguard,node=n1,public=192.0.2.11,public6=,source_check=strict,subnet=10.244.1.0/24,subnet6=fd00:244:1::/64",
		"weft_peer_info":  "backend=vxlan,endpoint=192.0.2.12:8472,peer=192.0.2.12,subnet=10.244.2.0/24,via=vxlan,weft=v1.2.2",
	} {
		if all := slices.Collect(maps.Keys(samples(got[name]))); !slices.ContainsFunc(all, func(s string) bool { return strings.Contains(s, part) }) {
			t.Errorf("%s has %q, none with %s", name, all, part)
		}
	}
}

// Every reason is there before it occurs, so that increase sees its first packet.
func TestDrops(t *testing.T) {
	got := samples(gather(t, full())["weft_drops_total"])
	if want := 2 * (int(encap.NumDrops) - 1); len(got) != want {
		t.Errorf("%d series, want %d", len(got), want)
	}
	for labels, want := range map[string]float64{
		"direction=out,reason=too_big": 6, "direction=in,reason=too_big": 0,
		"direction=out,reason=ttl_exceeded": 1, "direction=in,reason=ttl_exceeded": 2,
		"direction=in,reason=inner_src_not_in_lease": 0,
	} {
		if v, ok := got[labels]; !ok || v != want {
			t.Errorf("%s is %v (%v), want %v", labels, v, ok, want)
		}
	}
}

func TestLint(t *testing.T) {
	text, _ := scrapeText(t, full())
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "weft_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// An empty Status, as of a node that has just been made, is shown without times
// of the year 1 and without peers.
func TestEmpty(t *testing.T) {
	got := gather(t, control.Status{})
	for _, name := range []string{"weft_lease_expiry_timestamp_seconds", "weft_lease_store_clock_skew_seconds", "weft_peer_up"} {
		if got[name] != nil {
			t.Errorf("%s has samples: %v", name, got[name])
		}
	}
	if up := samples(got["weft_up"]); up[""] != 0 {
		t.Errorf("weft_up is %v", up)
	}
}

// Beyond the bound peers are only counted, and it is always the same ones that
// are shown, in whatever order they come.
func TestPeerSeries(t *testing.T) {
	var st control.Status
	for i := range 20 {
		st.Peers = append(st.Peers, control.Peer{Subnet: netip.MustParsePrefix(fmt.Sprintf("10.244.%d.0/24", i)), State: control.PeerOK})
	}
	first := samples(gather(t, st, PeerSeries(3))["weft_peer_up"])
	slices.Reverse(st.Peers)
	got := gather(t, st, PeerSeries(3))
	again := samples(got["weft_peer_up"])
	if len(first) != 3 || !maps.Equal(first, again) || again["peer=,subnet=10.244.2.0/24"] != 1 {
		t.Errorf("shown are %v, then %v; want the first three subnets", first, again)
	}
	if n := samples(got["weft_peer_series_omitted"])[""]; n != 17 {
		t.Errorf("%v omitted, want 17", n)
	}
	if n := samples(got["weft_peers"])["state=ok"]; n != 20 {
		t.Errorf("%v peers are ok, want 20", n)
	}
	if got := gather(t, st, PeerSeries(0)); got["weft_peer_up"] != nil {
		t.Error("series in spite of a bound of 0")
	}
	if got := samples(gather(t, st)["weft_peer_up"]); len(got) != 20 {
		t.Errorf("%d series without an option, want 20", len(got))
	}
}

// What stands in the lease store spoils no scrape: neither bytes that are no
// text nor two leases that look the same.
func TestOddPeers(t *testing.T) {
	p := control.Peer{Weft: "a\xff\n\"b", Subnet: netip.MustParsePrefix("10.244.2.0/24"), State: control.PeerOK}
	got := gather(t, control.Status{Peers: []control.Peer{p, p}})
	if s := samples(got["weft_peer_info"]); len(s) != 1 || !strings.Contains(slices.Collect(maps.Keys(s))[0], "weft=a\uFFFD\n\"b") {
		t.Errorf("weft_peer_info is %v", s)
	}
	if n := samples(got["weft_peer_series_omitted"])[""]; n != 1 {
		t.Errorf("%v omitted, want 1", n)
	}
}

// What cannot be shown is logged and left out; the rest stands.
func TestErrorsAreLogged(t *testing.T) {
	st := full()
	st.Engine.Repairs = append(st.Engine.Repairs, st.Engine.Repairs...) // two samples of the same labels
	text, logged := scrapeText(t, st)
	if !strings.Contains(logged, "weft_repairs_total") {
		t.Errorf("logged %q", logged)
	}
	if !strings.Contains(text, "weft_up 1\n") {
		t.Errorf("the rest is missing:\n%s", text)
	}
}

// The end of the request ends the Status.
func TestContext(t *testing.T) {
	type key struct{}
	var got any
	h := Handler(sourceFunc(func(ctx context.Context) control.Status {
		got = ctx.Value(key{})
		return control.Status{}
	}), slog.New(slog.NewTextHandler(io.Discard, nil)))
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	h.ServeHTTP(httptest.NewRecorder(), r.WithContext(context.WithValue(r.Context(), key{}, "mine")))
	if got != "mine" {
		t.Errorf("Status was asked with another context: %v", got)
	}
}

// Scrapes that hang hold up two of their kind, and end with the time for a Status.
func TestScrapesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := Handler(sourceFunc(func(ctx context.Context) control.Status {
			<-ctx.Done()
			return full()
		}), slog.New(slog.DiscardHandler))
		get := func() int {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return w.Code
		}
		codes := make(chan int, maxScrapes)
		for range maxScrapes {
			go func() { codes <- get() }()
		}
		synctest.Wait()
		if code := get(); code != http.StatusServiceUnavailable {
			t.Errorf("one too many: code %d", code)
		}
		for range maxScrapes {
			if code := <-codes; code != http.StatusOK {
				t.Errorf("code %d", code)
			}
		}
		if code := get(); code != http.StatusOK {
			t.Errorf("after them: code %d", code)
		}
	})
}

type sourceFunc func(context.Context) control.Status

func (f sourceFunc) Status(ctx context.Context) control.Status { return f(ctx) }

func TestTable(t *testing.T) {
	table := Table()
	if n := strings.Count(table, "\n"); n != len(Names())+2 {
		t.Errorf("%d lines for %d metrics", n, len(Names()))
	}
	if line := "| `weft_drops_total` | counter | direction, reason | "; !strings.Contains(table, line) {
		t.Errorf("no line %q in\n%s", line, table)
	}
}
