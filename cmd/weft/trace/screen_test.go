package trace

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"weft/encap"
	engine "weft/engine/trace"
)

var update = flag.Bool("update", false, "write the golden files anew")

// run runs one of the commands on a recorded stream.
func run(cmd *cobra.Command, args ...string) (out, errOut string, err error) {
	var o, e bytes.Buffer
	cmd.SetArgs(append([]string{}, args...)) // nil would mean the test's own
	cmd.SetOut(&o)
	cmd.SetErr(&e)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.ExecuteContext(context.Background())
	return o.String(), e.String(), err
}

// golden holds a screen against its file.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s is not as it was; see what changed and run go test -update\n--- got\n%s--- want\n%s", name, got, want)
	}
}

// droppedRecords are the records that a flight recorder would hold.
func droppedRecords() (list []engine.Record) {
	for _, r := range allRecords() {
		if r.Drop != encap.Delivered {
			list = append(list, r)
		}
	}
	return list
}

func TestScreens(t *testing.T) {
	trace := func() *cobra.Command { return stub(stream(allRecords()...)).traceCommand() }
	drops := func() *cobra.Command { return stub(stream(droppedRecords()...)).dropsCommand() }
	for _, c := range []struct {
		file string
		cmd  *cobra.Command
		args string
		end  string // the last line on stderr
	}{
		{"lines.golden", trace(), "", "13 shown, 12 lost\n"},
		{"relative.golden", trace(), "--relative", "13 shown, 12 lost\n"},
		{"delta.golden", trace(), "--delta", "13 shown, 12 lost\n"},
		{"verbose.golden", trace(), "-v", "13 shown, 12 lost\n"},
		{"json.golden", trace(), "--json", "13 shown, 12 lost\n"},
		{"paths.golden", trace(), "paths", "13 shown, 12 lost\n"},
		{"paths.golden", trace(), "--paths", "13 shown, 12 lost\n"},
		{"paths_json.golden", trace(), "paths --json", "13 shown, 12 lost\n"},
		{"drops.golden", drops(), "", ""},
		{"drops_group.golden", drops(), "--group", ""},
		{"drops_reason.golden", drops(), "--reason inner_src_not_in_lease,no_route -n 2", ""},
		{"drops_json.golden", drops(), "--json -n 1", ""},
	} {
		out, errOut, err := run(c.cmd, strings.Fields(c.args)...)
		if err != nil || errOut != c.end {
			t.Errorf("%s: stderr %q, want %q; %v", c.file, errOut, c.end, err)
		}
		golden(t, c.file, out)
	}
}

func TestNoDrops(t *testing.T) {
	if out, _, err := run(stub(stream()).dropsCommand()); err != nil || out != "no dropped packets are kept\n" {
		t.Errorf("%q, %v", out, err)
	}
}

// Each line of --json is one object that this package's own types read back
// whole, with nothing in it that they do not know, and says what the record says.
func TestJSONSchema(t *testing.T) {
	out, _, err := run(stub(stream(allRecords()...)).traceCommand(), "--json")
	if err != nil {
		t.Fatal(err)
	}
	records := allRecords()
	var packets []Packet
	var lost uint64
	for line := range strings.Lines(out) {
		var head struct {
			Schema int
			Type   string
		}
		if err := json.Unmarshal([]byte(line), &head); err != nil || head.Schema != Schema {
			t.Fatalf("%s: %+v, %v", line, head, err)
		}
		if head.Type == "lost" {
			var l Lost
			strict(t, line, &l)
			lost += l.Lost
			continue
		}
		var p Packet
		strict(t, line, &p)
		packets = append(packets, p)
	}
	if len(packets) != len(records) || lost != 12 {
		t.Fatalf("%d packets, %d lost", len(packets), lost)
	}
	for i, p := range packets {
		r := records[i]
		if p.ID != r.ID || p.Len != r.Len || p.Remote != r.Remote || p.Packets != r.Packets || (p.Drop != nil) != (r.Drop != encap.Delivered) ||
			(p.VNI != nil) != (r.Kind == engine.VXLAN) {
			t.Errorf("%+v\nis not %+v", p, r)
		}
		if p.Drop != nil && (p.Drop.Number != int(r.Drop) || p.Drop.Reason != r.Drop.String() || p.Drop.Meaning == "" || p.Drop.Hint == "" || p.Drop.Detail == "") {
			t.Errorf("drop %+v of %v", p.Drop, r.Drop)
		}
		if n := strings.Index(p.Time, "."); n < 0 || len(p.Time[n:]) != len(".123456789Z") {
			t.Errorf("the time %s has no nanoseconds", p.Time)
		}
	}
	syn := packets[0].Inner
	if syn == nil || *syn.SrcPort != 41022 || *syn.DstPort != 80 || syn.Flags != "S" || *syn.Seq != 1000 || syn.TTL != 63 || !syn.DF || syn.Src.String() != "10.244.1.5" {
		t.Errorf("inner packet %+v", syn)
	}
}

func strict(t *testing.T, line string, into any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(line))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	again, err := json.Marshal(into)
	if err != nil {
		t.Fatal(err)
	}
	var a, b any
	must(json.Unmarshal([]byte(line), &a))
	must(json.Unmarshal(again, &b))
	x, _ := json.Marshal(a)
	y, _ := json.Marshal(b)
	if !bytes.Equal(x, y) {
		t.Errorf("read back as\n%s, was\n%s", y, x)
	}
}
