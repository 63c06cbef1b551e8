package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/engine/control"
	"weft/engine/doctor"
	"weft/engine/trace"
)

// A daemon is what can be asked of a node.
type daemon interface {
	Doctor(context.Context) (control.Report, error)
	Status(context.Context) (control.Status, error)
	Metrics(context.Context, io.Writer) error
	Drops(context.Context) (events, error)
}

// events are the frames of a stream.
type events interface {
	Next() (trace.Event, error)
	Close() error
}

// A remote is a daemon at a socket.
type remote struct{ *client.Client }

func (r remote) Drops(ctx context.Context) (events, error) {
	s, err := r.Client.Drops(ctx)
	if err != nil {
		return nil, err // not s: a nil *client.Stream would be non-nil events
	}
	return s, nil
}

// outside is what the command has to do with; tests put other things there.
type outside struct {
	connect func(socket string) (daemon, error)
	crowd   func() bool // several nodes run here
	system  doctor.System
	gather  []source // of the host, for a bundle
}

// Command returns `weft doctor`.
func Command() *cobra.Command {
	return command(outside{
		connect: func(socket string) (daemon, error) {
			c, err := client.New(socket)
			if err != nil {
				return nil, err
			}
			return remote{c}, nil
		},
		crowd:  func() bool { return len(client.Sockets()) > 1 },
		system: doctor.Host{},
		gather: hostSources,
	})
}

// options are the flags.
type options struct {
	socket *string
	json   bool
	quiet  bool
	bundle string
}

func command(o outside) *cobra.Command {
	var opt options
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check the node, its host and the ways to its peers",
		Long: `Check the node, its host and the ways to its peers. Each check says what it
found, what that comes from, and what to do.

PASS  as it should be                WARN  works, but not as well as it could
INFO  worth knowing                  FAIL  something does not work
SKIP  could not be checked           PEER  a peer, with what is wrong about it

The exit code is 1 if a check failed, else 0. Where no daemon is found the host
is checked alone, and that none runs counts as a failure; one that was named and
does not answer is an error. A bundle holds what a bug report needs; addresses are in it,
keys, passwords and what pods say are not.`,
		Example: `  weft doctor
  weft doctor --quiet                     only what is wrong
  weft doctor --json | jq '.checks[] | select(.verdict == "fail")'
  weft doctor --bundle weft.tar.gz        for a bug report`,
		Args: cobra.NoArgs,
		RunE: client.Doing(func(cmd *cobra.Command, _ []string) error { return o.examine(cmd, opt) }),
	}
	opt.socket = client.Flag(cmd)
	f := cmd.Flags()
	f.BoolVar(&opt.json, "json", false, "print the report as JSON")
	f.BoolVarP(&opt.quiet, "quiet", "q", false, "show only warnings and failures")
	f.StringVar(&opt.bundle, "bundle", "", "write what a bug report needs to `FILE.tar.gz`; - is the standard output")
	return cmd
}

func (o outside) examine(cmd *cobra.Command, opt options) error {
	ctx := cmd.Context()
	d, err := o.connect(*opt.socket)
	named := *opt.socket != "" || os.Getenv(client.Env) != ""
	if err != nil && (named || o.crowd()) {
		return err // what was named is not there, or it asks to choose
	}
	report, notice, err := o.report(ctx, d, err)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	if opt.bundle == "-" {
		out = cmd.ErrOrStderr()
	}
	if notice != "" {
		fmt.Fprintf(cmd.ErrOrStderr(), "weft doctor: %s\n", notice)
	}
	if opt.json {
		err = json.NewEncoder(out).Encode(report)
	} else {
		err = writeTable(out, report, opt.quiet)
	}
	if err != nil {
		return err
	}
	if opt.bundle != "" {
		if err := o.bundle(ctx, cmd, opt.bundle, report, d); err != nil {
			return err
		}
	}
	for _, c := range report.Checks {
		if c.Verdict == control.Fail {
			return client.Exit(1, nil)
		}
	}
	return nil
}

// report has the checks made by the daemon, or, where none was found (missing
// says so), makes them here and says why. That a daemon which was found does not
// answer is an error, and so is what it answers, except that it does not let us.
func (o outside) report(ctx context.Context, d daemon, missing error) (report control.Report, notice string, err error) {
	if missing != nil {
		s := doctor.Subject{System: o.system, Why: missing.Error(), Beside: true}
		return doctor.Run(ctx, s), fmt.Sprintf("no daemon answers, so only this host is checked (%v)", missing), ctx.Err()
	}
	if report, err = d.Doctor(ctx); err == nil {
		return report, "", nil
	}
	var refused *control.Error
	switch {
	case ctx.Err() != nil:
		return report, "", ctx.Err()
	case !errors.As(err, &refused) || refused.Status != http.StatusForbidden:
		return report, "", err
	}
	status, err := d.Status(ctx)
	if err != nil {
		return report, "", err
	}
	s := doctor.Subject{System: o.system, Status: &status, Beside: true}
	for r, err := range drops(ctx, d) {
		if err != nil {
			break // the flight recorder is of use to a few checks only
		}
		if r.Record != nil {
			s.Drops = append(s.Drops, clone(r.Record))
		}
	}
	return doctor.Run(ctx, s), fmt.Sprintf("the daemon does not let this user probe its peers, so the checks are made without (%v)", refused), nil
}
