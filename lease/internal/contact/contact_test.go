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
			c.Log(errors.New("no route"), time.Now())
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
		if err := c.Failed(errors.New("gone")); err == nil || err.Error() != "no answer from the store: gone" {
			t.Errorf("a new outage: %v", err)
		}
	})
}

// What is told of a rival and how the exchange goes do not touch each other.
func TestRival(t *testing.T) {
	c := New("the store", slog.New(slog.DiscardHandler))
	c.Rival("somebody")
	c.OK()
	if st := c.Status(); st.Rival != "somebody" || !st.Connected {
		t.Errorf("after contact %+v", st)
	}
	if err := c.Failed(errors.New("gone")); err == nil {
		t.Error("the outage is not reported")
	}
	if st := c.Status(); st.Rival != "somebody" || st.Err != "gone" {
		t.Errorf("after its loss %+v", st)
	}
	c.Rival("")
	if st := c.Status(); st.Rival != "" || st.Err != "gone" {
		t.Errorf("without the rival %+v", st)
	}
}

// Retry goes on until it succeeds or there is no point in it. Time spent
// waiting for an answer is time without one, from the first try on.
func TestRetry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		c := New("the store", slog.New(slog.NewTextHandler(&log, nil)))
		tries, final := 0, errors.New("final")
		err := c.Retry(t.Context(), func() error {
			time.Sleep(5 * time.Second)
			if tries++; tries < 3 {
				return errors.New("nothing within 5s")
			}
			return nil
		}, final)
		if err != nil || tries != 3 || !c.Status().Connected {
			t.Errorf("%d tries, %v, %+v", tries, err, c.Status())
		}
		if got := log.String(); !strings.Contains(got, "no answer from the store for 5s: nothing within 5s") || strings.Count(got, "\n") != 2 {
			t.Errorf("log:\n%s", got)
		}
		if err := c.Retry(t.Context(), func() error { return final }, final); err != final || !c.Status().Connected {
			t.Errorf("%v, %+v: the store did answer", err, c.Status())
		}
		ctx, cancel := context.WithCancel(t.Context())
		if err := c.Retry(ctx, func() error { cancel(); return errors.New("cut short") }); err != context.Canceled {
			t.Errorf("%v", err)
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
