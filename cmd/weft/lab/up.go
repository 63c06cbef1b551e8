package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"
)

// upFlags is what the command line of `lab up` can say beyond Options.
type upFlags struct {
	Options
	network, network6, netConf string
	detach                     bool
}

func upCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up [NODES]",
		Short: "Make a lab (3 nodes unless said otherwise)",
		Long: `Make a lab and stay until Ctrl-C, which ends it. With --detach return as soon
as it is ready; weft lab down ends it.`,
		Args: cobra.MaximumNArgs(1),
	}
	var f upFlags
	f.addTo(cmd.Flags())
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		if err := f.complete(args); err != nil {
			return err
		}
		return f.run(cmd.Context(), cmd.OutOrStdout())
	})
	return cmd
}

func (f *upFlags) addTo(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&f.Name, "name", "default", "`name` of the lab")
	fs.BoolVarP(&f.detach, "detach", "d", false, "return when the lab is ready and leave it running")
	fs.StringVar(&f.Backend, "backend", "udp", "backend `type`: udp, vxlan or wireguard")
	fs.StringVar(&f.network, "network", "10.244.0.0/16", "overlay network `CIDR`")
	fs.BoolVar(&f.IPv6, "ipv6", false, "IPv6 as well")
	fs.StringVar(&f.network6, "network6", defaultNetwork6.String(), "IPv6 overlay network `CIDR`, with --ipv6")
	fs.StringVar(&f.netConf, "net-conf", "", "net-conf.json `file`, instead of the four flags above")
	fs.StringVar(&f.LeaseDir, "leases", "", "keep leases in this `directory`; default: an etcd inside n1")
	fs.StringVar(&f.TunMode, "tun-mode", "", "--tun-mode of each node: auto or plain")
	fs.StringVar(&f.SourceCheck, "source-check", "", "--source-check of each node: strict, report or off")
	fs.StringArrayVar(&f.Env, "env", nil, "`K=V` for the environment of each node; may be repeated")
	fs.StringVar(&f.Weft, "weft", "", "`program` to run as the nodes' weft; default: this one")
}

// complete turns what was typed into Options.
func (f *upFlags) complete(args []string) (err error) {
	f.Nodes = 3
	if len(args) > 0 {
		if f.Nodes, err = strconv.Atoi(args[0]); err != nil || f.Nodes < 1 {
			return fmt.Errorf("NODES %q: want a number from 1 to %d", args[0], MaxNodes)
		}
	}
	if f.Network, err = netip.ParsePrefix(f.network); err != nil {
		return fmt.Errorf("--network %q: want ADDRESS/LENGTH", f.network)
	}
	if f.Network6, err = netip.ParsePrefix(f.network6); err != nil {
		return fmt.Errorf("--network6 %q: want ADDRESS/LENGTH", f.network6)
	}
	if f.netConf != "" {
		if f.NetConf, err = os.ReadFile(f.netConf); err != nil {
			return fmt.Errorf("--net-conf: %w", err)
		}
	}
	if f.LeaseDir != "" {
		f.Store = StoreDir
		if f.LeaseDir, err = filepath.Abs(f.LeaseDir); err != nil {
			return err
		}
	}
	if f.Weft != "" {
		if f.Weft, err = filepath.Abs(f.Weft); err != nil {
			return err
		}
	}
	for _, kv := range f.Env {
		if k, _, ok := strings.Cut(kv, "="); !ok || k == "" {
			return fmt.Errorf("--env %q: want K=V", kv)
		}
	}
	return nil
}

// run makes the lab and, unless detached, stays with it.
func (f *upFlags) run(ctx context.Context, out io.Writer) error {
	s, err := newState(f.Name)
	if err != nil {
		return err
	}
	f.Dir = s.dir()
	if _, _, err := f.withDefaults(); err != nil { // before anything is started
		return err
	}
	ctx, cancel := signal.NotifyContext(ctx, unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	defer cancel()
	lock, err := s.claim()
	if err != nil {
		return err
	}
	// The lab dies with the thread that starts it, so keep that one.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	cmd, info, err := startDaemon(ctx, s, f.Options, lock, f.detach)
	lock.Close()
	if err != nil {
		if cmd != nil {
			cmd.Wait() // so that nothing is left of it; why it failed is in err
		}
		if ctx.Err() != nil {
			return errors.New("interrupted before the lab was ready")
		}
		return err
	}
	if err := writeReady(out, s, info); err != nil || f.detach {
		return err
	}
	return errors.Join(stay(ctx, cmd), s.forget())
}

func writeReady(out io.Writer, s state, info *Info) error {
	if err := info.write(out); err != nil {
		return err
	}
	tries := []string{s.command("exec n1 -- " + pingCommand(info)), s.command("shell n1"), s.command("down")}
	_, err := fmt.Fprintf(out, "ready in %.2fs — try:  %s\n", info.Seconds, strings.Join(tries, "     "))
	return err
}

// pingCommand is a ping that this machine has: its own, or ours.
func pingCommand(info *Info) string {
	ping := "ping"
	if _, err := exec.LookPath(ping); err != nil {
		ping = "weft lab tool ping"
	}
	to := info.Nodes[len(info.Nodes)-1]
	if len(info.Nodes) > 1 {
		to = info.Nodes[1]
	}
	return ping + " " + to.Name
}

// stay waits until the lab has ended, and ends it when ctx does.
func stay(ctx context.Context, cmd *exec.Cmd) error {
	stop := context.AfterFunc(ctx, func() { terminate(cmd) })
	defer stop()
	err := cmd.Wait()
	if err != nil {
		return fmt.Errorf("the lab ended: %w", err)
	}
	return nil
}
