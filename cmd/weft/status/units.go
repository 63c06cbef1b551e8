package status

import (
	"fmt"
	"time"
)

// none stands for a value that there is not.
const none = "–"

// bytesText is a number of bytes in three digits, as in 91G or 1.1K; powers of
// 1024.
func bytesText(n uint64) string { return scaled(float64(n), 1024, "") }

// rateText is a number a second in three digits and powers of 1000.
func rateText(f float64, unit string) string { return scaled(f, 1000, " ") + unit }

// scaled writes f with two or three digits and the letter of its power of base.
func scaled(f, base float64, space string) string {
	letters := []string{"", "K", "M", "G", "T", "P"}
	if base == 1000 {
		letters[1] = "k"
	}
	i := 0
	for f >= base-0.5 && i < len(letters)-1 {
		f, i = f/base, i+1
	}
	if f < 9.95 && i > 0 {
		return fmt.Sprintf("%.1f%s%s", f, space, letters[i])
	}
	return fmt.Sprintf("%.0f%s%s", f, space, letters[i])
}

// exactBytes is a number of bytes as details show it.
func exactBytes(n uint64) string {
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	s := bytesText(n)
	return s[:len(s)-1] + " " + s[len(s)-1:] + "iB"
}

// durationText is d in its two greatest units, as in 3d2h, 5m12s or 14s.
func durationText(d time.Duration) string {
	d = max(0, d).Round(time.Second)
	units := []struct {
		of   time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}}
	for i, u := range units[:len(units)-1] {
		if d >= u.of {
			next := units[i+1]
			rest := d % u.of / next.of
			if rest == 0 {
				return fmt.Sprintf("%d%s", d/u.of, u.name)
			}
			return fmt.Sprintf("%d%s%d%s", d/u.of, u.name, rest, next.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// ago is how long before now t was, in words; never if t is zero.
func ago(now, t time.Time) string {
	switch s := age(now, t); s {
	case "now", "never":
		return s
	default:
		return s + " ago"
	}
}

// age is ago without the word.
func age(now, t time.Time) string {
	switch d := now.Sub(t); {
	case t.IsZero():
		return "never"
	case d < 1500*time.Millisecond:
		return "now"
	default:
		return durationText(d)
	}
}

// until is when t will be, in words.
func until(now, t time.Time) string {
	if d := t.Sub(now); d >= 0 {
		return "expires in " + durationText(d)
	}
	return "expired " + durationText(now.Sub(t)) + " ago"
}

// rttText is a round-trip time of s seconds.
func rttText(s *float64) string {
	switch {
	case s == nil:
		return none
	case *s < 0.0001:
		return fmt.Sprintf("%.2fms", *s*1e3)
	case *s < 0.01:
		return fmt.Sprintf("%.1fms", *s*1e3)
	case *s < 1:
		return fmt.Sprintf("%.0fms", *s*1e3)
	}
	return fmt.Sprintf("%.1fs", *s)
}

// lossText is a share from 0 to 1. Some loss never reads 0%, nor some answers 100%.
func lossText(f *float64) string {
	switch {
	case f == nil:
		return none
	case *f > 0 && *f < 0.01:
		return "<1%"
	case *f < 1 && *f > 0.99:
		return ">99%"
	}
	return fmt.Sprintf("%.0f%%", *f*100)
}

// plural is a number and what it counts.
func plural[N int | uint64](n N, what string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", what)
	}
	return fmt.Sprintf("%d %ss", n, what)
}
