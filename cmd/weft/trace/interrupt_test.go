package trace

import (
	"bytes"
	"context"
	"io"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"weft/engine/control"
	engine "weft/engine/trace"
)

// A quietSource has nothing to tell until it is stopped, and then rest.
type quietSource struct {
	cut     context.Context
	rest    source
	stopped chan struct{}
	once    sync.Once
}

func newQuietSource(cut context.Context, rest []byte) *quietSource {
	return &quietSource{cut: cut, rest: play(rest), stopped: make(chan struct{})}
}

func (q *quietSource) Next() (engine.Event, error) {
	select {
	case <-q.stopped:
		e, err := q.rest.Next()
		if err == io.EOF { // the node takes its time
			<-q.cut.Done()
			return e, q.cut.Err()
		}
		return e, err
	case <-q.cut.Done():
		return engine.Event{}, q.cut.Err()
	}
}
func (q *quietSource) Stop()        { q.once.Do(func() { close(q.stopped) }) }
func (q *quietSource) Close() error { return nil }

// rest is what a node sends after it was told to stop; whole: up to the end.
func rest(whole bool) []byte {
	b, _ := bytes.CutSuffix(stream(allRecords()...), engine.AppendFrame(nil, engine.FrameEnd, []byte("count reached")))
	if whole {
		b = engine.AppendFrame(b, engine.FrameEnd, []byte(control.Stopped))
	}
	return b
}

// Ctrl-C ends a trace as its end would: all is shown and counted, exit code 0.
func TestInterrupt(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		p := stub(nil)
		p.trace = func(cut context.Context, _ string, _ engine.Options) (source, error) {
			if err := syscall.Kill(os.Getpid(), sig); err != nil {
				t.Error(err)
			}
			return newQuietSource(cut, rest(true)), nil
		}
		out, errOut, err := run(p.traceCommand())
		if err != nil || errOut != "13 shown, 12 lost\n" || strings.Count(out, "\n") < 13 {
			t.Errorf("%v: %q, %q, %v", sig, out, errOut, err)
		}
	}
}

// The end that we ask for is a good one.
func TestStoppedIsForeseen(t *testing.T) {
	if _, errOut, err := run(stub(rest(true)).traceCommand()); err != nil || errOut != "13 shown, 12 lost\n" {
		t.Errorf("%q, %v", errOut, err)
	}
}

// A node that does not come to the end is waited for until the limit, or until
// the second signal; what that means is said.
func TestInterruptIsBounded(t *testing.T) {
	for _, signals := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			got := make(chan os.Signal, 2)
			asked, cut, stop := steps(t.Context(), got)
			defer stop()
			src := newQuietSource(cut, rest(false))
			defer context.AfterFunc(asked, src.Stop)()
			var out, said bytes.Buffer
			began := time.Now()
			go func() {
				for range signals {
					time.Sleep(time.Second)
					got <- syscall.SIGINT
				}
			}()
			told, err := pump(cut, src, newObjects(&out))
			told.say(&said, "shown")
			if err != nil || said.String() != "13 shown, 12 lost, and what was on its way\n" {
				t.Errorf("%d signals: %q, %v", signals, said.String(), err)
			}
			if want := time.Second + map[int]time.Duration{1: lastWords, 2: time.Second}[signals]; time.Since(began) != want {
				t.Errorf("%d signals: over after %v, want %v", signals, time.Since(began), want)
			}
		})
	}
}

// An endlessSource has always more to tell.
type endlessSource struct{ quietSource }

func (*endlessSource) Next() (engine.Event, error) { return engine.Event{Lost: 1}, nil }

// A node that tells on and on is cut off too.
func TestCutWhileBusy(t *testing.T) {
	cut, cutOff := context.WithCancel(t.Context())
	n := 0
	told, err := pump(cut, &endlessSource{}, losses(func() {
		if n++; n == 7 {
			cutOff()
		}
	}))
	if err != nil || told != (tally{lost: 7, cut: true}) {
		t.Errorf("%+v, %v", told, err)
	}
}

// losses is a sink that is called for each loss.
type losses func()

func (losses) meta(*engine.Meta) error     { return nil }
func (losses) record(*engine.Record) error { return nil }
func (l losses) lost(uint64) error         { l(); return nil }
func (losses) close() error                { return nil }
