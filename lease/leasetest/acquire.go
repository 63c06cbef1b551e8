package leasetest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"weft/lease"
)

// An invalid configuration is waited out, not died of.
func testConfigWaits(t *testing.T, w World) {
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	s := w.Open(t, node(1))
	short, stop := context.WithTimeout(ctx, 50*time.Millisecond)
	defer stop()
	if c, err := s.Config(short); c != nil || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no configuration: %v, %v", c, err)
	}
	w.SetConfig(t, `{"Network":"10.5.0.0/29"}`)
	got := make(chan *lease.Config, 1)
	go func() {
		defer close(got)
		if c, err := s.Config(ctx); err == nil {
			got <- c
		}
	}()
	w.SetConfig(t, conf4)
	if c := <-got; c == nil || c.Network.String() != "10.5.0.0/16" {
		t.Errorf("%+v", c)
	}
}

func testAcquireAndRestart(t *testing.T, w World) {
	c := claim(t, conf4, 1, "")
	first := acquire(t, w.Open(t, node(1)), c)
	if !c.Config.Network.Overlaps(first.Subnet) || first.Subnet.Bits() != 24 || first.Subnet6.IsValid() {
		t.Errorf("got %v", first)
	}
	if first.Expires.Before(time.Now()) {
		t.Errorf("it expires at %v", first.Expires)
	}
	if v, reserved := w.Get(t, first.Key()); !sameValue(v, value(address(1).String())) || reserved {
		t.Errorf("stored %s, reserved %v", v, reserved)
	}
	// The store knows the node again, whatever the previous subnet says.
	c.Previous = named(t, "10.5.77.0-24")
	if again := acquire(t, w.Open(t, node(1)), c); again.Key() != first.Key() {
		t.Errorf("after a restart %s, before %s", again.Key(), first.Key())
	}
	if keys := w.Keys(t); len(keys) != 1 {
		t.Errorf("keys %q", keys)
	}
}

// sameValue reports whether a stored value says what flannel would write; a
// store may add fields of its own.
func sameValue(got, want string) bool {
	var a, b lease.Attrs
	return json.Unmarshal([]byte(got), &a) == nil && json.Unmarshal([]byte(want), &b) == nil && a.Equal(b)
}

func testAcquirePrevious(t *testing.T, w World) {
	if l := acquire(t, w.Open(t, node(1)), claim(t, conf4, 1, "10.5.77.0-24")); l.Key() != "10.5.77.0-24" {
		t.Errorf("the free previous subnet was not taken: %s", l.Key())
	}
	if l := acquire(t, w.Open(t, node(2)), claim(t, conf4, 2, "10.5.77.0-24")); l.Key() == "10.5.77.0-24" {
		t.Error("the previous subnet was taken from another node")
	}
}

// What an earlier run published can be read before it is overwritten.
func testAcquireOwnValue(t *testing.T, w World) {
	s, c := w.Open(t, node(1)), claim(t, conf4, 1, "")
	if _, found, err := s.Own(t.Context(), c.Attrs); found || err != nil {
		t.Errorf("empty store: %v, %v", found, err)
	}
	c.Attrs.BackendType, c.Attrs.BackendData = "vxlan", json.RawMessage(`{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}`)
	l := acquire(t, s, c)
	own, found, err := s.Own(t.Context(), lease.Attrs{PublicIP: address(1)})
	if !found || err != nil || own.Key() != l.Key() || string(own.Attrs.BackendData) != string(c.Attrs.BackendData) {
		t.Errorf("%+v %v %v", own, found, err)
	}
}

// Nodes that start together, all with the same previous subnet, all get one.
func testAcquireRace(t *testing.T, w World) {
	race(t, w, conf4, "10.5.9.0-24")
}

// With two families, equal IPv4 subnets can hide under different keys.
func testAcquireRaceDualStack(t *testing.T, w World) {
	race(t, w, `{"Network":"10.5.0.0/24","SubnetLen":28,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"}`, "10.5.0.32-28")
}

func race(t *testing.T, w World, conf, previous string) {
	const nodes = 12
	ls := make([]lease.Lease, nodes)
	errs := make([]error, nodes)
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	var wg sync.WaitGroup
	for i := range nodes {
		s, c := w.Open(t, node(i)), claim(t, conf, i, previous)
		wg.Go(func() { ls[i], errs[i] = s.Acquire(ctx, c) })
	}
	wg.Wait()
	winners := 0
	for i, l := range ls {
		if errs[i] != nil {
			t.Errorf("node %d: %v", i, errs[i])
			continue
		}
		if l.Subnet == named(t, previous).Subnet {
			winners++
		}
		for j := range i {
			if l.Overlaps(ls[j]) {
				t.Errorf("nodes %d and %d got %s and %s", j, i, ls[j].Key(), l.Key())
			}
		}
	}
	if winners != 1 {
		t.Errorf("%d nodes got the previous subnet", winners)
	}
	if keys := w.Keys(t); len(keys) != nodes {
		t.Errorf("keys %q", keys)
	}
}

func testAcquireNoSubnet(t *testing.T, w World) {
	for conf, want := range map[string]string{
		`{"Network":"10.5.0.0/16","SubnetMin":"10.5.9.0","SubnetMax":"10.5.3.0"}`: "SubnetMin 10.5.9.0 is above SubnetMax",
	} {
		_, err := w.Open(t, node(1)).Acquire(t.Context(), claim(t, conf, 1, ""))
		if !errors.Is(err, lease.ErrNoSubnet) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", conf, err)
		}
	}
}

// Junk under a valid key is somebody's, and so is a larger or smaller subnet.
func testAcquireOverlap(t *testing.T, w World) {
	w.Put(t, "10.5.1.0-24", "junk")
	w.Put(t, "10.5.2.128-25", value("192.168.50.77"))
	w.Put(t, "10.5.4.0-22", value("192.168.50.78"))
	c := claim(t, `{"Network":"10.5.0.0/16","SubnetMax":"10.5.8.0"}`, 1, "10.5.5.0-24")
	if l := acquire(t, w.Open(t, node(1)), c); l.Key() != "10.5.3.0-24" && l.Key() != "10.5.8.0-24" {
		t.Errorf("got %s", l.Key())
	}
}

// Switching IPv6 on and off keeps the IPv4 subnet and leaves one key.
func testSwitchIPv6(t *testing.T, w World) {
	first := acquire(t, w.Open(t, node(1)), claim(t, conf4, 1, ""))
	for i, conf := range []string{conf46, conf4, conf46} {
		l := acquire(t, w.Open(t, node(1)), claim(t, conf, 1, ""))
		if l.Subnet != first.Subnet || l.Subnet6.IsValid() != (conf == conf46) {
			t.Errorf("step %d: %s, first %s", i, l.Key(), first.Key())
		}
		if keys := w.Keys(t); !slices.Equal(keys, []string{l.Key()}) {
			t.Errorf("step %d: keys %q", i, keys)
		}
	}
}

// Nodes without IPv4 are told apart by their IPv6 addresses.
func testIPv6Only(t *testing.T, w World) {
	const conf = `{"EnableIPv4":false,"EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"}`
	seen := map[string]bool{}
	for i := range 3 {
		c := claim(t, conf, i, "")
		c.Attrs = lease.Attrs{PublicIPv6: netip.MustParseAddr(fmt.Sprintf("fd00:50::%d", i+1))}
		l := acquire(t, w.Open(t, node(i)), c)
		again := acquire(t, w.Open(t, node(i)), c)
		if seen[l.Key()] || l.Key() != again.Key() || !strings.HasPrefix(l.Key(), "0.0.0.0-0&fd00:10:5:") {
			t.Errorf("node %d: %s, again %s", i, l.Key(), again.Key())
		}
		seen[l.Key()] = true
	}
}

// A reservation stays one across its owner's start, run and restart.
func testReservation(t *testing.T, w World) {
	w.Put(t, "10.5.7.0-24", value(address(1).String()))
	for range 2 {
		s := w.Open(t, node(1))
		c := claim(t, conf4, 1, "")
		c.Attrs.BackendType = "host-gw"
		l := acquire(t, s, c)
		if l.Key() != "10.5.7.0-24" || !l.Expires.IsZero() {
			t.Fatalf("got %s until %v", l.Key(), l.Expires)
		}
		k := StartKeep(t, s, l)
		// Keep is at work: it undoes what others do to the value.
		w.Put(t, l.Key(), value(address(1).String()))
		awaitStored(t, w, l.Key(), func(v string, _ bool) bool { return strings.Contains(v, "host-gw") })
		if err := k.Stop(); err != nil {
			t.Error(err)
		}
		if _, reserved := w.Get(t, l.Key()); !reserved {
			t.Error("the reservation became a lease")
		}
	}
}

// awaitStored waits until cond holds for what is stored under key.
func awaitStored(t testing.TB, w World, key string, cond func(value string, reserved bool) bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !cond(w.Get(t, key)) {
		if time.Now().After(deadline) {
			v, reserved := w.Get(t, key)
			t.Fatalf("waited in vain; %s holds %q, reserved %v", key, v, reserved)
		}
		time.Sleep(5 * time.Millisecond) // the store tells outsiders nothing; so ask
	}
}
