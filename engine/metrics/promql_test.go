package metrics

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// A selector is a metric in a PromQL expression, with its label matchers.
type selector struct {
	name   string
	labels map[string]string // label: what it is compared with
}

// A query is what a PromQL expression names.
type query struct {
	selectors []selector
	grouping  []string // labels in by, without, on, ignoring, group_left, group_right
	by        []string // labels in by alone
}

// promToken is a string, a name, or any other single character. Durations and
// numbers count as names that begin with a digit.
var promToken = regexp.MustCompile(`"(?:[^"\\]|\\.)*"|[0-9a-zA-Z_:.$]+|\S`)

var promGroupings = []string{"by", "without", "on", "ignoring", "group_left", "group_right"}

// parseQuery finds the names in an expression. It knows as much of PromQL's
// grammar as is needed for that, and refuses what does not close its brackets.
func parseQuery(expr string) (q query, err error) {
	tokens := promToken.FindAllString(expr, -1)
	at := func(i int) string {
		if i < len(tokens) {
			return tokens[i]
		}
		return ""
	}
	var open []string
	for i := 0; i < len(tokens); i++ {
		switch tok := tokens[i]; {
		case tok == "(" || tok == "[" || tok == "{":
			open = append(open, map[string]string{"(": ")", "[": "]", "{": "}"}[tok])
		case tok == ")" || tok == "]" || tok == "}":
			if len(open) == 0 || open[len(open)-1] != tok {
				return q, fmt.Errorf("%q closes nothing in %s", tok, expr)
			}
			open = open[:len(open)-1]
		case slices.Contains(promGroupings, tok) && at(i+1) == "(":
			for i += 2; i < len(tokens) && tokens[i] != ")"; i++ {
				if tokens[i] != "," {
					q.grouping = append(q.grouping, tokens[i])
					if tok == "by" {
						q.by = append(q.by, tokens[i])
					}
				}
			}
		case slices.Contains([]string{"and", "or", "unless", "bool", "offset"}, tok):
		case !regexp.MustCompile(`^[a-zA-Z_:]`).MatchString(tok) || at(i+1) == "(" || slices.Contains(promGroupings, at(i+1)):
			// a number, an operator, a function, or an aggregation
		case at(i+1) == "{":
			s := selector{tok, map[string]string{}}
			for i += 2; i < len(tokens) && tokens[i] != "}"; i++ {
				if regexp.MustCompile(`^[a-zA-Z_]`).MatchString(tokens[i]) {
					label := tokens[i]
					for i++; at(i) == "=" || at(i) == "~" || at(i) == "!"; i++ {
					}
					s.labels[label] = strings.Trim(at(i), `"`)
				}
			}
			q.selectors = append(q.selectors, s)
		default:
			q.selectors = append(q.selectors, selector{tok, map[string]string{}})
		}
	}
	if len(open) > 0 || len(q.selectors) == 0 {
		return q, fmt.Errorf("not closed, or without a metric: %s", expr)
	}
	return q, nil
}

// The reader of expressions finds what is in them.
func TestParseQuery(t *testing.T) {
	q, err := parseQuery(`-topk(3, sum by (instance, peer) (rate(a_total{x="1", y=~"b|{c}"}[5m])) / on (job) group_left () b) > 0.5 or time() - c`)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(q), "{[{a_total map[x:1 y:b|{c}]} {b map[]} {c map[]}] [instance peer job] [instance peer]}"; got != want {
		t.Errorf("found %s, want %s", got, want)
	}
	for _, bad := range []string{"sum(a", "a)", "rate(a[5m)", "1 + 2"} {
		if q, err := parseQuery(bad); err == nil {
			t.Errorf("%s reads as %v", bad, q)
		}
	}
}

// A catalogue is what a node exposes: for each metric, its labels and their
// values.
type catalogue map[string]map[string][]string

// offered is the catalogue of a full Status, of two nodes if one cannot have all.
func offered(t *testing.T) catalogue {
	c := catalogue{"up": {}} // of Prometheus itself
	for name, f := range gather(t, full()) {
		labels := map[string][]string{}
		for _, m := range f.Metric {
			for _, l := range m.Label {
				labels[l.GetName()] = append(labels[l.GetName()], l.GetValue())
			}
		}
		c[name] = labels
	}
	return c
}

// target are the labels that Prometheus gives to all that it scrapes.
var target = []string{"instance", "job"}

// closed are the labels whose values are a fixed list.
var closed = []string{"direction", "reason", "state"}

// check tells what of an expression a node does not expose, and returns the
// labels that its result can have.
func (c catalogue) check(t *testing.T, where, expr string) (labels []string) {
	t.Helper()
	expr = strings.NewReplacer("$__rate_interval", "5m", "$__range", "1h").Replace(expr)
	q, err := parseQuery(expr)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return nil
	}
	labels = slices.Clone(target)
	for _, s := range q.selectors {
		has, ok := c[s.name]
		if !ok {
			t.Errorf("%s: there is no metric %s", where, s.name)
		}
		for l := range has {
			labels = append(labels, l)
		}
		for l, value := range s.labels {
			values, ok := has[l]
			if !ok && !slices.Contains(target, l) {
				t.Errorf("%s: %s has no label %s", where, s.name, l)
			}
			for v := range strings.SplitSeq(value, "|") {
				if slices.Contains(closed, l) && !slices.Contains(values, v) {
					t.Errorf("%s: the label %s of %s is never %q", where, l, s.name, v)
				}
			}
		}
	}
	for _, l := range q.grouping {
		if !slices.Contains(labels, l) {
			t.Errorf("%s: no metric of %s has a label %s", where, expr, l)
		}
	}
	if len(q.by) > 0 {
		return q.by
	}
	return labels
}
