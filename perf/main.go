// Perf measures how fast pods on two hosts reach each other, over weft and
// over what weft is compared with, on one machine and with nothing installed.
//
// It lays two hosts with pods in network namespaces (package lab), connects
// them by one data plane after the other (package plane), makes traffic
// between the pods (package load), reads the kernel's counters around it
// (package meter), and writes tables and plots (package report).
//
//	for each round
//	  for each wire
//	    lay one lab per plane, all idle
//	    for each load                      A B C D  A B C D  A B C D …
//	      for each plane: warm up, measure  ╰tcp 1╯  ╰tcp 4╯  ╰ rr ╯
//	    remove the labs
//
// Planes alternate from cell to cell, because a virtual machine's speed
// changes from minute to minute; see package report for what is made of it.
// With -suite trace it measures what tracing costs instead: other planes, and the
// engine's micro-benchmarks.
//
// README.md tells how to run it and how to read what it writes.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"weft/perf/lab"
	"weft/perf/load"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := dispatch(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "perf:", err)
		os.Exit(1)
	}
}

// dispatch runs the benchmark, or one of the parts by which it calls itself.
func dispatch(ctx context.Context, args []string) error {
	if len(args) > 0 {
		switch args[0] {
		case lab.EnterCommand:
			return lab.Enter(args[1:])
		case load.Command:
			return load.Main(args[1:], os.Stdin, os.Stdout)
		}
	}
	o, err := parseOptions(args, os.Stderr)
	if err != nil {
		return err
	}
	if os.Geteuid() != 0 {
		return errors.New("laying network namespaces needs root")
	}
	if o.hold {
		return hold(ctx, o)
	}
	return run(ctx, o)
}
