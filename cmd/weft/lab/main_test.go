package lab

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/vishvananda/netlink"

	"weft/lease"
)

// The test binary is the lab's program as well: `lab …` is the real command,
// and `up …` a stand-in for the node, so that the lab is tested apart from
// what it is for.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "lab":
			os.Exit(runCommand(os.Args[2:]))
		case "up":
			if err := standIn(os.Args[2:]); err != nil {
				fmt.Fprintln(os.Stderr, "stand-in:", err)
				os.Exit(1)
			}
			return
		}
	}
	// The race detector lets each process sleep for a second at its end, and
	// there are many here.
	if _, set := os.LookupEnv("GORACE"); !set {
		os.Setenv("GORACE", "atexit_sleep_ms=0")
	}
	os.Exit(m.Run())
}

func runCommand(args []string) int {
	cmd := Command()
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(args)
	err := cmd.Execute()
	if err == nil {
		return 0
	}
	if err.Error() != "" {
		fmt.Fprintln(os.Stderr, "weft:", err)
	}
	var exit *ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	return 2
}

// standIn does what the lab expects of a node, with kernel routes in the place
// of a data plane: it takes the subnet it was seeded with, and reaches subnet
// number i of the same network through node number i.
func standIn(args []string) error {
	var file string
	for _, a := range args {
		if v, ok := strings.CutPrefix(a, "--subnet-file="); ok {
			file = v
		}
	}
	e, err := lease.ReadEnv(file)
	if err != nil {
		return err
	}
	if os.Getenv("STANDIN_FAILS") == os.Getenv("WEFT_NODE") {
		return errors.New("told to fail")
	}
	e.MTU = 1472
	if err := standInRoutes(e); err != nil {
		return err
	}
	if err := lease.WriteEnv(file, e); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM)
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		return err
	}
	<-stop
	return nil
}

func standInRoutes(e lease.Env) error {
	self, err := strconv.Atoi(strings.TrimPrefix(os.Getenv("WEFT_NODE"), "n"))
	if err != nil {
		return err
	}
	for i := 1; i <= 9; i++ {
		if i == self {
			continue
		}
		if err := standInRoute(e.Subnet, i, 2, host(underlay4, i)); err != nil {
			return err
		}
		if err := standInRoute(e.IPv6Subnet, i, 7, host(underlay6, i)); err != nil {
			return err
		}
	}
	return nil
}

// standInRoute routes the subnet like own but with i in the given byte.
func standInRoute(own netip.Prefix, i, at int, via netip.Addr) error {
	if !own.IsValid() {
		return nil
	}
	b := own.Addr().AsSlice()
	b[at] = byte(i)
	return netlink.RouteReplace(&netlink.Route{
		Dst: &net.IPNet{IP: b, Mask: net.CIDRMask(own.Bits(), len(b)*8)},
		Gw:  via.AsSlice(),
	})
}
