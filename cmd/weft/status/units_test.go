package status

import (
	"testing"
	"time"

	"weft/cmd/weft/client"
)

func TestUnits(t *testing.T) {
	for _, tt := range []struct{ got, want string }{
		{bytesText(0), "0"}, {bytesText(1023), "1023"}, {bytesText(1024), "1.0K"}, {bytesText(3_250_000), "3.1M"},
		{bytesText(1<<20 - 1), "1.0M"}, {bytesText(10<<30 - 1), "10G"}, {bytesText(1 << 60), "1024P"},
		{exactBytes(1023), "1023 B"}, {exactBytes(91 << 30), "91 GiB"}, {exactBytes(1536), "1.5 KiB"},
		{rateText(1.21e9, "bit/s"), "1.2 Gbit/s"}, {rateText(140e3, "pps"), "140 kpps"}, {rateText(0, "pps"), "0 pps"}, {rateText(999.7, "pps"), "1.0 kpps"},
		{durationText(0), "0s"}, {durationText(-time.Second), "0s"}, {durationText(59600 * time.Millisecond), "1m"},
		{durationText(312 * time.Second), "5m12s"}, {durationText(74*time.Hour + time.Minute), "3d2h"}, {durationText(23*time.Hour + 2*time.Minute), "23h2m"},
		{ago(noon, time.Time{}), "never"}, {ago(noon, noon.Add(time.Hour)), "now"}, {ago(noon, before(time.Minute)), "1m ago"},
		{until(noon, noon.Add(time.Hour)), "expires in 1h"}, {until(noon, before(time.Hour)), "expired 1h ago"},
		{rttText(nil), "–"}, {rttText(p(0.00004)), "0.04ms"}, {rttText(p(0.0006)), "0.6ms"}, {rttText(p(0.0123)), "12ms"}, {rttText(p(1.25)), "1.2s"},
		{lossText(nil), "–"}, {lossText(p(0.0)), "0%"}, {lossText(p(0.001)), "<1%"}, {lossText(p(0.999)), ">99%"}, {lossText(p(1.0)), "100%"}, {lossText(p(0.25)), "25%"},
		{client.Clean("a\x1b[31m\nb\u202e"), "a?[31m?b?"}, {client.Clean("n–2 é"), "n–2 é"},
	} {
		if tt.got != tt.want {
			t.Errorf("%q, want %q", tt.got, tt.want)
		}
	}
}

func TestInterval(t *testing.T) {
	for text, want := range map[string]time.Duration{"2": 2 * time.Second, "0.5": 500 * time.Millisecond, "1m": time.Minute} {
		var i interval
		if err := i.Set(text); err != nil || time.Duration(i) != want {
			t.Errorf("%s: %v, %v", text, time.Duration(i), err)
		}
	}
	for _, text := range []string{"", "0", "-1s", "soon", "NaN", "1e300", "25h"} {
		var i interval
		if err := i.Set(text); err == nil {
			t.Errorf("%s was taken for %v", text, time.Duration(i))
		}
	}
}

func TestCut(t *testing.T) {
	l := line{{"abc", red}, {"déf", normal}}
	for n, want := range map[int]string{0: "abcdéf", 6: "abcdéf", 5: "abcd…", 3: "ab…", 1: "…"} {
		if got := l.cut(n); got.text(false) != want || n > 0 && got.width() > n {
			t.Errorf("cut to %d: %q, want %q", n, got.text(false), want)
		}
	}
}
