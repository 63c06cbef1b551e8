package meter

import (
	"os"
	"runtime/debug"
	"testing"
)

func TestParseCPU(t *testing.T) {
	tests := []struct {
		name, text string
		want       CPU
		fails      bool
	}{
		{"all fields", "cpu  100 20 300 4000 50 6 70 8 9 1\ncpu0 1 2 3 4 5 6 7 8 9 1\n",
			CPU{User: 1.2, System: 3, Idle: 40, IOWait: 0.5, IRQ: 0.06, SoftIRQ: 0.7, Steal: 0.08}, false},
		{"without guest", "cpu 0 0 0 0 0 0 0 200\n", CPU{Steal: 2}, false},
		{"no steal", "cpu 1 2 3 4 5 6 7\n", CPU{}, true},
		{"one processor", "cpu0 1 2 3 4 5 6 7 8\n", CPU{}, true},
		{"not a number", "cpu 1 2 x 4 5 6 7 8\n", CPU{}, true},
		{"empty", "", CPU{}, true},
	}
	for _, tt := range tests {
		got, err := parseCPU([]byte(tt.text))
		if (err != nil) != tt.fails {
			t.Errorf("%s: error %v, want one: %v", tt.name, err, tt.fails)
		}
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestCPUDifference(t *testing.T) {
	before := CPU{User: 1, System: 2, Idle: 3, IOWait: 4, IRQ: 5, SoftIRQ: 6, Steal: 7}
	after := CPU{User: 2, System: 4, Idle: 6, IOWait: 8, IRQ: 10, SoftIRQ: 12, Steal: 14}
	d := after.Sub(before)
	if d != before {
		t.Errorf("difference %+v, want %+v", d, before)
	}
	if d.Busy() != 1+2+5+6 || d.Total() != 28 {
		t.Errorf("busy %v of %v, want 14 of 28", d.Busy(), d.Total())
	}
	if got := d.Share(d.Steal); got != 0.25 {
		t.Errorf("share of steal %v, want 0.25", got)
	}
	if got := (CPU{}).Share(1); got != 0 {
		t.Errorf("share of no time %v, want 0", got)
	}
}

func TestParseStat(t *testing.T) {
	const tail = " S 1 2 3 4 5 6 7 8 9 10 1234 567 15 16 17 18 19 20 98765 22 23\n"
	tests := []struct {
		name, text string
		want       stat
		fails      bool
	}{
		{"plain name", "42 (weft)" + tail, stat{1234, 567, 98765}, false},
		{"name with spaces and parentheses", "42 (a) b (c))" + tail, stat{1234, 567, 98765}, false},
		{"cut short", "42 (weft) S 1 2 3", stat{}, true},
		{"no name", "42 weft", stat{}, true},
	}
	for _, tt := range tests {
		got, err := parseStat([]byte(tt.text))
		if (err != nil) != tt.fails {
			t.Errorf("%s: error %v, want one: %v", tt.name, err, tt.fails)
		}
		if got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestStatusBytes(t *testing.T) {
	text := []byte("Name:\tweft\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\nThreads:\t7\n")
	if got, err := statusBytes(text, "VmRSS:"); err != nil || got != 1<<20 {
		t.Errorf("VmRSS: %d, %v, want 1 MiB", got, err)
	}
	if got, err := statusBytes(text, "VmHWM:"); err != nil || got != 2<<20 {
		t.Errorf("VmHWM: %d, %v, want 2 MiB", got, err)
	}
	for _, key := range []string{"VmSwap:", "Threads:"} {
		if got, err := statusBytes(text, key); err == nil {
			t.Errorf("%s: got %d, want an error", key, got)
		}
	}
}

func TestParseCounters(t *testing.T) {
	text := "Tcp: MaxConn RetransSegs\nTcp: -1 12\nUdp: InDatagrams RcvbufErrors\nUdp: 5 3\n"
	got, err := parseCounters([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	want := Counters{"Tcp.RetransSegs": 12, "Udp.InDatagrams": 5, "Udp.RcvbufErrors": 3}
	for key, v := range want {
		if got[key] != v {
			t.Errorf("%s = %d, want %d", key, got[key], v)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for _, bad := range []string{
		"Tcp: A\n", "Tcp: A\nUdp: 1\n", "Tcp: A B\nTcp: 1\n", "Tcp: A\nTcp: one\n", "\n\n",
	} {
		if got, err := parseCounters([]byte(bad)); err == nil {
			t.Errorf("%q: got %v, want an error", bad, got)
		}
	}
}

// TestOwnProcess reads this kernel's own files, whose form the parsers assume.
func TestOwnProcess(t *testing.T) {
	p, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if p.RSS == 0 || p.Peak < p.RSS {
		t.Errorf("resident %d, peak %d", p.RSS, p.Peak)
	}
	if c, err := ReadCPU(); err != nil || c.Idle == 0 {
		t.Errorf("ReadCPU: %+v, %v", c, err)
	}
	if c, err := ReadCounters(); err != nil {
		t.Errorf("ReadCounters: %v", err)
	} else if _, ok := c["Udp.RcvbufErrors"]; !ok {
		t.Errorf("no Udp.RcvbufErrors in %v", c)
	}
	if start, err := StartTime(os.Getpid()); err != nil || start == 0 {
		t.Errorf("StartTime: %d, %v", start, err)
	}
}

// TestResetPeak holds much memory for a moment: the peak knows of it until it
// is reset.
func TestResetPeak(t *testing.T) {
	const size = 64 << 20
	much := make([]byte, size)
	for i := 0; i < size; i += os.Getpagesize() {
		much[i] = 1
	}
	much = nil
	debug.FreeOSMemory()
	before, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if before.Peak < size {
		t.Fatalf("peak %d with %d bytes in use", before.Peak, size)
	}
	if err := ResetPeak(os.Getpid()); err != nil {
		t.Fatal(err)
	}
	after, err := ReadProcess(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if after.Peak > before.Peak-size/2 {
		t.Errorf("peak %d after the reset, %d before, %d resident", after.Peak, before.Peak, after.RSS)
	}
}
