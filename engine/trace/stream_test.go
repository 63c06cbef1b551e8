package trace

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/netip"
	"reflect"
	"testing"
	"testing/iotest"
)

// stream returns one frame of each type, and one of a type to come.
func stream(t testing.TB) []byte {
	t.Helper()
	meta, err := json.Marshal(Meta{Schema: 1, Node: "n1", Device: "flannel0", Peers: []MetaPeer{
		{Public: netip.MustParseAddr("192.0.2.12"), Subnet: netip.MustParsePrefix("10.244.2.0/24"), Backend: "vxlan"}}})
	if err != nil {
		t.Fatal(err)
	}
	r := sample()
	b := AppendFrame(nil, FrameMeta, meta)
	b = AppendFrame(b, FrameRecord, r.Append(nil))
	b = AppendFrame(b, 'Z', []byte("of a newer daemon"))
	b = AppendFrame(b, FrameLost, []byte{0, 0, 0, 0, 0, 0, 1, 2})
	return AppendFrame(b, FrameEnd, []byte("count reached"))
}

func TestReader(t *testing.T) {
	for name, r := range map[string]io.Reader{"whole": bytes.NewReader(stream(t)), "bytewise": iotest.OneByteReader(bytes.NewReader(stream(t)))} {
		s := NewReader(r)
		next := func() Event {
			t.Helper()
			e, err := s.Next()
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			return e
		}
		if e := next(); e.Meta == nil || e.Meta.Device != "flannel0" || len(e.Meta.Peers) != 1 || e.Meta.Peers[0].Subnet.String() != "10.244.2.0/24" {
			t.Errorf("%s: meta %+v", name, e.Meta)
		}
		if e := next(); e.Record == nil || !reflect.DeepEqual(*e.Record, sample()) {
			t.Errorf("%s: record %+v", name, e.Record)
		}
		if e := next(); e.Lost != 258 {
			t.Errorf("%s: %+v, want 258 lost", name, e)
		}
		if e := next(); e.End != "count reached" {
			t.Errorf("%s: %+v, want the end", name, e)
		}
		if _, err := s.Next(); err != io.EOF {
			t.Errorf("%s: after the last frame: %v", name, err)
		}
	}
}

// A stream that is cut off says so, wherever that is; one that ends between two
// frames has ended.
func TestReaderCutOff(t *testing.T) {
	whole := stream(t)
	ends := map[int]bool{0: true}
	for at := 0; at < len(whole); {
		at += 4 + int(whole[at+3]) + int(whole[at+2])<<8
		ends[at] = true
	}
	for n := range whole {
		s := NewReader(bytes.NewReader(whole[:n]))
		var err error
		for err == nil {
			_, err = s.Next()
		}
		want := io.ErrUnexpectedEOF
		if ends[n] {
			want = io.EOF
		}
		if !errors.Is(err, want) {
			t.Fatalf("cut after %d bytes: %v, want %v", n, err, want)
		}
	}
}

func TestReaderRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"an empty frame":           {0, 0, 0, 0, 'R'},
		"a frame of 4 GB":          {0xff, 0xff, 0xff, 0xff, 'R'},
		"meta that is no JSON":     AppendFrame(nil, FrameMeta, []byte("{")),
		"a short record":           AppendFrame(nil, FrameRecord, make([]byte, fixed-1)),
		"a short count":            AppendFrame(nil, FrameLost, make([]byte, 7)),
		"a count of sixteen bytes": AppendFrame(nil, FrameLost, make([]byte, 16)),
	} {
		if e, err := NewReader(bytes.NewReader(b)).Next(); err == nil || err == io.EOF {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// FuzzReader: whatever comes, an event is one thing only, and the stream comes
// to an end.
func FuzzReader(f *testing.F) {
	f.Add(stream(f))
	f.Add([]byte{0, 0xff, 0xff, 0xff, 'R', 1, 2, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		s := NewReader(bytes.NewReader(b))
		for range len(b) + 1 {
			e, err := s.Next()
			if err != nil {
				return
			}
			if e.Record != nil && e.Meta != nil || e.Meta != nil && e.Lost != 0 {
				t.Fatalf("two things in one event: %+v", e)
			}
		}
		t.Fatalf("more events than the %d bytes can hold", len(b))
	})
}
