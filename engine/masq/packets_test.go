package masq

import (
	"log/slog"
	"testing"
	"time"

	"github.com/vishvananda/netns"
)

// places returns every place that works here.
func places(t *testing.T) map[string]place {
	t.Helper()
	all := map[string]place{}
	if p, err := openNFT(t.Context()); err == nil {
		all["nftables"] = p
	}
	for _, prefix := range []string{"iptables-nft", "iptables-legacy"} {
		if p, err := openXtablesNamed(t.Context(), prefix); err == nil {
			all[prefix] = p
		}
	}
	if len(all) == 0 {
		t.Skip("neither nftables nor iptables works here")
	}
	return all
}

// Real packets: who appears under which address.
func TestPackets(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		l := newLab(t)
		mirror(t, l.outside)
		mirror(t, l.pod)
		here, err := netns.Get()
		must(t, err)
		defer here.Close()
		tests := []struct {
			name           string
			from           netns.NsHandle
			src, dst, seen string
		}{
			{"pod to the world", l.pod, "10.5.1.2", "192.0.2.2", "192.0.2.1"},
			{"pod to a remote pod", l.pod, "10.5.1.2", "10.5.2.2", "10.5.1.2"},
			{"remote pod to a pod", l.outside, "10.5.2.2", "10.5.1.2", "10.5.2.2"},
			{"world to a pod", l.outside, "192.0.2.2", "10.5.1.2", "192.0.2.2"},
			{"host to a remote pod", here, "198.51.100.1", "10.5.2.2", "192.0.2.1"},
			{"host to the world", here, "198.51.100.1", "192.0.2.2", "198.51.100.1"},
			{"pod to the world", l.pod, "fd00:10:5:1::2", "2001:db8::2", "2001:db8::1"},
			{"pod to a remote pod", l.pod, "fd00:10:5:1::2", "fd00:10:5:2::2", "fd00:10:5:1::2"},
			{"remote pod to a pod", l.outside, "fd00:10:5:2::2", "fd00:10:5:1::2", "fd00:10:5:2::2"},
			{"host to a remote pod", here, "2001:db8:1::1", "fd00:10:5:2::2", "2001:db8::1"},
		}
		for mode, p := range places(t) {
			m := &Manager{log: slog.New(slog.DiscardHandler), use: p}
			must(t, m.Apply(t.Context(), dual()))
			for _, tt := range tests {
				seen, err := sourceSeen(tt.from, tt.src, tt.dst, 5, time.Second)
				if err != nil || seen != tt.seen {
					t.Errorf("%s: %s (%s to %s) is seen as %q, want %s (err %v)", mode, tt.name, tt.src, tt.dst, seen, tt.seen, err)
				}
			}
			must(t, m.Remove(t.Context()))
			if seen, err := sourceSeen(l.pod, "10.5.1.2", "192.0.2.2", 5, time.Second); seen != "10.5.1.2" {
				t.Errorf("%s: without rules the pod is seen as %q (err %v)", mode, seen, err)
			}
		}
	})
}

// TestUserNSPackets is for make test-user, which picks tests by their names and
// runs them under a user who is not root.
func TestUserNSPackets(t *testing.T) { TestPackets(t) }

// While rules are replaced over and over, every new flow meets a whole set.
func TestReplacementHasNoGap(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		l := newLab(t)
		mirror(t, l.outside)
		for mode, p := range places(t) {
			m := &Manager{log: slog.New(slog.DiscardHandler), use: p}
			must(t, m.Apply(t.Context(), dual()))
			done := make(chan struct{})
			go func() {
				defer close(done)
				r := dual()
				for range 12 {
					r.RandomFully = !r.RandomFully
					if err := m.Apply(t.Context(), r); err != nil {
						t.Errorf("%s: %v", mode, err)
						return
					}
				}
			}()
			flows := 0
			for ; !closed(done); flows++ {
				seen, err := sourceSeen(l.pod, "10.5.1.2", "192.0.2.2", 5, time.Second)
				if err != nil || seen != "192.0.2.1" {
					t.Errorf("%s: a new flow is seen as %q (err %v)", mode, seen, err)
					break
				}
			}
			<-done
			t.Logf("%s: replaced 12 times under %d new flows", mode, flows)
			must(t, m.Remove(t.Context()))
		}
	})
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// The accepts overrule a FORWARD chain whose policy is DROP.
func TestForwardAccepts(t *testing.T) {
	inNamespaces(t, func(t *testing.T) {
		l := newLab(t)
		mirror(t, l.outside)
		xtVariants(t, func(t *testing.T, x *xtables) {
			run(t, x.prefix, "-P", "FORWARD", "DROP")
			defer run(t, x.prefix, "-P", "FORWARD", "ACCEPT")
			m := &Manager{log: slog.New(slog.DiscardHandler), use: x}
			r := dual()
			r.Forward = false
			must(t, m.Apply(t.Context(), r))
			if seen, err := sourceSeen(l.pod, "10.5.1.2", "10.5.2.2", 1, 200*time.Millisecond); err == nil {
				t.Errorf("the policy DROP let a packet from %s through", seen)
			}
			r.Forward = true
			must(t, m.Apply(t.Context(), r))
			if _, err := sourceSeen(l.pod, "10.5.1.2", "10.5.2.2", 5, time.Second); err != nil {
				t.Error(err)
			}
			must(t, m.Remove(t.Context()))
		})
	})
}
