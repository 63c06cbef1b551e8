package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/perf/report"
)

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("laying network namespaces needs root")
	}
}

// remains lists the namespaces and folders that this process made.
func remains(t *testing.T) []string {
	t.Helper()
	var found []string
	for _, dir := range []string{"/run/netns", os.TempDir()} {
		names, err := filepath.Glob(filepath.Join(dir, "weftperf-*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range names {
			if strings.HasPrefix(filepath.Base(name), ownPrefix()) {
				found = append(found, name)
			}
		}
	}
	return found
}

func ownPrefix() string { return fmt.Sprintf("weftperf-%d-", os.Getpid()) }

// runShort makes a short run over the lab's own routes.
func runShort(t *testing.T, ctx context.Context, args ...string) (*report.Result, string, error) {
	t.Helper()
	needRoot(t)
	out := t.TempDir()
	var log bytes.Buffer
	o, err := parseOptions(append([]string{
		"-planes=routes", "-wires=wire", "-rounds=1", "-seconds=0.2", "-settle=0s", "-retries=0", "-out", out,
	}, args...), &log)
	if err != nil {
		t.Fatal(err)
	}
	o.warmup = 50 * time.Millisecond
	o.tables = io.Discard
	runErr := run(ctx, o)
	if left := remains(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	text, err := os.ReadFile(filepath.Join(out, "results.json"))
	if err != nil {
		t.Fatal(err)
	}
	var result report.Result
	if err := json.Unmarshal(text, &result); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"results.md"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
	return &result, log.String(), runErr
}

// TestRunOverRoutes lays the lab, makes every kind of load for a moment, and
// checks that each moved something and that nothing is left behind.
func TestRunOverRoutes(t *testing.T) {
	result, log, err := runShort(t, t.Context())
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	if len(result.Cells) != len(loadKinds) {
		t.Fatalf("%d cells, want %d\n%s", len(result.Cells), len(loadKinds), log)
	}
	for _, c := range result.Cells {
		if c.Error != "" || len(c.Values) == 0 {
			t.Errorf("%s: %q, %v", c.Load, c.Error, c.Values)
		}
		// 1500 bytes of packet and 14 of Ethernet header.
		if size := c.Values[report.FrameBytes]; size <= 0 || size > 1514 {
			t.Errorf("%s: frames of %.0f bytes on a wire that carries at most 1514", c.Load, size)
		}
	}
	if n := strings.Count(log, "round 1 wire"); n != len(loadKinds) {
		t.Errorf("%d lines of progress, want %d:\n%s", n, len(loadKinds), log)
	}
}

// A trigger is a log that calls fire when a text is written to it.
type trigger struct {
	text string
	fire func()
}

func (w trigger) Write(b []byte) (int, error) {
	if bytes.Contains(b, []byte(w.text)) {
		w.fire()
	}
	return len(b), nil
}

// TestRunCutShort ends a run as a signal would, once its lab is there.
func TestRunCutShort(t *testing.T) {
	needRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	log := trigger{"labs are laid", cancel}
	o, err := parseOptions([]string{"-planes=routes", "-wires=gso", "-only=tcp1", "-seconds=600", "-out="}, log)
	if err != nil {
		t.Fatal(err)
	}
	o.tables = io.Discard
	if err := run(ctx, o); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want %v", err, context.Canceled)
	}
	if left := remains(t); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
