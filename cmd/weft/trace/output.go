package trace

import (
	"bufio"
	"io"
	"sync"
	"time"
)

// latency is how long output may wait for more of it, so that a busy trace does
// not make a system call for each packet, and a person sees no delay.
const latency = 50 * time.Millisecond

// An output is a buffer in front of a writer that empties itself.
type output struct {
	mu    sync.Mutex
	buf   *bufio.Writer
	timer *time.Timer
	armed bool
}

func newOutput(w io.Writer) *output {
	return &output{buf: bufio.NewWriterSize(w, 1<<16)}
}

// Write takes all of b, or returns the error of an earlier write.
func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.buf.Write(b)
	if err == nil && !o.armed && o.buf.Buffered() > 0 {
		o.armed = true
		if o.timer == nil {
			o.timer = time.AfterFunc(latency, o.late)
		} else {
			o.timer.Reset(latency)
		}
	}
	return n, err
}

// late empties the buffer; an error stays in it for the next Write.
func (o *output) late() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.armed = false
	_ = o.buf.Flush()
}

// Close empties the buffer.
func (o *output) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.timer != nil {
		o.timer.Stop()
	}
	return o.buf.Flush()
}
