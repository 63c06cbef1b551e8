package e2e

import (
	"testing"

	"weft/engine/control"
)

// A node's weft has died, its host lives on.
func TestFailurePeerDown(t *testing.T) {
	t.Parallel()
	l := newLabUp(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	awaitPeer(t, n1, n2, control.PeerOK)
	if s, code := statusCode(t, n1); code != 0 || s.Health != control.OK {
		t.Fatalf("before the failure: exit code %d, %s: %q", code, s.Health, s.Causes)
	}

	must(t, n2.Kill())
	p := awaitPeer(t, n1, n2, control.PeerDown)
	says(t, "the peer's reason", p.Reason, "no answer for ")
	s, code := statusCode(t, n1)
	if code != 1 || s.Health != control.Degraded || len(s.Causes) == 0 || s.Causes[0] != "1 peer down" {
		t.Errorf("exit code %d, %s: %q, want 1, degraded: 1 peer down", code, s.Health, s.Causes)
	}
	if _, code := statusCode(t, n1, "--peer", n2.Underlay.String()); code != 2 {
		t.Errorf("status of the peer alone: exit code %d, want 2", code)
	}
	screen(t, n1, "status")
	screen(t, n1, "doctor", "--quiet")
	r := doctor(t, n1)
	found(t, finding(t, r, "peer-state", n2.Underlay.String()), control.Fail,
		"the host answers, the tunnel does not", "its daemon does not run", "no answer for ", "udp port 8472")
	found(t, finding(t, r, "peer", n2.Underlay.String()), control.Fail, "underlay ✓", "echo ✗", "random ✗")

	must(t, n2.Start(within(t)))
	awaitPeer(t, n1, n2, control.PeerOK)
	if s, code := statusCode(t, n1); code != 0 || s.Health != control.OK {
		t.Errorf("when it is back: exit code %d, %s: %q", code, s.Health, s.Causes)
	}
}
