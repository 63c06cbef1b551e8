package trace

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"weft/cmd/weft/client"
	"weft/cmd/weft/trace/pcapng"
	"weft/engine/trace/filter"
)

// Wireshark runs the programs in its extcap folder, first to learn what they
// offer, then to capture (extcap(4)). A symbolic link there to weft puts each
// node of this machine into Wireshark's list of interfaces:
//
//	--extcap-interfaces                           a line for each node
//	--extcap-interface weft-n1 --extcap-dlts      the link type
//	--extcap-interface weft-n1 --extcap-config    what can be chosen
//	--extcap-interface weft-n1 --extcap-capture-filter F     is F a filter?
//	--extcap-interface weft-n1 --capture --fifo P [--extcap-capture-filter F]
//
// The last one runs until it is told to stop by SIGTERM, or P's reader leaves.

// IsExtcap tells whether Wireshark calls, by the arguments behind the program's
// name.
func IsExtcap(args []string) bool {
	for _, a := range args {
		if strings.HasPrefix(a, "--extcap-") {
			return true
		}
	}
	return false
}

// Extcap does what Wireshark asks for and returns the exit code.
func Extcap(ctx context.Context, args []string, out, err io.Writer) int {
	return live().extcap(ctx, args, out, err)
}

// extcapFlags are Wireshark's and, below, our own, which --extcap-config
// describes.
type extcapFlags struct {
	set                             *pflag.FlagSet
	interfaces, dlts, config, start bool
	iface, fifo, captureFilter      string
	version, reload                 string

	selection
	filter    string
	truePorts bool
}

func parseExtcap(args []string) (*extcapFlags, error) {
	var f extcapFlags
	f.set = pflag.NewFlagSet("weft", pflag.ContinueOnError)
	f.set.ParseErrorsAllowlist.UnknownFlags = true // of newer Wiresharks
	f.set.BoolVar(&f.interfaces, "extcap-interfaces", false, "")
	f.set.BoolVar(&f.dlts, "extcap-dlts", false, "")
	f.set.BoolVar(&f.config, "extcap-config", false, "")
	f.set.BoolVar(&f.start, "capture", false, "")
	f.set.StringVar(&f.iface, "extcap-interface", "", "")
	f.set.StringVar(&f.fifo, "fifo", "", "")
	f.set.StringVar(&f.captureFilter, "extcap-capture-filter", "", "")
	f.set.StringVar(&f.version, "extcap-version", "", "")
	f.set.StringVar(&f.reload, "extcap-reload-option", "", "")
	f.set.StringVar(&f.filter, "filter", "", "")
	f.set.StringVar(&f.sample, "sample", "1/1", "")
	f.set.IntVar(&f.snaplen, "snaplen", 0, "")
	f.set.BoolVar(&f.drops, "drops", false, "")
	f.set.BoolVar(&f.truePorts, "true-ports", false, "")
	return &f, f.set.Parse(args)
}

func (p *program) extcap(ctx context.Context, args []string, out, errOut io.Writer) int {
	f, err := parseExtcap(args)
	if err == nil {
		err = p.answer(ctx, f, out)
	}
	if err != nil {
		fmt.Fprintf(errOut, "weft: %v\n", err)
		return 1
	}
	return 0
}

func (p *program) answer(ctx context.Context, f *extcapFlags, out io.Writer) error {
	if f.interfaces {
		return p.listInterfaces(out)
	}
	socket, err := p.socketOf(f.iface)
	switch {
	case err != nil:
		return err
	case f.dlts:
		_, err = fmt.Fprintf(out, "dlt {number=%d}{name=RAW}{display=IP packets, inner and outer}\n", pcapng.RAW)
	case f.config:
		_, err = io.WriteString(out, extcapConfig)
	case f.start:
		return p.capture(ctx, f, socket)
	case f.set.Changed("extcap-capture-filter"):
		if _, bad := filter.Compile(f.captureFilter); bad != nil {
			_, err = fmt.Fprintln(out, bad) // whatever stands here makes the filter a bad one
		}
	default:
		return fmt.Errorf("--extcap-interface=%s: with none of --extcap-dlts, --extcap-config, --capture", f.iface)
	}
	return err
}

// extcapConfig is the form that Wireshark shows before a capture.
const extcapConfig = `arg {number=0}{call=--filter}{display=Filter}{type=string}{tooltip=As of weft trace: pcap-filter on the inner packet, and peer, lease, dir, vni, drop, inner, outer}
arg {number=1}{call=--drops}{display=Only dropped packets}{type=boolflag}{default=false}
arg {number=2}{call=--snaplen}{display=Bytes of each packet}{type=unsigned}{range=0,65535}{default=128}{tooltip=0: headers}
arg {number=3}{call=--sample}{display=One of so many packets}{type=string}{default=1/1}{tooltip=1/100: one in a hundred}
arg {number=4}{call=--true-ports}{display=Leave the source port of VXLAN as it is}{type=boolflag}{default=false}
`

// listed returns the sockets with the names of their interfaces: two nodes of one
// name are told apart by their order.
func (p *program) listed() (names []string, sockets []client.Socket) {
	seen := map[string]int{}
	for _, s := range p.sockets() {
		name := "weft-" + s.Name
		if seen[name]++; seen[name] > 1 {
			name = fmt.Sprintf("%s-%d", name, seen[name])
		}
		names, sockets = append(names, name), append(sockets, s)
	}
	return names, sockets
}

func (p *program) listInterfaces(out io.Writer) error {
	var b strings.Builder
	b.WriteString("extcap {version=1.0}{display=weft}\n")
	names, sockets := p.listed()
	for i, name := range names {
		fmt.Fprintf(&b, "interface {value=%s}{display=weft: packets of node %s}\n", name, sockets[i].Name)
	}
	_, err := io.WriteString(out, b.String())
	return err
}

func (p *program) socketOf(iface string) (path string, err error) {
	names, sockets := p.listed()
	for i, name := range names {
		if name == iface {
			return sockets[i].Path, nil
		}
	}
	return "", fmt.Errorf("--extcap-interface=%s: no node of that name answers; there are: %s", iface, strings.Join(names, ", "))
}

// capture writes a capture to the fifo until it is over.
func (p *program) capture(ctx context.Context, f *extcapFlags, socket string) error {
	if f.fifo == "" {
		return fmt.Errorf("--capture: --fifo is missing")
	}
	var words []string
	for _, w := range []string{f.filter, f.captureFilter} {
		if strings.TrimSpace(w) != "" {
			words = append(words, "("+w+")")
		}
	}
	o, err := f.options([]string{strings.Join(words, " and ")})
	if err != nil {
		return err
	}
	asked, cut, stop := inTwoSteps(ctx)
	defer stop()
	src, err := p.trace(cut, socket, o)
	if err != nil {
		return err
	}
	defer src.Close()
	pipe, err := openFifo(asked, f.fifo)
	if err != nil {
		return fmt.Errorf("--fifo: %w", err)
	}
	defer pipe.Close()
	out := newOutput(pipe)
	c, err := newCapture(out, f.truePorts)
	if err != nil {
		return err
	}
	defer context.AfterFunc(asked, src.Stop)()
	if _, err := pump(cut, src, c); err != nil {
		return err
	}
	return gone(out.Close())
}

// openFifo opens a named pipe for writing. That waits for a reader, until ctx
// ends; then the waiting goroutine is left behind, for nothing can wake it.
func openFifo(ctx context.Context, path string) (*os.File, error) {
	type result struct {
		f   *os.File
		err error
	}
	opened := make(chan result, 1)
	go func() {
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		opened <- result{f, err}
	}()
	select {
	case r := <-opened:
		return r.f, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
