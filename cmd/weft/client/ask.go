package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"weft/engine/control"
	"weft/engine/trace"
)

// Status asks how the node does.
func (c *Client) Status(ctx context.Context) (control.Status, error) {
	return get[control.Status](ctx, c, 0, http.MethodGet, "/v1/status")
}

// doctorTime is how long the node may take to examine itself.
const doctorTime = 2 * time.Minute

// Doctor lets the node examine itself, which can take many seconds.
func (c *Client) Doctor(ctx context.Context) (control.Report, error) {
	return get[control.Report](ctx, c, doctorTime, http.MethodPost, "/v1/doctor")
}

// Explain asks what would happen to a packet.
func (c *Client) Explain(ctx context.Context, q control.Question) (control.Explanation, error) {
	v := url.Values{"src": {q.Src.String()}, "dst": {q.Dst.String()}}
	set(v, "proto", q.Proto)
	set(v, "port", number(int(q.Port)))
	set(v, "size", number(q.Size))
	if q.DF {
		v.Set("df", "true")
	}
	return get[control.Explanation](ctx, c, 0, http.MethodGet, "/v1/explain?"+v.Encode())
}

// set sets a parameter that is not empty.
func set(v url.Values, name, text string) {
	if text != "" {
		v.Set(name, text)
	}
}

// number is the text of n, empty for 0, which is the default of each parameter.
func number(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

// Metrics copies the node's metrics, as Prometheus reads them, to w.
func (c *Client) Metrics(ctx context.Context, w io.Writer) error {
	res, err := c.do(ctx, 0, http.MethodGet, "/v1/metrics", nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	_, err = io.Copy(w, res.Body)
	return err
}

// Ping lets the node send echoes and hands each reply to each as it comes. It
// ends after the last one, or with the first error of each.
func (c *Client) Ping(ctx context.Context, r control.PingRequest, each func(control.PingReply) error) error {
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	res, err := c.do(ctx, pingTime(r), http.MethodPost, "/v1/ping", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for lines := json.NewDecoder(res.Body); ; {
		var line struct {
			control.PingReply
			Error string `json:"error"`
		}
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("%s: ping: %w", c.Socket.Path, err)
		case line.Error != "":
			return &control.Error{Message: line.Error}
		}
		if err := each(line.PingReply); err != nil {
			return err
		}
	}
}

// pingTime is how long a node may take for the first line of a ping, which comes
// with the first answer or at the end of the time for it.
func pingTime(r control.PingRequest) time.Duration {
	const usual, most = time.Second, time.Hour
	if r.Timeout <= 0 {
		return usual
	}
	return time.Duration(min(r.Timeout, most.Seconds()) * float64(time.Second))
}

// A Stream is a trace, or the flight recorder's records.
type Stream struct {
	events *trace.Reader
	body   io.Closer
	asking *io.PipeWriter // the body of the request, which is empty; nil: there is none
}

// Next returns the next event; see [trace.Reader.Next].
func (s *Stream) Next() (trace.Event, error) { return s.events.Next() }

// Stop asks the node to end a trace, and does not wait. What the node still has to
// tell of, the number of lost records and the end are there for Next. A stream of
// drops ends without that.
func (s *Stream) Stop() {
	if s.asking != nil {
		s.asking.Close()
	}
}

// Close ends the stream at once; a Next that waits returns an error.
func (s *Stream) Close() error {
	err := s.body.Close()
	s.Stop() // lets go of who sends the request
	return err
}

// Drops asks for the records of the packets that were dropped last; the stream
// ends after them.
func (c *Client) Drops(ctx context.Context) (*Stream, error) {
	return c.stream(ctx, http.MethodGet, "/v1/drops", nil)
}

// Trace begins a trace, which goes on until it is over by its options, the stream
// is stopped or closed, or ctx ends.
func (c *Client) Trace(ctx context.Context, o trace.Options) (*Stream, error) {
	v := url.Values{}
	set(v, "filter", o.Filter)
	set(v, "snaplen", number(o.Snaplen))
	set(v, "sample", number(o.Sample))
	set(v, "count", number(o.Count))
	if o.For != 0 {
		v.Set("for", strconv.FormatFloat(o.For.Seconds(), 'f', -1, 64))
	}
	body, asking := io.Pipe()
	s, err := c.stream(ctx, http.MethodPost, "/v1/trace?"+v.Encode(), body)
	if err != nil {
		asking.Close() // the request may still be on its way
		return nil, err
	}
	s.asking = asking
	return s, nil
}

func (c *Client) stream(ctx context.Context, method, path string, body io.Reader) (*Stream, error) {
	res, err := c.do(ctx, 0, method, path, body)
	if err != nil {
		return nil, err
	}
	return &Stream{events: trace.NewReader(bufio.NewReaderSize(res.Body, 1<<16)), body: res.Body}, nil
}
