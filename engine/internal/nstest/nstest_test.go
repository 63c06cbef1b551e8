package nstest

import (
	"net"
	"os"
	"testing"
)

func here(t *testing.T) string {
	t.Helper()
	s, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEnter(t *testing.T) {
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Run("inside", func(t *testing.T) {
		Enter(t)
		if here(t) == outside {
			t.Errorf("still in %s", outside)
		}
		links, err := net.Interfaces()
		if err != nil {
			t.Fatal(err)
		}
		if len(links) != 1 || links[0].Name != "lo" || links[0].Flags&net.FlagUp != 0 {
			t.Errorf("links %v, want lo alone, and down", links)
		}
	})
	if here(t) != outside {
		t.Errorf("in %s after the test, was in %s", here(t), outside)
	}
}
