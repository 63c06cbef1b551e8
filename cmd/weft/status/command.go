package status

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// An asker can be asked for a status: *client.Client, or a stand-in.
type asker interface {
	Status(context.Context) (control.Status, error)
}

// options is what the flags say.
type options struct {
	socket string
	json   bool
	peer   string
	watch  interval
}

// A page is what is asked and how it is shown.
type page struct {
	options
	ask    asker
	out    io.Writer
	colors bool
}

// askTime is how long the node may take to answer.
const askTime = 10 * time.Second

// Command returns `weft status`.
func Command() *cobra.Command {
	var o options
	cmd := &cobra.Command{
		Use:   "status",
		Short: "How this node does, on one screen",
		Long: `Show the node, its engine, the lease store, what was dropped, and a line for
each peer.

The exit code is 0 if all is well, 1 if something is wrong but packets flow, and
2 if they do not or no node answers. With --peer it is that of the peer: 0 ok,
1 silent, 2 down or not there.`,
		Example: `  weft status
  weft status --peer 10.244.3.0/24
  weft status --watch=5s
  weft status --json | jq '.peers[] | select(.state != "ok")'`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 && cmd.Flags().Changed("watch") { // --watch 5s
				return cmd.Flags().Set("watch", args[0])
			}
			return cobra.NoArgs(cmd, args)
		},
	}
	socket := client.Flag(cmd)
	cmd.Flags().BoolVar(&o.json, "json", false, "print one JSON object; with --watch one a line")
	cmd.Flags().StringVar(&o.peer, "peer", "", "all about one `peer`: its subnet, or an address of it or in its subnet")
	cmd.Flags().VarP(&o.watch, "watch", "w", "show it again every `interval` until q is pressed, with rates")
	cmd.Flags().Lookup("watch").NoOptDefVal = "2s"
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		o.socket = *socket
		return run(cmd, o)
	}
	return cmd
}

// An interval is the value of --watch: a duration, or a number of seconds.
type interval time.Duration

// Type, String and Set make it a flag's value.
func (i *interval) Type() string { return "duration" }
func (i *interval) String() string {
	if *i == 0 {
		return ""
	}
	return time.Duration(*i).String()
}

func (i *interval) Set(s string) error {
	const least = 100 * time.Millisecond
	d, err := time.ParseDuration(s)
	if n, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		d, err = time.Duration(n*float64(time.Second)), nil
	}
	if err != nil || d < least || d > 24*time.Hour {
		return fmt.Errorf("must be a time from %v to a day, as in 5s", least)
	}
	*i = interval(d)
	return nil
}

func run(cmd *cobra.Command, o options) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	out := cmd.OutOrStdout()
	p := &page{options: o, out: out, colors: client.IsTerminal(out) && os.Getenv("NO_COLOR") == ""}
	c, err := client.New(o.socket)
	if err != nil {
		return p.noAnswer(err)
	}
	defer c.Close()
	p.ask = c
	switch {
	case o.watch == 0:
		return p.once(ctx)
	case client.IsTerminal(out) && !o.json:
		return p.redraw(ctx, time.Duration(o.watch), os.Stdin, out.(*os.File))
	}
	return p.repeat(ctx, time.Duration(o.watch))
}

// once shows one answer.
func (p *page) once(ctx context.Context) error {
	s, err := p.status(ctx)
	if err != nil {
		return p.noAnswer(err)
	}
	return p.show(view{now: s})
}

func (p *page) status(ctx context.Context) (control.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	return p.ask.Status(ctx)
}

// noAnswer is the end when there is no node to ask: a program that reads JSON is
// told in JSON.
func (p *page) noAnswer(err error) error {
	if p.json {
		s := control.Status{Schema: control.Schema, Time: time.Now().UTC(), Health: control.Down, Causes: []string{err.Error()}}
		if jsonErr := json.NewEncoder(p.out).Encode(s); jsonErr != nil {
			return client.Exit(exitDown, jsonErr)
		}
	}
	return client.Exit(exitDown, err)
}

// show writes v, and returns the exit code as an error.
func (p *page) show(v view) error {
	lines, answer, code := p.content(v)
	if p.json {
		if err := json.NewEncoder(p.out).Encode(answer); err != nil {
			return client.Exit(exitDown, err)
		}
		return code
	}
	for _, l := range lines {
		if _, err := fmt.Fprintln(p.out, l.text(p.colors)); err != nil {
			return client.Exit(exitDown, err)
		}
	}
	return code
}

// content is what is to be shown of v, as lines and for JSON, and the exit code;
// an error with a text if there is nothing to show.
func (p *page) content(v view) (lines []line, answer any, code error) {
	if p.peer == "" {
		head, rest := v.lines()
		return append(head, rest...), v.now, exit(map[control.Health]int{control.OK: exitOK, control.Degraded: exitDegraded}, v.now.Health)
	}
	peer, err := findPeer(&v.now, p.peer)
	if err != nil {
		return nil, noPeer{v.now.Schema, v.now.Time, err.Error(), "peer"}, client.Exit(exitDown, err)
	}
	codes := map[control.PeerState]int{control.PeerOK: exitOK, control.PeerNew: exitOK, control.PeerSilent: exitDegraded}
	return v.detail(peer), onePeer{v.now.Schema, v.now.Time, peer}, exit(codes, peer.State)
}

// onePeer is the JSON answer to --peer.
type onePeer struct {
	Schema int           `json:"schema"`
	Time   time.Time     `json:"time"`
	Peer   *control.Peer `json:"peer"`
}

// noPeer is the JSON answer to --peer if there is no such peer.
type noPeer struct {
	Schema int       `json:"schema"`
	Time   time.Time `json:"time"`
	Error  string    `json:"error"`
	Field  string    `json:"field"`
}

// The exit codes of weft status.
const (
	exitOK = iota
	exitDegraded
	exitDown
)

// exit is the error that stands for what; nil: ok. What is not among codes is
// down.
func exit[T comparable](codes map[T]int, what T) error {
	code, ok := codes[what]
	if !ok {
		code = exitDown
	}
	if code == exitOK {
		return nil
	}
	return client.Exit(code, nil)
}
