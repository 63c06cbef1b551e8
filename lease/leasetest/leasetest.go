// Package leasetest holds the tests that every lease store must pass. A store
// brings a [World], the store with ways to reach into it from outside, and
// calls [TestStore].
package leasetest

import (
	"context"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"go.uber.org/goleak"

	"weft/lease"
)

// Store is what a lease store offers.
type Store interface {
	lease.Registrar
	lease.Source
	Own(ctx context.Context, a lease.Attrs) (lease.Lease, bool, error)
	Status() lease.StoreStatus
	Close() error
}

// A World is one store that several nodes share, seen from outside. The keys
// are those of [lease.Key].
type World struct {
	// Open gives a node of that name its access to the store.
	Open func(t testing.TB, node string) Store
	// SetConfig makes text the network configuration.
	SetConfig func(t testing.TB, text string)
	// Put writes a value under a key as an administrator would, without any
	// expiry: if it is readable it is a reservation.
	Put func(t testing.TB, key, value string)
	// Delete removes a key.
	Delete func(t testing.TB, key string)
	// Get returns the value under a key, "" if there is none, and whether the
	// key is a reservation.
	Get func(t testing.TB, key string) (value string, reserved bool)
	// Keys lists all keys.
	Keys func(t testing.TB) []string
	// Cut makes the store unreachable for all nodes, though not for the
	// functions above, until the returned function is called. Changes made
	// meanwhile must be lost on those who watch.
	Cut func(t testing.TB) (restore func())
}

// Patience bounds every wait of the suite. It is no measure of speed: a test
// that runs into it hangs.
const Patience = 30 * time.Second

// TestStore runs the suite; mk makes a fresh world for each test.
func TestStore(t *testing.T, mk func(t *testing.T) World) {
	for _, tc := range []struct {
		name string
		run  func(*testing.T, World)
	}{
		{"ConfigWaits", testConfigWaits},
		{"AcquireAndRestart", testAcquireAndRestart},
		{"AcquirePrevious", testAcquirePrevious},
		{"AcquireOwnValue", testAcquireOwnValue},
		{"AcquireRace", testAcquireRace},
		{"AcquireRaceDualStack", testAcquireRaceDualStack},
		{"AcquireNoSubnet", testAcquireNoSubnet},
		{"AcquireOverlap", testAcquireOverlap},
		{"SwitchIPv6", testSwitchIPv6},
		{"IPv6Only", testIPv6Only},
		{"Reservation", testReservation},
		{"Watch", testWatch},
		{"WatchJunk", testWatchJunk},
		{"WatchGap", testWatchGap},
		{"WatchFlapping", testWatchFlapping},
		{"WatchThousands", testWatchThousands},
		{"WatchStops", testWatchStops},
		{"KeepRecreates", testKeepRecreates},
		{"KeepRepairs", testKeepRepairs},
		{"KeepTaken", testKeepTaken},
		{"KeepThroughOutage", testKeepThroughOutage},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, before) }) // runs last: nothing is left running
			tc.run(t, mk(t))
		})
	}
}

const conf4 = `{"Network":"10.5.0.0/16"}`
const conf46 = `{"Network":"10.5.0.0/16","EnableIPv6":true,"IPv6Network":"fd00:10:5::/48"}`

func config(t testing.TB, text string) *lease.Config {
	t.Helper()
	c, err := lease.ParseConfig([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// address is the node address of node number i.
func address(i int) netip.Addr {
	return netip.AddrFrom4([4]byte{192, 168, byte(50 + i/250), byte(1 + i%250)})
}

func value(ip string) string { return `{"PublicIP":"` + ip + `","PublicIPv6":null}` }

// claim is what node i asks for.
func claim(t testing.TB, conf string, i int, previous string) lease.Claim {
	c := lease.Claim{Config: config(t, conf), Attrs: lease.Attrs{PublicIP: address(i)}}
	if previous != "" {
		c.Previous = named(t, previous)
	}
	return c
}

// named is the lease of that key, without attributes.
func named(t testing.TB, key string) lease.Lease {
	t.Helper()
	v4, v6, err := lease.ParseKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return lease.Lease{Subnet: v4, Subnet6: v6}
}

func node(i int) string { return fmt.Sprintf("node%d", i) }

func acquire(t testing.TB, s Store, c lease.Claim) lease.Lease {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	l, err := s.Acquire(ctx, c)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return l
}
