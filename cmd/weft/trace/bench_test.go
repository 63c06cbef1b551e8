package trace

import (
	"io"
	"net/netip"
	"testing"
	"time"

	engine "weft/engine/trace"
)

// BenchmarkSinks is what a record costs its reader, by the kind of output. The
// node has nothing of it, but the two may share processors.
func BenchmarkSinks(b *testing.B) {
	r := engine.Record{ID: 1, Time: time.Now().UnixNano(), Took: 1000, Dir: engine.In, Kind: engine.VXLAN, Packets: 1, Len: 1450, VNI: 1, Run: 40, Joined: 40,
		Way:   engine.Received | engine.Known | engine.Opened | engine.Parsed | engine.Checked | engine.Joined | engine.Written,
		Local: netip.MustParseAddrPort("192.0.2.1:8472"), Remote: netip.MustParseAddrPort("192.0.2.2:40001"), Prefix: 22}
	r.Snap = append(make([]byte, 22), tcp4("10.244.1.2", "10.244.2.2", 40000, 5001, false, true, 1398)[:128]...)
	for name, sink := range map[string]func() (sink, error){
		"pcapng": func() (sink, error) { return newCapture(io.Discard, false) },
	} {
		b.Run(name, func(b *testing.B) {
			s, err := sink()
			if err != nil {
				b.Fatal(err)
			}
			if err := s.meta(&engine.Meta{Schema: 1, Node: "n1", Device: "flannel0", Snaplen: 128}); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := s.record(&r); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
