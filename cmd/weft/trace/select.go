package trace

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/engine/control"
	engine "weft/engine/trace"
)

// A selection is the flags that say which packets are told of, and how much.
type selection struct {
	socket  *string
	drops   bool
	count   int
	length  time.Duration
	sample  string
	snaplen int
}

func (s *selection) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	s.socket = client.Flag(cmd)
	f.BoolVar(&s.drops, "drops", false, "only packets that were dropped; as the filter's word \"drop\"")
	f.IntVarP(&s.count, "count", "c", 0, "end after `N` packets (default: no end)")
	f.DurationVar(&s.length, "for", 0, "end after this `time`, as in 10s or 2m (default: no end)")
	f.StringVar(&s.sample, "sample", "1/1", "look at one of so many matching packets, as in `1/100`")
}

// options turns flags and the filter's words into what the node is asked. An
// error names the flag.
func (s *selection) options(filter []string) (o engine.Options, err error) {
	o = engine.Options{Filter: strings.Join(filter, " "), Snaplen: s.snaplen, Count: s.count, For: s.length}
	switch {
	case s.count < 0:
		return o, usage(fmt.Errorf("--count=%d: negative", s.count))
	case s.length < 0:
		return o, usage(fmt.Errorf("--for=%v: negative", s.length))
	case s.snaplen < 0 || s.snaplen > engine.MaxSnaplen:
		return o, usage(fmt.Errorf("--snaplen=%d: not from 0 to %d", s.snaplen, engine.MaxSnaplen))
	}
	if o.Sample, err = parseSample(s.sample); err != nil {
		return o, usage(fmt.Errorf("--sample=%s: %w", s.sample, err))
	}
	o.Filter = dropsOnly(o.Filter, s.drops)
	return o, nil
}

// dropsOnly narrows a filter to dropped packets if only is set.
func dropsOnly(filter string, only bool) string {
	switch {
	case !only:
		return filter
	case strings.TrimSpace(filter) == "":
		return "drop"
	}
	return "(" + filter + ") and drop"
}

// parseSample reads "1/100", or "100" for short.
func parseSample(text string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(text, "1/"))
	if err != nil || n < 1 {
		return 0, errors.New("not as in 1/100")
	}
	return n, nil
}

// usage marks a mistake in the command line, exit code 2.
func usage(err error) error { return client.Exit(2, err) }

// refused marks what the node says of our words as a mistake in them.
func refused(err error) error {
	var e *control.Error
	if errors.As(err, &e) && e.Field != "" {
		return usage(err)
	}
	return err
}
