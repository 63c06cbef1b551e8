package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"runtime/debug"

	"weft/cmd/weft/client"
	"weft/engine/control"
	"weft/engine/doctor"
	"weft/engine/trace"
)

// errNoDaemon is why a file is missing.
var errNoDaemon = errors.New("no daemon answered")

// daemonSources are what the report and the daemon hold.
func daemonSources(r control.Report, d daemon) []source {
	asking := func(f func(context.Context) ([]byte, error)) func(context.Context) ([]byte, error) {
		return func(ctx context.Context) ([]byte, error) {
			if d == nil {
				return nil, errNoDaemon
			}
			return f(ctx)
		}
	}
	return []source{
		{name: "report.json", get: func(context.Context) ([]byte, error) { return json.Marshal(r) }},
		{name: "report.txt", get: func(context.Context) ([]byte, error) {
			var b bytes.Buffer
			err := writeTable(&b, redactReport(r), false)
			return b.Bytes(), err
		}},
		{name: "status.json", get: asking(func(ctx context.Context) ([]byte, error) {
			s, err := d.Status(ctx)
			if err != nil {
				return nil, err
			}
			return json.Marshal(s)
		})},
		{name: "metrics.txt", get: asking(func(ctx context.Context) ([]byte, error) {
			var b bytes.Buffer
			err := d.Metrics(ctx, &b)
			return b.Bytes(), err
		})},
		{name: "drops.txt", get: asking(func(ctx context.Context) ([]byte, error) { return dropLines(ctx, d) })},
		{name: "drops.weft", raw: true, get: asking(func(ctx context.Context) ([]byte, error) { return dropFrames(ctx, d) })},
		{name: "subnet.env", get: func(ctx context.Context) ([]byte, error) { return subnetFile(ctx, d) }},
		{name: "version.txt", get: func(context.Context) ([]byte, error) { return version(), nil }},
	}
}

// subnetFile reads subnet.env from where the node has it.
func subnetFile(ctx context.Context, d daemon) ([]byte, error) {
	path := doctor.DefaultSubnetFile
	if d != nil {
		if s, err := d.Status(ctx); err == nil && s.Node.SubnetFile != "" {
			path = s.Node.SubnetFile
		}
	}
	return readFile(path)
}

// version tells what this program was made of.
func version() []byte {
	text := "weft " + client.Version + "\n"
	if info, ok := debug.ReadBuildInfo(); ok {
		text += info.String()
	}
	return []byte(text)
}

// drops reads the flight recorder. It ends with the stream, or with an error.
func drops(ctx context.Context, d daemon) iter.Seq2[trace.Event, error] {
	return func(yield func(trace.Event, error) bool) {
		s, err := d.Drops(ctx)
		if err != nil {
			yield(trace.Event{}, err)
			return
		}
		defer s.Close()
		for {
			e, err := s.Next()
			if errors.Is(err, io.EOF) || !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// clone copies a record, which is valid until the next one is read.
func clone(r *trace.Record) trace.Record {
	c := *r
	c.Snap = bytes.Clone(r.Snap)
	return c
}
