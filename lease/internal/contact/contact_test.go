package contact

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// One line when contact is lost, one each half minute, one when it is back.
func TestReports(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := New("the store", slog.New(slog.NewTextHandler(&log, nil)))
		if st := c.Status(); st.Connected || st.Err != "" || !st.LastEvent.IsZero() {
			t.Errorf("at first %+v", st)
		}
		c.OK()
		seen := c.Status()
		if !seen.Connected || !seen.LastEvent.Equal(time.Now()) || log.Len() != 0 {
			t.Errorf("%+v, log %s", seen, &log)
		}
		for range 100 { // a second apart
			c.Log(errors.New("no route"))
			time.Sleep(time.Second)
		}
		if st := c.Status(); st.Connected || st.Err != "no route" || !st.LastEvent.Equal(seen.LastEvent) {
			t.Errorf("%+v", st)
		}
		c.OK()
		c.OK()
		got := log.String()
		if n := strings.Count(got, "\n"); n != 5 || !strings.Contains(got, "the store answers again\" after=1m40s") {
			t.Errorf("%d lines:\n%s", n, got)
		}
		if err := c.Failed(errors.New("gone")); err == nil || err.Error() != "no answer from the store for 0s: gone" {
			t.Errorf("a new outage: %v", err)
		}
	})
}

func TestBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := Retry()
		for i, most := range []time.Duration{100, 200, 400, 800, 1600, 3200, 5000, 5000} {
			most *= time.Millisecond
			start := time.Now()
			if !b.Wait(t.Context()) {
				t.Fatal("gave up")
			}
			if d := time.Since(start); d < most/2 || d > most {
				t.Errorf("wait %d took %v, want %v to %v", i, d, most/2, most)
			}
		}
		b.Reset()
		start := time.Now()
		b.Wait(t.Context())
		if d := time.Since(start); d > 100*time.Millisecond {
			t.Errorf("after a reset %v", d)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if b.Wait(ctx) {
			t.Error("waited although all is over")
		}
	})
}
