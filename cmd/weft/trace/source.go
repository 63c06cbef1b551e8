package trace

import (
	"context"
	"errors"
	"fmt"
	"io"
	"syscall"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	engine "weft/engine/trace"
)

// A source yields the events of a stream. Stop asks for its end, which Next then
// comes to; Close cuts it off.
type source interface {
	Next() (engine.Event, error)
	Stop()
	Close() error
}

// A program is the commands with what they reach of the world outside, which
// tests replace.
type program struct {
	trace    func(ctx context.Context, socket string, o engine.Options) (source, error)
	drops    func(ctx context.Context, socket string) (source, error)
	sockets  func() []client.Socket
	terminal func(io.Writer) bool
}

// live returns the program as users run it.
func live() *program {
	return &program{
		trace: func(ctx context.Context, socket string, o engine.Options) (source, error) {
			stepBack()
			c, err := client.New(socket)
			if err != nil {
				return nil, err
			}
			return checked(c.Trace(ctx, o))
		},
		drops: func(ctx context.Context, socket string) (source, error) {
			c, err := client.New(socket)
			if err != nil {
				return nil, err
			}
			return checked(c.Drops(ctx))
		},
		sockets:  client.Sockets,
		terminal: client.IsTerminal,
	}
}

// checked keeps a nil stream from becoming a source that is not nil.
func checked(s *client.Stream, err error) (source, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Command returns `weft trace` with its subcommands.
func Command() *cobra.Command { return live().traceCommand() }

// DropsCommand returns `weft drops`.
func DropsCommand() *cobra.Command { return live().dropsCommand() }

// A sink takes what a stream tells, in order. A record is its own only until it
// returns.
type sink interface {
	meta(*engine.Meta) error
	record(*engine.Record) error
	lost(n uint64) error
	close() error // all has been told; it says so once
}

// A tally is what a stream came to.
type tally struct {
	shown, lost uint64
	end         string // why the node ended it; empty: it did not
	cut         bool   // we ended it, and did not wait for the node to tell all
}

// pump hands a stream to s until it is over, which is no error: the node ended
// it, ctx cut it off, or nobody reads the output any more.
func pump(ctx context.Context, src source, s sink) (t tally, err error) {
	for t.end == "" && err == nil && ctx.Err() == nil {
		var e engine.Event
		if e, err = src.Next(); err != nil {
			if errors.Is(err, io.EOF) || ctx.Err() != nil {
				err = nil
			} else if errors.Is(err, io.ErrUnexpectedEOF) {
				err = errors.New("the node went away in the middle of the trace")
			}
			break
		}
		err = t.take(e, s)
	}
	t.cut = t.end == "" && ctx.Err() != nil
	return t, gone(errors.Join(err, s.close()))
}

func (t *tally) take(e engine.Event, s sink) error {
	switch {
	case e.Meta != nil:
		return s.meta(e.Meta)
	case e.Record != nil:
		t.shown++
		return s.record(e.Record)
	case e.Lost != 0:
		t.lost += e.Lost
		return s.lost(e.Lost)
	case e.End != "":
		t.end = e.End
	}
	return nil
}

// gone makes nothing of the error that says that the reader of the output has
// left, as head(1) does.
func gone(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return err
}

// say writes the last line, for people.
func (t tally) say(w io.Writer, verb string) {
	if t.cut {
		fmt.Fprintf(w, "%d %s, %d lost, and what was on its way\n", t.shown, verb, t.lost)
		return
	}
	fmt.Fprintf(w, "%d %s, %d lost\n", t.shown, verb, t.lost)
}
