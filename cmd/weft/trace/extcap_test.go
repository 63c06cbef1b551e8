package trace

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/client"
	"weft/cmd/weft/trace/pcapng/pcapngtest"
	engine "weft/engine/trace"
)

func TestIsExtcap(t *testing.T) {
	for args, want := range map[string]bool{
		"--extcap-interfaces":                                true,
		"--extcap-interfaces --extcap-version=4.0":           true,
		"--capture --extcap-interface weft-n1 --fifo /tmp/x": true,
		"":                       false,
		"trace --drops":          false,
		"--iface eth0 --ip-masq": false,
	} {
		if got := IsExtcap(strings.Fields(args)); got != want {
			t.Errorf("%q: %v, want %v", args, got, want)
		}
	}
}

func TestExtcapAnswers(t *testing.T) {
	p := stub(stream(allRecords()...))
	p.sockets = func() []client.Socket {
		return []client.Socket{{Name: "n1", Path: "/run/weft/n1.sock"}, {Name: "n2", Path: "/run/weft/n2.sock"}, {Name: "n1", Path: "/tmp/weft-0/n1.sock"}}
	}
	for _, c := range []struct {
		args string
		code int
		out  string
		err  string
	}{
		{"--extcap-interfaces --extcap-version=4.0", 0, "extcap {version=1.0}{display=weft}\n" +
			"interface {value=weft-n1}{display=weft: packets of node n1}\ninterface {value=weft-n2}{display=weft: packets of node n2}\n" +
			"interface {value=weft-n1-2}{display=weft: packets of node n1}\n", ""},
		{"--extcap-interface weft-n1 --extcap-dlts", 0, "dlt {number=101}{name=RAW}{display=IP packets, inner and outer}\n", ""},
		{"--extcap-interface weft-n1 --extcap-config", 0, extcapConfig, ""},
		{"--extcap-interface weft-n1 --extcap-config --extcap-newer-flag=1", 0, extcapConfig, ""},
		{"--extcap-interface weft-n9 --extcap-dlts", 1, "", "weft: --extcap-interface=weft-n9: no node of that name answers; there are: weft-n1, weft-n2, weft-n1-2\n"},
		{"--extcap-interface weft-n1 --capture", 1, "", "weft: --capture: --fifo is missing\n"},
		{"--extcap-interface weft-n1", 1, "", "weft: --extcap-interface=weft-n1: with none of --extcap-dlts, --extcap-config, --capture\n"},
	} {
		var out, errOut bytes.Buffer
		if code := p.extcap(t.Context(), strings.Fields(c.args), &out, &errOut); code != c.code || out.String() != c.out || errOut.String() != c.err {
			t.Errorf("%s: exit code %d\n%s%s", c.args, code, out.String(), errOut.String())
		}
	}
	if path, err := p.socketOf("weft-n1-2"); err != nil || path != "/tmp/weft-0/n1.sock" {
		t.Errorf("the second n1 is %q, %v", path, err)
	}
}

// An empty answer to a filter says that it is one.
func TestExtcapFilterCheck(t *testing.T) {
	for filter, good := range map[string]bool{"": true, "hots 1.2.3.4": false} {
		var out bytes.Buffer
		code := stub(nil).extcap(t.Context(), []string{"--extcap-interface", "weft-n1", "--extcap-capture-filter", filter}, &out, os.Stderr)
		if code != 0 || (out.Len() == 0) != good {
			t.Errorf("%q: exit code %d, %q", filter, code, out.String())
		}
	}
}

func TestExtcapCapture(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := stub(stream(allRecords()...))
	var asked engine.Options
	var socket string
	p.trace = func(_ context.Context, s string, o engine.Options) (source, error) {
		asked, socket = o, s
		return play(stream(allRecords()...)), nil
	}
	ended := make(chan int)
	var errOut bytes.Buffer
	go func() {
		ended <- p.extcap(context.Background(), []string{"--capture", "--extcap-interface", "weft-n1", "--fifo", fifo, "--filter", "udp",
			"--extcap-capture-filter", "tcp or icmp", "--snaplen", "200", "--sample", "1/3", "--drops"}, os.Stdout, &errOut)
	}()
	b, err := os.ReadFile(fifo)
	if err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 0 {
		t.Errorf("exit code %d: %s", code, errOut.String())
	}
	if want := (engine.Options{Filter: "((udp) and (tcp or icmp)) and drop", Snaplen: 200, Sample: 3}); asked != want || socket != "/run/weft/n1.sock" {
		t.Errorf("asked %q for %+v, want %+v", socket, asked, want)
	}
	if f, err := pcapngtest.Read(b); err != nil || len(f.Packets) == 0 {
		t.Errorf("%d packets, %v", len(f.Packets), err)
	}
}

// A fifo that nobody reads does not keep the program from ending.
func TestExtcapStopsBeforeReader(t *testing.T) {
	fifo := filepath.Join(t.TempDir(), "fifo")
	if err := unix.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var errOut bytes.Buffer
	if code := stub(stream()).extcap(ctx, []string{"--capture", "--extcap-interface", "weft-n1", "--fifo", fifo}, os.Stdout, &errOut); code != 1 {
		t.Errorf("exit code %d, %s", code, errOut.String())
	}
	r, err := os.OpenFile(fifo, os.O_RDONLY|unix.O_NONBLOCK, 0) // lets go of who waits
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
}

// tshark itself finds the node in its extcap folder and captures from it. The
// folder is one of our own, in a mount namespace.
func TestTsharkCapturesByExtcap(t *testing.T) {
	for _, tool := range []string{"tshark", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool + " is not installed")
		}
	}
	if out, err := exec.Command("unshare", "-rm", "true").CombinedOutput(); err != nil {
		t.Skipf("no mount namespace: %v %s", err, out)
	}
	folder := extcapFolder(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.Symlink(self, filepath.Join(dir, "weft")); err != nil {
		t.Fatal(err)
	}
	tshark := func(args string) string {
		cmd := exec.Command("unshare", "-rm", "sh", "-c", "mount --bind "+dir+" "+folder+" && exec tshark "+args)
		cmd.Env = append(os.Environ(), asExtcap+"=1", "HOME="+t.TempDir(), "LC_ALL=C.UTF-8")
		var errOut bytes.Buffer
		cmd.Stderr = &errOut
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("tshark %v: %v\n%s", args, err, errOut.String())
		}
		return string(out)
	}
	if list := tshark("-D"); !strings.Contains(list, "weft-n1 (weft: packets of node n1)") {
		t.Fatalf("not in the list of interfaces:\n%s", list)
	}
	rows := tshark("-n -i weft-n1 -T fields -e frame.interface_name -e vxlan.vni -e tcp.dstport")
	if !strings.Contains(rows, "vxlan:8472 (outer)\t1\t80\n") || !strings.Contains(rows, "flannel0 (inner)\t\t41022\n") {
		t.Errorf("captured\n%s", rows)
	}
}

// extcapFolder is where tshark looks for such programs.
func extcapFolder(t *testing.T) string {
	t.Helper()
	out, err := exec.Command("tshark", "-G", "folders").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		if name, path, ok := strings.Cut(line, ":"); ok && (name == "Extcap path" || name == "Global Extcap path") {
			if _, err := os.Stat(strings.TrimSpace(path)); err == nil {
				return strings.TrimSpace(path)
			}
		}
	}
	t.Skip("tshark has no extcap folder")
	return ""
}
