package engine

import (
	"net"
	"os"
	"strings"
	"testing"
)

// residentFile is how much of the program's file is in memory, in KiB.
func residentFile(t *testing.T) (kb int) {
	t.Helper()
	status, err := os.ReadFile("/proc/self/status")
	must(t, err)
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssFile:"); ok {
			for _, c := range strings.TrimSpace(rest) {
				if c < '0' || c > '9' {
					break
				}
				kb = kb*10 + int(c-'0')
			}
		}
	}
	return kb
}

// The program goes on after its pages were dropped, however it was built
// (go test -buildmode=pie), and takes less memory.
func TestDropProgramPages(t *testing.T) {
	before := residentFile(t)
	must(t, dropProgramPages())
	if after := residentFile(t); after >= before {
		t.Errorf("%d KiB of files in memory, %d before", after, before)
	}
	if _, err := net.Dial("tcp", "127.0.0.1:no"); err == nil {
		t.Error("the resolver is not what it was")
	}
}
