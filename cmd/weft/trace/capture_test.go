package trace

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"weft/cmd/weft/trace/pcapng/pcapngtest"
	"weft/encap"
	engine "weft/engine/trace"
)

// captured runs `weft trace -w -` on a stream and reads what it wrote.
func captured(t *testing.T, b []byte, args ...string) pcapngtest.File {
	t.Helper()
	out, errOut, err := run(stub(b).traceCommand(), append(args, "-w", "-")...)
	if err != nil || !strings.HasSuffix(errOut, " lost\n") {
		t.Fatalf("%v; stderr %q", err, errOut)
	}
	f, err := pcapngtest.Read([]byte(out))
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// Each packet is at the places where it was, in its order there, and nowhere
// else, with the same id.
func TestPlaces(t *testing.T) {
	f := captured(t, stream(allRecords()...))
	got := map[uint64]string{}
	for _, p := range f.Packets {
		id := pcapngtest.U64(p.Options, 5)
		got[id] = strings.TrimSpace(got[id] + " " + strings.ReplaceAll(f.Interfaces[p.Interface].Name(), " ", ""))
	}
	want := []string{
		"flannel0(inner) vxlan:8472(outer)",
		"vxlan:8472(outer) flannel0(inner)",
		"flannel0(inner) vxlan:8472(outer)",
		"flannel0(inner) vxlan:8472(outer)",
		"flannel0(inner) drops",           // too big
		"udp:8285(outer) drops",           // unknown source
		"udp:8285(outer) drops",           // spoofed
		"flannel0(inner)",                 // sealed
		"wireguard:51820(outer) drops",    // never opened
		"vxlan:8472(outer) drops",         // ARP
		"flannel0(inner) drops",           // no route
		"udp:8285(outer) flannel0(inner)", // reported, delivered
		"flannel0(inner) udp:8285(outer)", // fragmented
	}
	for i, r := range allRecords() {
		if got[r.ID] != want[i] {
			t.Errorf("packet %d (%s): at %q, want %q", i, shown[judge(&r)], got[r.ID], want[i])
		}
	}
	for _, i := range f.Interfaces {
		if i.LinkType != 101 || len(pcapngtest.Text(i.Options, 3)) != 1 || pcapngtest.Text(i.Options, 9)[0] != "\x09" {
			t.Errorf("interface %+v", i)
		}
	}
}

func TestCaptureOptions(t *testing.T) {
	f := captured(t, stream(allRecords()...))
	var lost, received uint64
	byID := map[uint64]engine.Record{}
	for _, r := range allRecords() {
		byID[r.ID] = r
	}
	for _, p := range f.Packets {
		r := byID[pcapngtest.U64(p.Options, 5)]
		lost += pcapngtest.U64(p.Options, 4)
		if want := map[engine.Dir]uint64{engine.In: 1, engine.Out: 2}[r.Dir]; pcapngtest.U64(p.Options, 2) != want {
			t.Errorf("#%x: flags %d, want %d", r.ID, pcapngtest.U64(p.Options, 2), want)
		}
		if v := pcapngtest.Text(p.Options, 7); len(v) != 1 || v[0] != string([]byte{0, byte(r.Drop)}) {
			t.Errorf("#%x: verdict %q", r.ID, v)
		}
		comments := strings.Join(pcapngtest.Text(p.Options, 1), "\n")
		for _, want := range wantComments(&r) {
			if !strings.Contains(comments, want) {
				t.Errorf("#%x: no %q in %q", r.ID, want, comments)
			}
		}
		if p.Time != r.Time && p.Time != r.Time+int64(r.Took) {
			t.Errorf("#%x: time %d", r.ID, p.Time)
		}
	}
	for _, s := range f.Stats {
		received += pcapngtest.U64(s.Options, 4)
	}
	if lost != 12 || len(f.Stats) != len(f.Interfaces) || received != uint64(len(f.Packets)) || pcapngtest.U64(f.Stats[0].Options, 5) != 12 {
		t.Errorf("%d lost; statistics %+v", lost, f.Stats)
	}
	// What was lost is told once, at the packet behind the gap.
	for _, p := range f.Packets {
		if n := pcapngtest.U64(p.Options, 4); n != 0 && pcapngtest.U64(p.Options, 5) != allRecords()[3].ID {
			t.Errorf("%d lost at packet #%x", n, pcapngtest.U64(p.Options, 5))
		}
	}
}

func wantComments(r *engine.Record) []string {
	want := []string{"peer=" + r.Remote.String()}
	if r.Drop != encap.Delivered {
		_, hint := engine.Hint(r.Drop)
		want = append(want, r.Drop.String(), hint)
	}
	if r.Packets > 1 {
		want = append(want, "superpacket: stands for 41 packets, len 58472 = 52 + 40 × 1448 + 500")
	}
	if r.Remote == n3 {
		want = append(want, "lease=10.244.3.0/24")
	}
	return want
}

// The lengths are those of the whole packets, though only headers were captured.
func TestCaptureLengths(t *testing.T) {
	bulk := allRecords()[2]
	f := captured(t, stream(bulk))
	if len(f.Packets) != 2 {
		t.Fatalf("%d packets", len(f.Packets))
	}
	in, out := f.Packets[0], f.Packets[1]
	if in.Len != bulk.Len || len(in.Data) != 128 || out.Len != 28+22+bulk.Len || len(out.Data) != 28+22+128 {
		t.Errorf("inner %d of %d, outer %d of %d", len(in.Data), in.Len, len(out.Data), out.Len)
	}
}

func TestCaptureFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "x.pcapng")
	out, errOut, err := run(stub(stream(droppedRecords()...)).dropsCommand(), "-w", name)
	if err != nil || out != "" || errOut != "" {
		t.Fatalf("%q, %q, %v", out, errOut, err)
	}
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := pcapngtest.Read(b); err != nil || len(f.Packets) == 0 {
		t.Errorf("%d packets, %v", len(f.Packets), err)
	}
	if st, err := os.Stat(name); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("a file with what pods say has mode %v, %v", st.Mode(), err)
	}
}

// randomRecord makes a record of fields that need not agree.
func randomRecord(rnd *rand.Rand, snap []byte) engine.Record {
	addr := func() netip.AddrPort {
		var a netip.Addr
		switch rnd.IntN(3) {
		case 0:
			a = netip.AddrFrom4([4]byte{192, 0, 2, byte(rnd.Uint32())})
		case 1:
			var b [16]byte
			binary.BigEndian.PutUint64(b[8:], rnd.Uint64())
			a = netip.AddrFrom16(b)
		}
		return netip.AddrPortFrom(a, uint16(rnd.Uint32()))
	}
	return engine.Record{ID: rnd.Uint64(), Time: int64(rnd.Uint64()), Took: rnd.Uint32(), Way: engine.Way(rnd.Uint32()), Dir: engine.Dir(rnd.IntN(2)),
		Kind: engine.Kind(rnd.IntN(6)), Drop: encap.Drop(rnd.IntN(int(encap.NumDrops) + 3)), ECN: uint8(rnd.Uint32()), Packets: rnd.Uint32(),
		Len: rnd.Uint32N(1 << 17), VNI: rnd.Uint32(), Size: uint16(rnd.Uint32()), Limit: uint16(rnd.Uint32()), Run: uint16(rnd.Uint32()),
		Joined: uint16(rnd.Uint32()), Local: addr(), Remote: addr(), Prefix: uint16(rnd.IntN(len(snap) + 30)), Snap: snap}
}

// FuzzSinks: whatever a record says, each sink can tell of it, no control byte
// of a packet gets to the terminal, JSON is JSON, and the capture can be read.
func FuzzSinks(f *testing.F) {
	for i, r := range allRecords() {
		f.Add(uint64(i), r.Snap)
	}
	f.Add(uint64(99), []byte{})
	f.Fuzz(func(t *testing.T, seed uint64, snap []byte) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		b := stream(randomRecord(rnd, snap), randomRecord(rnd, snap))
		zone := clock{zone: time.UTC}
		for name, sinkOn := range map[string]func(io.Writer) sink{
			"lines":   func(w io.Writer) sink { return &lines{w: w, clock: zone} },
			"stanzas": func(w io.Writer) sink { return &lines{w: w, clock: zone, verbose: true} },
			"table":   func(w io.Writer) sink { return &table{w: w, lines: lines{clock: zone}} },
			"objects": func(w io.Writer) sink { return newObjects(w) },
			"paths":   func(w io.Writer) sink { return newPaths(w, false, seed%2 == 0) },
			"capture": func(w io.Writer) sink { c, err := newCapture(w, seed%2 == 0); must(err); return c },
		} {
			var out bytes.Buffer
			if _, err := pump(t.Context(), play(b), sinkOn(&out)); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			checkSink(t, name, out.Bytes())
		}
	})
}

func checkSink(t *testing.T, name string, out []byte) {
	t.Helper()
	if name == "capture" {
		if f, err := pcapngtest.Read(out); err != nil {
			t.Fatalf("%v in %+v", err, f)
		}
		return
	}
	if i := bytes.IndexFunc(out, func(r rune) bool { return r < ' ' && r != '\n' || r == 0xfffd || r == 0x7f }); i >= 0 {
		t.Fatalf("%s: %q", name, out[i:])
	}
	for line := range bytes.Lines(out) {
		if name == "objects" && !json.Valid(line) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

// tshark reads a capture with no more than what is given, and returns the chosen
// fields of each packet.
func tshark(t *testing.T, file string, args ...string) [][]string {
	t.Helper()
	path, err := exec.LookPath("tshark")
	if err != nil {
		t.Skip("tshark is not installed")
	}
	cmd := exec.Command(path, append([]string{"-n", "-r", file, "-T", "fields", "-E", "separator=|"}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
	var errOut bytes.Buffer
	cmd.Stderr = &errOut
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, errOut.String())
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimSuffix(line, "\n"), "|"))
	}
	return rows
}

// writeCapture writes what -w does to a file.
func writeCapture(t *testing.T, b []byte, args ...string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "capture.pcapng")
	if _, _, err := run(stub(b).traceCommand(), append(args, "-w", name)...); err != nil {
		t.Fatal(err)
	}
	return name
}

// Wireshark's own reader sees interfaces, directions, ids, verdicts and losses,
// and decodes VXLAN at flannel's port without being told to.
func TestTsharkReadsCaptures(t *testing.T) {
	rows := tshark(t, writeCapture(t, stream(allRecords()[:5]...)), "-e", "frame.interface_name", "-e", "frame.packet_flags_direction", "-e", "frame.packet_id",
		"-e", "frame.drop_count", "-e", "frame.verdict.hw", "-e", "ip.dst", "-e", "ipv6.dst", "-e", "udp.dstport", "-e", "vxlan.vni", "-e", "tcp.dstport", "-e", "frame.len", "-e", "ip.flags.df", "-e", "ip.dsfield.ecn")
	want := [][]string{
		{"flannel0 (inner)", "0x00000002", "16807", "", "00", "10.244.2.7", "", "", "", "80", "52", "1", "0"},
		{"vxlan:8472 (outer)", "0x00000002", "16807", "", "00", "192.0.2.12,10.244.2.7", "", "8472", "1", "80", "102", "1,1", "0,0"},
		{"vxlan:8472 (outer)", "0x00000001", "16808", "", "00", "192.0.2.11,10.244.1.5", "", "8472", "1", "41022", "110", "0,1", "3,0"},
		{"flannel0 (inner)", "0x00000001", "16808", "", "00", "10.244.1.5", "", "", "", "41022", "60", "1", "0"},
		{"flannel0 (inner)", "0x00000002", "16809", "", "00", "10.244.2.7", "", "", "", "80", "58472", "1", "0"},
		{"vxlan:8472 (outer)", "0x00000002", "16809", "", "00", "192.0.2.12,10.244.2.7", "", "8472", "1", "80", "58522", "1,1", "0,0"},
		{"flannel0 (inner)", "0x00000002", "16810", "12", "00", "", "fd00:4::7", "40001", "", "", "53", "", ""},
		{"vxlan:8472 (outer)", "0x00000002", "16810", "", "00", "", "2001:db8::14,fd00:4::7", "8472,40001", "1", "", "123", "", ""},
		{"flannel0 (inner)", "0x00000002", "16811", "", "0c", "10.244.2.7", "", "", "", "80", "1500", "1", "0"},
		{"drops", "0x00000002", "16811", "", "0c", "10.244.2.7", "", "", "", "80", "1500", "1", "0"},
	}
	if len(rows) != len(want) {
		t.Fatalf("%d packets, want %d: %q", len(rows), len(want), rows)
	}
	for i := range rows {
		if strings.Join(rows[i], "|") != strings.Join(want[i], "|") {
			t.Errorf("packet %d\n got %q\nwant %q", i, rows[i], want[i])
		}
	}
}

// The lengths and checksums of the headers that are made anew are right in
// tshark's eyes, and so is every packet.
func TestTsharkFindsNoFault(t *testing.T) {
	name := writeCapture(t, stream(allRecords()...))
	if bad := tshark(t, name, "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-Y",
		"ip.checksum.status == 0 || udp.checksum.status == 0 || _ws.malformed || udp.length.bad || ip.bogus_header_length", "-e", "frame.number", "-e", "frame.comment", "-e", "_ws.expert.message"); len(bad) != 0 {
		t.Errorf("tshark finds fault with %q", bad)
	}
	comments := tshark(t, name, "-Y", "frame.interface_name == \"drops\"", "-e", "frame.comment")
	if len(comments) != len(droppedRecords())-1 { // one was reported only
		t.Fatalf("%d dropped packets, want %d", len(comments), len(droppedRecords())-1)
	}
	if c := comments[2][0]; !strings.Contains(c, "DROP: inner_src_not_in_lease peer=192.0.2.13:8285 lease=10.244.3.0/24: 10.244.2.50 is of 10.244.2.0/24") {
		t.Errorf("comment %q", c)
	}
}

// With --true-ports the real source port is there, and tshark decodes VXLAN when
// it is told to.
func TestTsharkTruePorts(t *testing.T) {
	name := writeCapture(t, stream(allRecords()[1]), "--true-ports")
	rows := tshark(t, name, "-d", "udp.port==8472,vxlan", "-Y", "vxlan", "-e", "udp.srcport", "-e", "vxlan.vni", "-e", "tcp.srcport")
	if len(rows) != 1 || strings.Join(rows[0], " ") != "51884 1 80" {
		t.Errorf("%q", rows)
	}
}
