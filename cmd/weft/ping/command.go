package ping

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// A pinger has a node send echoes; see [client.Client].
type pinger interface {
	Ping(ctx context.Context, r control.PingRequest, each func(control.PingReply) error) error
}

// Command returns `weft ping`. Errors with a method ExitCode are failures, or
// layers that fail; all others are mistakes in the command line.
func Command() *cobra.Command {
	return command(func(socket string) (pinger, error) {
		c, err := client.New(socket)
		if err != nil {
			return nil, err // not c: a nil *client.Client would be a non-nil pinger
		}
		return c, nil
	})
}

const long = `Send echoes to a peer in four layers, and say which is the first that fails.
PEER is its name, its subnet, or an address in its subnet.

  underlay  from outer address to outer address, beside the tunnel: ICMP, and a
            datagram to the tunnel's port if the peer is weft
  engine    through the tunnel, made by the node itself: no device, route or rule
            of this host has a part in it
  kernel    through the device, as the kernel routes it
  pod       from this node's bridge to the peer's, or between --from and --to

What it means:

  underlay fails, engine too    the host is down or cannot be reached
  underlay fails, engine ok     the underlay blocks ICMP; nothing to worry about
  underlay ok, engine fails     the peer's weft or flanneld is down, its port is
                                blocked, or VNI or keys do not match
  engine ok, kernel fails       this host's rules, rp_filter, or a route that leads
                                past the tunnel
  kernel ok, pod fails          the peer's bridge, its FORWARD rules, or the pod
  small ok, --sweep finds less  a link on the way has a smaller MTU, and nobody
  than the MTU                  says so

Sizes are bytes of the whole IP packet: the outer one in the layer underlay, the
inner one in all others. The exit code is 0 if all that was tried passes (but for
an underlay that answers no echoes though the tunnel works), 1 if a layer fails,
nothing could be tried or the node cannot be asked, 2 for a mistake in the command
line.`

func command(dial func(socket string) (pinger, error)) *cobra.Command {
	o := options{}
	cmd := &cobra.Command{
		Use:   "ping PEER",
		Short: "Echoes to a peer by layer: the first that fails is the answer",
		Long:  long,
		Example: `  weft ping 10.244.2.0/24
  weft ping 10.5.2.7 --layer kernel,pod --to 10.5.2.7
  weft ping 10.244.2.7 --size 1450 --df
  weft ping 192.0.2.12 --sweep`,
		Args: cobra.ExactArgs(1),
	}
	socket := client.Flag(cmd)
	o.flags(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		r, err := o.request(args[0])
		if err != nil {
			return err
		}
		return client.Doing(func(cmd *cobra.Command, _ []string) error {
			c, err := dial(*socket)
			if err != nil {
				return err
			}
			return o.ping(cmd, c, r)
		})(cmd, args)
	}
	return cmd
}

// options are the flags.
type options struct {
	layers            []string
	count, size       int
	df, sweep, json   bool
	interval, timeout time.Duration
	from, to          string
}

var layers = []string{control.LayerUnderlay, control.LayerEngine, control.LayerKernel, control.LayerPod}

func (o *options) flags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&o.layers, "layer", nil, "`layers` to try, with commas: "+strings.Join(layers, ", ")+" (default all)")
	f.IntVarP(&o.count, "count", "c", 3, "`echoes` of each layer")
	f.IntVar(&o.size, "size", 84, "`bytes` of the IP packet")
	f.BoolVar(&o.df, "df", false, "packets may not be fragmented")
	f.BoolVar(&o.sweep, "sweep", false, "then search for the largest size that passes whole")
	f.DurationVar(&o.interval, "interval", 200*time.Millisecond, "`time` between echoes")
	f.DurationVar(&o.timeout, "timeout", time.Second, "`time` to wait for each answer")
	f.StringVar(&o.from, "from", "", "this node's end of the layer pod, an `address` of this host (default the bridge's)")
	f.StringVar(&o.to, "to", "", "the peer's end of the layer pod, an `address` in its subnet (default its bridge's)")
	f.BoolVar(&o.json, "json", false, "a JSON object a line: each echo, each layer's summary, the verdict")
	// An error would say that there is no such flag.
	_ = cmd.RegisterFlagCompletionFunc("layer", cobra.FixedCompletions(layers, cobra.ShellCompDirectiveNoFileComp))
}

// request checks the flags, as far as that takes no node. A zero in a request
// stands for a default, which nobody means who writes one.
func (o *options) request(peer string) (r control.PingRequest, err error) {
	for _, l := range o.layers {
		if !slices.Contains(layers, l) {
			return r, fmt.Errorf("--layer %q: want some of %s", l, strings.Join(layers, ", "))
		}
	}
	switch {
	case o.count < 1:
		return r, fmt.Errorf("--count %d: want 1 or more", o.count)
	case o.size < 1:
		return r, fmt.Errorf("--size %d: want 28 or more", o.size)
	case o.interval <= 0:
		return r, fmt.Errorf("--interval %v: want more than 0", o.interval)
	case o.timeout <= 0:
		return r, fmt.Errorf("--timeout %v: want more than 0", o.timeout)
	}
	for _, f := range [][2]string{{"--from", o.from}, {"--to", o.to}} {
		if _, err := netip.ParseAddr(f[1]); f[1] != "" && err != nil {
			return r, fmt.Errorf("%s %q: not an IP address", f[0], f[1])
		}
	}
	return control.PingRequest{Peer: peer, Layers: o.layers, Count: o.count, Size: o.size, DF: o.df, Sweep: o.sweep,
		Interval: o.interval.Seconds(), Timeout: o.timeout.Seconds(), From: o.from, To: o.to}, nil
}

// errNoVerdict says that the answer ended before its last line.
var errNoVerdict = errors.New("the node ended the ping without a verdict: its log may tell why")

// ping has the node send the echoes, prints its lines, and judges by the last.
func (o *options) ping(cmd *cobra.Command, c pinger, r control.PingRequest) error {
	show := (&screen{w: cmd.OutOrStdout()}).show
	if o.json {
		show = func(p control.PingReply) error { return json.NewEncoder(cmd.OutOrStdout()).Encode(p) }
	} else if _, err := fmt.Fprintf(cmd.OutOrStdout(), "PING %s: %d bytes, %d of each layer\n", r.Peer, r.Size, r.Count); err != nil {
		return err
	}
	tried, over, failed := false, false, false
	err := c.Ping(cmd.Context(), r, func(p control.PingReply) error {
		tried = tried || p.Summary != nil && p.Summary.Skipped == ""
		over = over || p.Verdict != ""
		failed = failed || p.Verdict != "" && p.Layer != ""
		return show(p)
	})
	switch {
	case err != nil:
		return err
	case !over:
		return errNoVerdict
	case failed || !tried:
		return client.Exit(1, nil)
	}
	return nil
}
