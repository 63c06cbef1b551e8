package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// demoTime is how long a demo may take before it gives up.
const demoTime = 60 * time.Second

// demoOptions is what `lab demo` passes to itself inside its namespaces.
type demoOptions struct {
	Options
	Bytes int64 // moved with hashing
	Pings int
	Burst time.Duration // of the transfer without hashing
}

func demoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Make two nodes, measure between their pods, show the first packets, and clean up",
		Args:  cobra.NoArgs,
	}
	var o demoOptions
	fs := cmd.Flags()
	fs.Int64Var(&o.Bytes, "bytes", 1e9, "how much to move and hash")
	fs.IntVar(&o.Pings, "pings", 10, "how many pings")
	fs.DurationVar(&o.Burst, "burst", 2*time.Second, "how long to move data without hashing it; 0 leaves that out")
	fs.StringVar(&o.Backend, "backend", "udp", "backend `type`: udp, vxlan or wireguard")
	fs.StringVar(&o.TunMode, "tun-mode", "", "--tun-mode of each node: auto or plain")
	fs.StringArrayVar(&o.Env, "env", nil, "`K=V` for the environment of each node; may be repeated")
	fs.StringVar(&o.Weft, "weft", "", "`program` to run as the nodes' weft; default: this one")
	inside := fs.Bool("inside", false, "")
	if err := fs.MarkHidden("inside"); err != nil {
		panic(err) // the flag is defined one line above
	}
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		if *inside {
			return demoInside(os.Stdout)
		}
		return o.run(cmd.Context())
	})
	return cmd
}

// run starts the demo in namespaces of its own and waits for it.
func (o demoOptions) run(ctx context.Context) (err error) {
	ctx, cancel := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	if o.Dir, err = os.MkdirTemp("", "weft-demo-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.Dir)) }()
	o.Name, o.Nodes = "demo", 2
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "lab", "demo", "--inside")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	confine(cmd)
	cmd.SysProcAttr.Pdeathsig = unix.SIGKILL // the demo dies with this thread, so keep it
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := startJSON(cmd, o); err != nil {
		return explain(fmt.Errorf("start demo: %w", err))
	}
	defer context.AfterFunc(ctx, func() { terminate(cmd) })()
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return &ExitError{Code: max(exitCode(cmd.ProcessState), 1)} // it has said why
	} else if err != nil {
		return err
	}
	return nil
}

// demoInside is the demo in its namespaces.
func demoInside(out io.Writer) error {
	if err := beInit(); err != nil {
		return err
	}
	var o demoOptions
	if err := json.NewDecoder(os.Stdin).Decode(&o); err != nil {
		return fmt.Errorf("demo options: %w", err)
	}
	ctx, cancel := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer cancel()
	ctx, stop := context.WithTimeoutCause(ctx, demoTime, fmt.Errorf("the demo took more than %s", demoTime))
	defer stop()
	start := time.Now()
	mountView(o.Dir, slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	fmt.Fprintln(out, "two nodes and a pod on each, in namespaces of their own; leases in etcd on n1")
	l, err := New(o.Options)
	if err != nil {
		return explain(err)
	}
	d := &demo{opt: o, lab: l, out: out}
	err = errors.Join(d.run(ctx), l.Close())
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "\nall namespaces are gone again; %.1f s in total\n", time.Since(start).Seconds())
	return err
}

// A demo is one run of it.
type demo struct {
	opt  demoOptions
	lab  *Lab
	out  io.Writer
	rows []row
	seen []section
}

func (d *demo) run(ctx context.Context) error {
	if err := d.step("etcd, two nodes, pods reach each other", func() error { return d.lab.Up(ctx) }); err != nil {
		if why := tunAdvice("/dev/net/tun"); why != "" {
			return fmt.Errorf("%w\n%s", err, why)
		}
		return err
	}
	for _, t := range d.tests() {
		if err := d.step(t.title, func() error { return d.test(ctx, t) }); err != nil {
			return errors.Join(err, d.report())
		}
	}
	return d.report()
}

// step says what is being done, and then how long it took.
func (d *demo) step(title string, f func() error) error {
	fmt.Fprintf(d.out, "  %-44s", title+" …")
	start := time.Now()
	err := f()
	verdict := "done"
	if err != nil {
		verdict = "FAILED"
	}
	fmt.Fprintf(d.out, " %s in %.2f s\n", verdict, time.Since(start).Seconds())
	return err
}

// test runs one test, with the drops it caused and the first frames it sent.
func (d *demo) test(ctx context.Context, t trial) error {
	before, err := d.drops()
	if err != nil {
		return err
	}
	seen, err := d.watch(t.title, t.frames)
	if err != nil {
		return err
	}
	r, err := t.run(ctx)
	after, dropErr := d.drops()
	r.test, r.drops = t.title, after-before
	d.rows = append(d.rows, r)
	d.seen = append(d.seen, seen()...)
	return errors.Join(err, dropErr)
}

// drops sums the counters of all nodes.
func (d *demo) drops() (sum uint64, err error) {
	for _, n := range d.lab.Nodes {
		k, err := n.Drops()
		if err != nil {
			return 0, err
		}
		sum += k.Total()
	}
	return sum, nil
}
