package probe

import "testing"

// What a foreign packet for our tunnel address costs: an echo of somebody's
// ping, and a datagram of the length of a probe.
func BenchmarkForeign(b *testing.B) {
	n := New(Options{SendOuter: func(string, []byte) error { return nil }})
	ping := make([]byte, 84)
	putIP(ping, b4, a4, protoICMP, 64)
	ping[20] = 8
	noise := make([]byte, underlaySize)
	b.Run("inner", func(b *testing.B) {
		for b.Loop() {
			if n.Input(ping, usAt, "b") {
				b.Fatal("taken")
			}
		}
	})
	b.Run("outer", func(b *testing.B) {
		for b.Loop() {
			if n.InputOuter(noise, usAt, "b") {
				b.Fatal("taken")
			}
		}
	})
}

// What an echo of full size costs to make.
func BenchmarkEcho(b *testing.B) {
	e := Echo{Src: a4, Dst: b4, Size: 1450, Token: 1}
	buf := make([]byte, 0, 1450)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Append(buf); err != nil {
			b.Fatal(err)
		}
	}
}
