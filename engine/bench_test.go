package engine

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"weft/engine/trace"
	"weft/lease"
)

// BenchmarkUp and BenchmarkDown are the engine alone, between ends that do
// nothing: the lowest rung of the ladder.

func BenchmarkUp(b *testing.B)   { benchmarkLoads(b, (*mill).goUp, 0) }
func BenchmarkDown(b *testing.B) { benchmarkLoads(b, (*mill).goDown, 1) }

func benchmarkLoads(b *testing.B, turn func(*mill), direction int) {
	for _, name := range []string{"super", "64 small", "64 small of 8 peers"} {
		load := loads()[name]
		b.Run(name, func(b *testing.B) {
			m := newMill(load[0], load[1])
			total := 0
			for _, pk := range load[direction] {
				total += len(pk.Data)
			}
			b.SetBytes(int64(total))
			b.ReportAllocs()
			for b.Loop() {
				turn(m)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(packetsOf(load[direction])), "ns/pkt")
		})
	}
}

// BenchmarkLookup compares the table with what it could be replaced by: a map
// from the subnet's number, or an array of all subnets. Both know only subnets
// of one length; the array needs 256 KiB for a /16 network of /30 subnets.
func BenchmarkLookup(b *testing.B) {
	for _, n := range []int{10, 1000} {
		leases := thousand(n)
		tab := udpBuilder(lease.Lease{}, &nullPort{}, &nullPort{}).build(slices.Values(leases), nil)
		byNumber, array := map[uint32]*peer{}, make([]*peer, 1<<16)
		var addrs, addrs6 []netip.Addr
		for i := range 256 { // pods all over the cluster
			l := leases[i*7919%n]
			a := l.Subnet.Addr().As4()
			a[3] = byte(i)
			addrs, addrs6 = append(addrs, netip.AddrFrom4(a)), append(addrs6, l.Subnet6.Addr().Next())
			byNumber[number(addrs[i])], array[number(addrs[i])] = tab.lookup(addrs[i]), tab.lookup(addrs[i])
		}
		for _, way := range []struct {
			name   string
			addrs  []netip.Addr
			lookup func(netip.Addr) *peer
		}{
			{"table", addrs, tab.lookup},
			{"table6", addrs6, tab.lookup},
			{"map", addrs, func(a netip.Addr) *peer { return byNumber[number(a)] }},
			{"array", addrs, func(a netip.Addr) *peer { return array[number(a)] }},
		} {
			b.Run(fmt.Sprintf("%s/%d", way.name, n), func(b *testing.B) {
				i := 0
				for b.Loop() {
					if way.lookup(way.addrs[i&255]) == nil {
						b.Fatal("not found")
					}
					i++
				}
			})
		}
	}
}

// number is the subnet's number in 10.0.0.0/8 cut into /24.
func number(a netip.Addr) uint32 {
	x := a.As4()
	return uint32(x[1])<<8 | uint32(x[2])
}

// BenchmarkTraced is what a trace adds to it: one that matches nothing, and one of
// every packet whose reader takes what there is.
func BenchmarkTraced(b *testing.B) {
	for _, filter := range []string{"off", "host 192.0.2.99 and tcp port 1", "peer 192.0.2.99", ""} {
		for _, name := range []string{"super", "64 small"} {
			load := loads()[name]
			for direction, turn := range map[string]func(*mill){"up": (*mill).goUp, "down": (*mill).goDown} {
				b.Run(fmt.Sprintf("%s, %s/filter=%s", direction, name, filter), func(b *testing.B) {
					m := newMill(load[0], load[1])
					over, cancel := context.WithCancel(b.Context())
					cancel()
					var s *trace.Session
					if filter != "off" {
						var err error
						s, err = m.hub.Open(trace.Options{Filter: filter})
						must(b, err)
						defer s.Close()
					}
					var frames []byte
					b.ReportAllocs()
					for b.Loop() {
						turn(m)
						if s != nil && filter == "" {
							frames, _, _ = s.Next(over, frames)
						}
					}
				})
			}
		}
	}
}
