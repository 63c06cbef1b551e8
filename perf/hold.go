package main

import (
	"context"
	"errors"
	"fmt"
)

// hold lays a lab for every plane and wire, says what it is called, and waits
// for the end of ctx: for looking around with ip netns exec.
func hold(ctx context.Context, o *options) (err error) {
	for _, wire := range o.wires {
		for _, spec := range o.planes {
			b, err := newBench(ctx, spec, wire)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, b.close()) }()
			fmt.Fprintf(o.logging, "%s over %s, MTU %d:\n", spec.Name, wire, b.plane.MTU())
			for _, h := range b.lab.Hosts {
				fmt.Fprintf(o.logging, "\thost %s %v\tpod %s %v\n", h.Name(), h.Addr, h.Pod.Name(), h.PodAddr())
			}
		}
	}
	<-ctx.Done()
	return nil
}
