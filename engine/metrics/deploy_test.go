package metrics

import (
	"encoding/json"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	dashboardFile = "../../deploy/grafana/weft.json"
	alertsFile    = "../../deploy/prometheus/weft-alerts.yml"
)

// A dashboard is what of Grafana's model the test looks at.
type dashboard struct {
	Title      string
	UID        string
	Templating struct {
		List []struct {
			Name, Type, Definition string
		}
	}
	Panels []dashboardPanel
}

type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	Datasource               struct{ Type, UID string }
	GridPos                  struct{ H, W, X, Y int }
	FieldConfig              struct {
		Defaults struct{ Unit string }
	}
	Targets []struct {
		RefID, Expr, LegendFormat string
		Datasource                struct{ UID string }
	}
}

func read(t *testing.T, file string, decode func([]byte) error) {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := decode(b); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
}

var legendLabel = regexp.MustCompile(`\{\{\s*(\w+)\s*\}\}`)

// What the dashboard asks for is what a node exposes.
func TestDashboard(t *testing.T) {
	var d dashboard
	read(t, dashboardFile, func(b []byte) error { return json.Unmarshal(b, &d) })
	c := offered(t)
	var vars []string
	for _, v := range d.Templating.List {
		vars = append(vars, v.Name+":"+v.Type)
		if m := regexp.MustCompile(`^label_values\((.*), (\w+)\)$`).FindStringSubmatch(v.Definition); v.Type == "query" && m == nil {
			t.Errorf("variable %s: %q is no label_values", v.Name, v.Definition)
		} else if m != nil && !slices.Contains(c.check(t, "variable "+v.Name, m[1]), m[2]) {
			t.Errorf("variable %s: no label %s", v.Name, m[2])
		}
	}
	if want := []string{"datasource:datasource", "node:query", "peer:query"}; d.Title == "" || d.UID == "" || !slices.Equal(vars, want) {
		t.Errorf("title %q, uid %q, variables %q; want %q", d.Title, d.UID, vars, want)
	}
	used, ids := map[string]bool{}, map[int]bool{}
	for _, p := range d.Panels {
		if p.Title == "" || ids[p.ID] {
			t.Errorf("panel %d %q: no title, or a number that another has", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type == "row" {
			continue
		}
		if p.FieldConfig.Defaults.Unit == "" || p.Description == "" || len(p.Targets) == 0 || p.Datasource.UID != "${datasource}" {
			t.Errorf("panel %q: unit %q, description %q, %d queries to %q", p.Title, p.FieldConfig.Defaults.Unit, p.Description, len(p.Targets), p.Datasource.UID)
		}
		var refs []string
		for _, q := range p.Targets {
			refs = append(refs, q.RefID)
			labels := c.check(t, "panel "+p.Title, q.Expr)
			for _, m := range legendLabel.FindAllStringSubmatch(q.LegendFormat, -1) {
				if !slices.Contains(labels, m[1]) {
					t.Errorf("panel %q: %s has no label %s for its legend", p.Title, q.Expr, m[1])
				}
			}
			if !strings.Contains(q.Expr, `instance=~"$node"`) || q.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q: %s is not of the chosen nodes and data source", p.Title, q.Expr)
			}
			parsed, _ := parseQuery(q.Expr) // check has complained
			for _, s := range parsed.selectors {
				used[s.name] = true
			}
		}
		if slices.Sort(refs); len(slices.Compact(slices.Clone(refs))) != len(refs) {
			t.Errorf("panel %q: queries %q are not told apart", p.Title, refs)
		}
	}
	overlaps(t, d.Panels)
	for _, n := range Names() {
		if left := []string{"weft_engine_open", "weft_peer_series_omitted", "weft_peer_info", "weft_peer_lease_expiry_timestamp_seconds",
			"weft_peer_probes_total", "weft_peer_probe_answers_total", "weft_peer_sent_packets_total", "weft_peer_received_packets_total"}; !used[n.Name] && !slices.Contains(left, n.Name) {
			t.Errorf("no panel shows %s", n.Name)
		}
	}
}

// overlaps complains of panels that lie on one another or leave the grid.
func overlaps(t *testing.T, panels []dashboardPanel) {
	t.Helper()
	type cell struct{ x, y int }
	taken := map[cell]string{}
	for _, p := range panels {
		g := p.GridPos
		if g.W < 1 || g.H < 1 || g.X < 0 || g.X+g.W > 24 {
			t.Errorf("panel %q: %+v is not on the grid", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := taken[cell{x, y}]; other != "" {
					t.Fatalf("panel %q lies on %q", p.Title, other)
				}
				taken[cell{x, y}] = p.Title
			}
		}
	}
}

// An alertFile is what of Prometheus' rule files the test looks at.
type alertFile struct {
	Groups []struct {
		Name  string
		Rules []struct {
			Alert, Expr, For    string
			Labels, Annotations map[string]string
		}
	}
}

var (
	templateLabel = regexp.MustCompile(`\$labels\.(\w+)`)
	command       = regexp.MustCompile(`\bweft (status|doctor|ping|drops|trace|explain)\b`)
)

// What the alerts look at is what a node exposes, and each says what to do.
func TestAlerts(t *testing.T) {
	var f alertFile
	read(t, alertsFile, func(b []byte) error { return yaml.UnmarshalStrict(b, &f) })
	c, names := offered(t), map[string]bool{}
	for _, g := range f.Groups {
		for _, r := range g.Rules {
			if !strings.HasPrefix(r.Alert, "Weft") || names[r.Alert] {
				t.Errorf("%s: not a name of ours, or there twice", r.Alert)
			}
			names[r.Alert] = true
			labels := c.check(t, r.Alert, r.Expr)
			if s := r.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, s) {
				t.Errorf("%s: severity %q", r.Alert, s)
			}
			if r.Annotations["summary"] == "" || !command.MatchString(r.Annotations["runbook"]) {
				t.Errorf("%s: no summary, or a runbook without a command: %q", r.Alert, r.Annotations)
			}
			for _, text := range r.Annotations {
				for _, m := range templateLabel.FindAllStringSubmatch(text, -1) {
					if !slices.Contains(labels, m[1]) {
						t.Errorf("%s: %s has no label %s", r.Alert, r.Expr, m[1])
					}
				}
			}
		}
	}
	for _, want := range []string{"WeftNodeDown", "WeftNodeDegraded", "WeftPeerDown", "WeftForgedPackets", "WeftStoreOutOfContact",
		"WeftLeaseExpiring", "WeftSocketDrops", "WeftPathNarrow", "WeftTraceLost"} {
		if !names[want] {
			t.Errorf("there is no rule %s", want)
		}
	}
}

// Leases in files last minutes by nature, so they are no reason for an alert.
func TestLeaseExpiringLeavesOutFiles(t *testing.T) {
	var text string
	read(t, alertsFile, func(b []byte) error { text = string(b); return nil })
	_, rule, _ := strings.Cut(text, "alert: WeftLeaseExpiring")
	rule, _, _ = strings.Cut(rule, "alert:")
	if !strings.Contains(rule, `and on (instance, job) weft_lease_store_connected{kind!="file"}`) {
		t.Errorf("the rule is%s", rule)
	}
}

// Prometheus' own tool takes the rules.
func TestPromtool(t *testing.T) {
	tool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skipf("needs promtool: %v", err)
	}
	if out, err := exec.Command(tool, "check", "rules", alertsFile).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v: %s", err, out)
	}
}

// A dashboard or a rule that names what is not there is found out.
func TestDeployChecksCanFail(t *testing.T) {
	c := catalogue{"weft_x": {"state": {"ok"}}}
	for _, expr := range []string{`weft_y`, `weft_x{stat="ok"}`, `weft_x{state="fine"}`, `sum by (peer) (weft_x)`, `sum(weft_x`} {
		inner := new(testing.T)
		c.check(inner, "here", expr)
		if !inner.Failed() {
			t.Errorf("%s is taken", expr)
		}
	}
	if c.check(t, "here", `sum by (state, instance) (rate(weft_x{state=~"ok", instance=~"$node"}[$__rate_interval]))`); t.Failed() {
		t.Error("a proper query is refused")
	}
}
