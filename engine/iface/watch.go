package iface

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"weft/engine/route/rtmon"
)

// A State is what of an Underlay can change.
type State struct {
	Present bool // there is an interface of its name
	Up      bool // and it is set up
	Index   int
	MTU     int   // bytes
	Addr    bool  // Underlay.Addr is an address of this host
	Addr6   bool  // likewise Underlay.Addr6
	Err     error // why the kernel could not be asked or heard; the rest is then as last known
}

// Holds reports whether s is what u was chosen for. If not, it is time for
// another Select, and to tell the peers.
func (s State) Holds(u Underlay) bool {
	return s.Present && s.Up && s.Index == u.Index && s.MTU == u.MTU &&
		(s.Addr || !u.Addr.IsValid()) && (s.Addr6 || !u.Addr6.IsValid())
}

// Watch delivers the state of u, first as it is now and then whenever it has
// changed, in the network namespace of the calling thread. A receiver that is
// slow gets the latest state only. The channel is closed when ctx ends, or
// when the kernel's events can no longer be had: the last state then says why
// in Err.
func Watch(ctx context.Context, u Underlay) (<-chan State, error) {
	k, err := openKernel()
	if err != nil {
		return nil, err
	}
	mon, err := rtmon.Open(rtmon.Links | rtmon.Addrs)
	if err != nil {
		k.close()
		return nil, err
	}
	ch := make(chan State, 1)
	go func() {
		defer close(ch)
		defer k.close()
		defer mon.Close()
		watch(ctx, k, mon, u, ch)
	}()
	return ch, nil
}

func watch(ctx context.Context, k *kernel, mon *rtmon.Monitor, u Underlay, ch chan State) {
	var last State
	for first := true; ; first = false {
		links, err := k.readLinks()
		now := last
		if now.Err = err; err == nil {
			now = stateOf(links, u)
		}
		if first || now != last {
			publish(ch, now)
		}
		last = now
		if err := await(ctx, mon, u, last.Index); err != nil {
			if ctx.Err() == nil {
				last.Err = fmt.Errorf("changes of %s can no longer be heard: %w", u.Name, err)
				publish(ch, last)
			}
			return
		}
	}
}

// publish sends s without waiting: it takes the place of a state that nobody
// has received. ch has room for one, and no other sender.
func publish(ch chan State, s State) {
	select {
	case <-ch:
	default:
	}
	ch <- s
}

// await waits for an event that may concern u. After an error there will be no
// more of them.
func await(ctx context.Context, mon *rtmon.Monitor, u Underlay, index int) error {
	for {
		events, err := mon.Next(ctx)
		if errors.Is(err, rtmon.ErrLost) {
			return nil
		}
		if err != nil {
			return err
		}
		if slices.ContainsFunc(events, func(ev rtmon.Event) bool { return concerns(ev, u, index) }) {
			return nil
		}
	}
}

// concerns reports whether ev may have changed the state of u, last seen with
// that index. An address counts on any interface: a public one may be on
// another than u's.
func concerns(ev rtmon.Event, u Underlay, index int) bool {
	return ev.Kind == rtmon.Addr || ev.Name == u.Name || ev.Index == index
}

// stateOf finds u in links.
func stateOf(links []link, u Underlay) State {
	s := snapshot{links: links}
	l, ok := s.byName(u.Name)
	_, has4 := s.owner(u.Addr)
	_, has6 := s.owner(u.Addr6)
	return State{Present: ok, Up: l.up, Index: l.index, MTU: l.mtu, Addr: has4, Addr6: has6}
}
