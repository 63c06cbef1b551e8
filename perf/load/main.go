package load

import (
	"bufio"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"runtime"
	"sort"
	"strings"
	"time"
)

// Command is the first argument by which the perf program calls itself to
// become a role; it hands the remaining arguments to [Main].
const Command = "load"

// options are what the roles' command lines can say.
type options struct {
	streams int  // connections of tcp-send
	noDelay bool // their TCP_NODELAY
	size    int  // payload bytes of udp-send and udp-ping
	// every is the time between the requests of tcp-ping; 0: each waits
	// for the answer to the one before.
	every time.Duration
}

// A starter starts a role at an address. A role that ends by itself calls
// fail, with nil when its peer has only gone away.
type starter func(a netip.AddrPort, o options, fail func(error)) (role, error)

var starters = map[string]starter{
	"tcp-recv": tcpRecv,
	"tcp-send": tcpSend,
	"tcp-echo": tcpEcho,
	"tcp-ping": tcpRequest,
	"udp-recv": udpRecv,
	"udp-send": udpSend,
	"udp-echo": udpEcho,
	"udp-ping": udpPing,
}

// Main plays the role that args name, ROLE [-streams N] [-nodelay]
// [-size BYTES] [-every DURATION] ADDRESS:PORT, and answers the commands on in
// until "stop", the end of in, or an error of the role.
func Main(args []string, in io.Reader, out io.Writer) error {
	start, addr, o, err := parse(args)
	if err != nil {
		return err
	}
	// Each stream may sit in a system call on a thread of its own; one
	// more processor keeps the answers to "mark" prompt.
	workers := o.streams
	if o.every > 0 {
		workers = 2 // one asks, one reads the answers
	}
	runtime.GOMAXPROCS(max(runtime.NumCPU(), workers+1))
	failed := make(chan error, 1)
	r, err := start(addr, o, func(err error) {
		if err != nil {
			select {
			case failed <- err:
			default: // the first error is the one to report
			}
		}
	})
	if err != nil {
		return err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- converse(r, in, out) }()
	select {
	case err := <-failed:
		return fmt.Errorf("%s: %w", args[0], err)
	case err := <-stopped:
		return err
	}
}

// parse reads a role's command line.
func parse(args []string) (starter, netip.AddrPort, options, error) {
	var addr netip.AddrPort
	var o options
	if len(args) == 0 || starters[args[0]] == nil {
		names := make([]string, 0, len(starters))
		for name := range starters {
			names = append(names, name)
		}
		sort.Strings(names)
		return nil, addr, o, fmt.Errorf("load %q: want one of %s", args, strings.Join(names, ", "))
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	flags.IntVar(&o.streams, "streams", 1, "TCP connections of tcp-send")
	flags.BoolVar(&o.noDelay, "nodelay", false, "TCP_NODELAY for tcp-send")
	flags.IntVar(&o.size, "size", 64, "payload bytes of a datagram")
	flags.DurationVar(&o.every, "every", 0, "time between the requests of tcp-ping, answered or not; 0: one after the other")
	if err := flags.Parse(args[1:]); err != nil {
		return nil, addr, o, err
	}
	addr, err := netip.ParseAddrPort(flags.Arg(0))
	if err != nil {
		return nil, addr, o, fmt.Errorf("load %s: address %q: %w", args[0], flags.Arg(0), err)
	}
	return starters[args[0]], addr, o, nil
}

// converse answers commands until "stop" or the end of in.
func converse(r role, in io.Reader, out io.Writer) error {
	if _, err := fmt.Fprintln(out, lineReady); err != nil {
		return err
	}
	encoder := json.NewEncoder(out)
	commands := bufio.NewScanner(in)
	for commands.Scan() {
		switch commands.Text() {
		case lineMark:
			if err := encoder.Encode(r.snapshot()); err != nil {
				return err
			}
		case lineStop:
			return nil
		default:
			return fmt.Errorf("command %q: want %s or %s", commands.Text(), lineMark, lineStop)
		}
	}
	return commands.Err()
}
