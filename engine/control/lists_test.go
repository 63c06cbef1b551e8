package control

import (
	"encoding/json"
	"strings"
	"testing"
)

// No list is null, and no time is that of nothing.
func TestNoNull(t *testing.T) {
	for _, v := range []any{Status{}, &Status{}, Explanation{}, Report{}} {
		b, err := json.Marshal(v)
		if err != nil || strings.Contains(string(b), "null") || !strings.Contains(string(b), "[]") || strings.Contains(string(b), "started") {
			t.Errorf("%v: %s", err, b)
		}
	}
	b, err := json.Marshal(Status{Peers: []Peer{{Public: addr("192.0.2.1")}}})
	if err != nil || !strings.Contains(string(b), `"peers":[{"public":"192.0.2.1"`) {
		t.Errorf("%v: %s", err, b)
	}
}
