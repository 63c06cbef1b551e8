package lab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/spf13/cobra"

	"weft/cmd/weft/lab/probe"
)

// toolCommand holds what the lab runs inside its namespaces, so that it needs
// nothing installed. Each prints JSON, one object per line.
func toolCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "tool", Short: "Small tools to run at a place of the lab", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(pingTool(), recvTool(), sendTool())
	return cmd
}

func pingTool() *cobra.Command {
	cmd := &cobra.Command{Use: "ping HOST", Short: "Send ICMP echo requests; fails unless all are answered", Args: cobra.ExactArgs(1)}
	var e probe.Echo
	cmd.Flags().IntVarP(&e.Count, "count", "c", 4, "how many")
	cmd.Flags().IntVarP(&e.Size, "size", "s", 56, "payload `bytes` of each")
	cmd.Flags().DurationVarP(&e.Interval, "interval", "i", 200*time.Millisecond, "from a reply to the next request")
	cmd.Flags().DurationVarP(&e.Timeout, "timeout", "W", 2*time.Second, "how long to wait for a reply")
	v6 := cmd.Flags().BoolP("ipv6", "6", false, "use the IPv6 address of HOST")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) (err error) {
		if e.To, err = resolve(cmd.Context(), args[0], *v6); err != nil {
			return err
		}
		p, err := probe.NewPinger(e.To.Is6())
		if err != nil {
			return err
		}
		defer p.Close()
		got, err := p.Ping(cmd.Context(), e, nil)
		if err := errors.Join(err, print(cmd, got)); err != nil {
			return err
		}
		if got.Received < got.Sent {
			return fmt.Errorf("%d of %d requests were not answered", got.Sent-got.Received, got.Sent)
		}
		return nil
	})
	return cmd
}

// resolve returns an address of host, preferring IPv4 unless v6.
func resolve(ctx context.Context, host string, v6 bool) (netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return a, nil
	}
	network := "ip4"
	if v6 {
		network = "ip6"
	}
	list, err := net.DefaultResolver.LookupNetIP(ctx, network, host)
	if err != nil {
		return netip.Addr{}, err
	}
	return list[0].Unmap(), nil
}

// Listening is what `weft lab tool recv` prints first, once a sender can
// connect.
type Listening struct {
	Listening string `json:"listening"` // host:port
}

func recvTool() *cobra.Command {
	cmd := &cobra.Command{Use: "recv", Short: "Receive one TCP stream", Args: cobra.NoArgs}
	at := cmd.Flags().String("listen", ":5001", "`address`")
	hash := cmd.Flags().Bool("hash", false, "print the SHA-256 of what arrived")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		l, err := new(net.ListenConfig).Listen(cmd.Context(), "tcp", *at)
		if err != nil {
			return err
		}
		defer l.Close()
		if err := print(cmd, Listening{l.Addr().String()}); err != nil {
			return err
		}
		f, err := probe.Receive(cmd.Context(), l, *hash)
		if err != nil {
			return err
		}
		return print(cmd, f)
	})
	return cmd
}

func sendTool() *cobra.Command {
	cmd := &cobra.Command{Use: "send HOST:PORT", Short: "Send one TCP stream", Args: cobra.ExactArgs(1)}
	var l probe.Load
	cmd.Flags().Int64Var(&l.Bytes, "bytes", 0, "how much")
	cmd.Flags().DurationVar(&l.Time, "time", 0, "how long")
	cmd.Flags().BoolVar(&l.Hash, "hash", false, "print the SHA-256 of what was sent")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		f, err := probe.Send(cmd.Context(), args[0], l)
		if err != nil {
			return err
		}
		return print(cmd, f)
	})
	return cmd
}

func print(cmd *cobra.Command, v any) error {
	return writeJSON(cmd.OutOrStdout(), v)
}

func writeJSON(w io.Writer, v any) error { return json.NewEncoder(w).Encode(v) }
