package explain

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/netip"
	"strconv"

	"github.com/spf13/cobra"

	"weft/cmd/weft/client"
	"weft/engine/control"
)

// The exit codes.
const (
	notDelivered = 1
	notAsked     = 2
)

// An asker can be asked for an explanation: *client.Client, or a stand-in.
type asker interface {
	Explain(context.Context, control.Question) (control.Explanation, error)
}

// Command returns `weft explain`.
func Command() *cobra.Command {
	var (
		asJSON, df bool
		size       int
	)
	cmd := &cobra.Command{
		Use:   "explain SRC DST [proto] [port] [size]",
		Short: "What would happen to a packet, without sending one",
		Long: `Say what would happen to a packet from SRC to DST: where the kernel sends it,
which peer it is for, whether it fits, what the packet filter makes of it, and
what the way back looks like. Nothing is sent but, at most, a question to the
peer.

proto is tcp, udp, icmp (default) or a number; port is the destination port, for
protocols that have ports; size is the length of the whole inner packet in bytes,
by default the device's MTU.

The exit code is 0 if the packet would be delivered, in fragments perhaps, 1 if
not, and 2 if the node could not be asked.`,
		Example: `  weft explain 10.244.1.5 10.244.2.7
  weft explain 10.244.1.5 10.244.2.7 tcp 80 1500
  weft explain 10.244.1.5 10.244.2.7 icmp --size 1400 --df=false
  weft explain --json fd00:244:1::5 fd00:244:2::7 udp 53`,
		Args: cobra.RangeArgs(2, 5),
	}
	socket := client.Flag(cmd)
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().BoolVar(&df, "df", true, "the packet may not be fragmented; always so for IPv6")
	cmd.Flags().IntVar(&size, "size", 0, "length of the inner packet in `bytes`")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		q, err := question(args)
		if err != nil {
			return err
		}
		if q.DF = df; cmd.Flags().Changed("size") {
			if q.Size != 0 {
				return fmt.Errorf("--size: %d: the size is given already, as %d", size, q.Size)
			}
			if q.Size = size; size <= 0 {
				return fmt.Errorf("--size: %d is not a number of bytes", size)
			}
		}
		c, err := client.New(*socket)
		if err != nil {
			return client.Exit(notAsked, err)
		}
		defer c.Close()
		return run(cmd.Context(), c, q, cmd.OutOrStdout(), asJSON)
	}
	return cmd
}

// question reads the arguments. After a protocol without ports the next number
// is the size.
func question(args []string) (q control.Question, err error) {
	for i, a := range [...]*netip.Addr{&q.Src, &q.Dst} {
		if *a, err = netip.ParseAddr(args[i]); err != nil {
			return q, fmt.Errorf("%s: %q is not an IP address", [...]string{"SRC", "DST"}[i], args[i])
		}
	}
	if args = args[2:]; len(args) == 0 {
		return q, nil
	}
	q.Proto, args = args[0], args[1:]
	if ports := q.Proto == "tcp" || q.Proto == "udp" || q.Proto == "sctp"; ports && len(args) > 0 {
		n, err := strconv.ParseUint(args[0], 10, 16)
		if err != nil || n == 0 {
			return q, fmt.Errorf("port: %q is not a number from 1 to 65535", args[0])
		}
		q.Port, args = uint16(n), args[1:]
	}
	if len(args) == 0 {
		return q, nil
	}
	n, err := strconv.ParseUint(args[0], 10, 16)
	if err != nil || n == 0 {
		return q, fmt.Errorf("size: %q is not a number from 1 to 65535", args[0])
	}
	if len(args) > 1 {
		return q, fmt.Errorf("%q: nothing can stand there: %s has no ports", args[1], q.Proto)
	}
	q.Size = int(n)
	return q, nil
}

// run asks and shows the answer. The error of a packet that would not be
// delivered has no text: the screen has said it.
func run(ctx context.Context, from asker, q control.Question, out io.Writer, asJSON bool) error {
	e, err := from.Explain(ctx, q)
	if err != nil {
		return client.Exit(notAsked, err)
	}
	if asJSON {
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false) // texts have > in them
		err = enc.Encode(e)
	} else {
		_, err = io.WriteString(out, screen(e))
	}
	switch {
	case err != nil:
		return client.Exit(notAsked, err)
	case e.Verdict != "deliver" && e.Verdict != "fragment":
		return client.Exit(notDelivered, nil)
	}
	return nil
}
