package doctor

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"io/fs"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"weft/encap"
	"weft/engine/control"
	"weft/engine/doctor"
	"weft/engine/trace"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with a file.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s: got\n%s\nwant\n%s", path, got, want)
	}
}

// A scripted daemon answers what a test says.
type scripted struct {
	report    control.Report
	reportErr error
	status    control.Status
	metrics   string
	records   []trace.Record
	meta      trace.Meta
}

func (s *scripted) Doctor(context.Context) (control.Report, error) { return s.report, s.reportErr }
func (s *scripted) Status(context.Context) (control.Status, error) { return s.status, nil }
func (s *scripted) Metrics(_ context.Context, w io.Writer) error {
	_, err := io.WriteString(w, s.metrics)
	return err
}

// Drops makes a real stream of the records.
func (s *scripted) Drops(context.Context) (events, error) {
	meta, err := json.Marshal(s.meta)
	b := trace.AppendFrame(nil, trace.FrameMeta, meta)
	for _, r := range s.records {
		b = trace.AppendFrame(b, trace.FrameRecord, r.Append(nil))
	}
	return stream{trace.NewReader(bytes.NewReader(b))}, err
}

type stream struct{ *trace.Reader }

func (stream) Close() error { return nil }

// A bare system has nothing that could be looked at.
type bare struct{}

func (bare) Read(path string) (string, error) {
	return "", &fs.PathError{Op: "open", Path: path, Err: fs.ErrNotExist}
}
func (bare) TUN() (doctor.TUN, error)                                    { return doctor.TUN{Vnet: true}, nil }
func (bare) Links() ([]doctor.Link, error)                               { return nil, nil }
func (bare) Routes() ([]doctor.Route, error)                             { return nil, nil }
func (bare) RouteTo(netip.Addr) (doctor.Route, error)                    { return doctor.Route{Link: "eth0"}, nil }
func (bare) Sockets() ([]doctor.Socket, error)                           { return nil, nil }
func (bare) Processes(string) ([]int, error)                             { return nil, nil }
func (bare) Chains(context.Context) ([]doctor.Chain, error)              { return nil, fs.ErrPermission }
func (bare) Claimed(context.Context, string, netip.Addr) (string, error) { return "", nil }

// call runs the command. Exit code -1 means that the error has none.
func call(t *testing.T, o outside, args ...string) (out, errOut []byte, code int, err error) {
	t.Helper()
	var b, e bytes.Buffer
	cmd := command(o)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	cmd.SetArgs(append([]string{}, args...)) // nil would mean the program's own
	cmd.SetOut(&b)
	cmd.SetErr(&e)
	err = cmd.ExecuteContext(t.Context())
	code = -1
	var coded interface{ ExitCode() int }
	switch {
	case err == nil:
		code = 0
	case errors.As(err, &coded):
		code = coded.ExitCode()
	}
	return b.Bytes(), e.Bytes(), code, err
}

func to(d daemon) outside {
	return outside{connect: func(string) (daemon, error) { return d, nil }, crowd: func() bool { return false }, system: bare{}}
}

// sick is a report with every verdict.
var sick = control.Report{Schema: control.Schema, Node: "n1", Checks: []control.Check{
	{ID: "tun", Verdict: control.Pass, Text: "/dev/net/tun opens, vnet_hdr, multi-queue"},
	{ID: "modules", Verdict: control.Info, Text: "vxlan: absent or not loaded, wireguard: absent or not loaded; weft needs neither"},
	{ID: "udp-rcvbuf", Verdict: control.Warn, Text: "net.core.rmem_max 212992, 7340032 wanted; 2 datagrams found the receive buffer full",
		Cause: "bursts are longer than the buffer, and without NET_ADMIN on the host the limit holds for this node", Fix: "sysctl -w net.core.rmem_max=7340032"},
	{ID: "dup-public-ip", Verdict: control.Fail, Text: "10.0.2.15 is named by 2 leases: n7 10.244.7.0/24, n8 10.244.8.0/24",
		Cause: "two nodes have the same address", Fix: "start all but one of the nodes with another --iface"},
	{ID: "clock-skew", Verdict: control.Skip, Text: "not checked", Cause: "the store does not tell its time"},
	{ID: "new-check", Verdict: "odd\x1b[31m", Text: "of a newer daemon\x07\u202e"},
	{ID: "peer", Peer: "n4", Verdict: control.Fail, Text: "down  via vxlan  echo ✗  large ✗  underlay ✓  random ✓  vxlan-shaped ✗  pmtu –"},
	{ID: "peer-vxlan", Peer: "n4", Verdict: control.Fail, Text: "other datagrams arrive, those that look like VXLAN do not",
		Cause: "a device on the path takes VXLAN for its own", Fix: "choose another Backend.Port in net-conf.json"},
	{ID: "peer", Peer: "n5", Verdict: control.Pass, Text: "ok  via udp  rtt 0.6 ms  echo ✓  large ✓  underlay ✓  pmtu 1500"},
	{ID: "peer-mtu", Peer: "n5", Verdict: control.Info, Text: "packets to it may have 1350 bytes"},
}}

func TestScreens(t *testing.T) {
	for name, args := range map[string][]string{"sick.txt": nil, "quiet.txt": {"--quiet"}, "sick.json": {"--json"}} {
		out, errOut, code, err := call(t, to(&scripted{report: sick}), args...)
		if code != 1 || err.Error() != "" || len(errOut) != 0 {
			t.Errorf("%s: code %d, error %q, %q; want code 1 and nothing else said", name, code, err, errOut)
		}
		golden(t, name, out)
	}
}

// Warnings break no scripts.
func TestExitCode(t *testing.T) {
	for verdict, want := range map[control.Verdict]int{control.Pass: 0, control.Info: 0, control.Skip: 0, control.Warn: 0, control.Fail: 1} {
		_, _, code, _ := call(t, to(&scripted{report: control.Report{Checks: []control.Check{{ID: "x", Verdict: verdict, Text: "x"}}}}))
		if code != want {
			t.Errorf("%s: exit code %d, want %d", verdict, code, want)
		}
	}
	if _, _, code, _ := call(t, to(&scripted{}), "surplus"); code != -1 {
		t.Errorf("a wrong command line: code %d, want an error without one", code)
	}
}

// Without a daemon the host is checked here, and that is said.
func TestLocal(t *testing.T) {
	o := to(nil)
	o.connect = func(string) (daemon, error) { return nil, errors.New("no socket") }
	out, errOut, code, err := call(t, o)
	if code != 1 || err.Error() != "" {
		t.Errorf("code %d, %v; want code 1, as nothing carries packets here", code, err)
	}
	if !strings.Contains(string(errOut), "no daemon answers, so only this host is checked (no socket)") {
		t.Errorf("said %q", errOut)
	}
	golden(t, "local.txt", out)

	named := func(how string, args ...string) {
		t.Helper()
		if out, _, code, err := call(t, o, args...); code != 1 || err.Error() != "no socket" || len(out) != 0 {
			t.Errorf("one that is named by %s and away: %q, code %d, %v; want its error", how, out, code, err)
		}
	}
	named("--socket", "--socket", "n9")
	t.Setenv("WEFT_SOCKET", "n9")
	named("$WEFT_SOCKET")
	t.Setenv("WEFT_SOCKET", "")

	o.crowd = func() bool { return true }
	if out, _, code, err := call(t, o); code != 1 || err.Error() != "no socket" || len(out) != 0 {
		t.Errorf("several nodes: %q, code %d, %v; want to be asked for a choice", out, code, err)
	}
}

// A daemon that was found and does not answer, or is not open to this user, is
// an error and no clean bill of health.
func TestNoAnswer(t *testing.T) {
	d := &scripted{reportErr: errors.New("/run/weft/n1.sock: permission denied: it is for root")}
	if out, _, code, err := call(t, to(d)); code != 1 || err == nil || err.Error() != d.reportErr.Error() || len(out) != 0 {
		t.Errorf("%q, code %d, %v; want the error of the connection", out, code, err)
	}
}

// A user who may only read gets the checks with the daemon's status and drops.
func TestRefused(t *testing.T) {
	d := &scripted{reportErr: &control.Error{Message: "only root may do that", Status: http.StatusForbidden}}
	d.status = control.Status{Node: control.NodeInfo{Name: "n1", Iface: "eth0", Devices: []string{"eth0"}},
		Peers: []control.Peer{{Name: "n2", Subnet: netip.MustParsePrefix("10.244.2.0/24"), Public: netip.MustParseAddr("192.0.2.12"), State: control.PeerOK}}}
	d.records = []trace.Record{packet("10.244.2.7")}
	out, errOut, _, _ := call(t, to(d), "--json")
	var r control.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatal(err)
	}
	seen := map[string]string{}
	for _, c := range r.Checks {
		seen[c.ID] = c.Text
	}
	if r.Node != "n1" || !strings.Contains(seen["peer-source"], "come from 203.0.113.9") || !strings.Contains(seen["peer"], "ok") {
		t.Errorf("report %s", out)
	}
	if !strings.Contains(string(errOut), "does not let this user probe") {
		t.Errorf("said %q", errOut)
	}
	d.reportErr = &control.Error{Message: "broken", Status: http.StatusInternalServerError}
	if out, _, code, err := call(t, to(d)); code != 1 || err.Error() != "broken" || len(out) != 0 {
		t.Errorf("%q, code %d, %v; want the daemon's error", out, code, err)
	}
}

// packet is a record of a dropped packet with a payload.
func packet(src string) trace.Record {
	p := make([]byte, 20, 64)
	p[0], p[9] = 0x45, 17
	copy(p[12:], netip.MustParseAddr(src).AsSlice())
	copy(p[16:], netip.MustParseAddr("10.244.1.5").AsSlice())
	p = append(p, 0, 53, 0, 53, 0, 30, 0, 0)
	p = append(p, "payload of a pod"...)
	return trace.Record{ID: 7, Drop: encap.OuterSrcUnknown, Dir: trace.In, Kind: trace.UDP, Len: uint32(len(p)), Packets: 1,
		Remote: netip.MustParseAddrPort("203.0.113.9:8285"), Local: netip.MustParseAddrPort("192.0.2.11:8285"), Snap: p}
}
