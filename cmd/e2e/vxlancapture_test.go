package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"weft/cmd/weft/lab"
)

// A recording is tcpdump at a place.
type recording struct {
	cmd  *exec.Cmd
	file string
	said *bufio.Scanner
}

// record starts to capture VXLAN datagrams on a link and returns once packets
// are seen.
func record(t *testing.T, at *lab.Place, link string) recording {
	t.Helper()
	r := recording{file: filepath.Join(t.TempDir(), "wire.pcap")}
	r.cmd = exec.Command("tcpdump", "-i", link, "-n", "-U", "-B", "32768", "-Z", "root", "-w", r.file, "udp port 8472")
	pipe, err := r.cmd.StderrPipe()
	must(t, err)
	must(t, at.Start(r.cmd))
	t.Cleanup(func() { r.cmd.Process.Kill(); r.cmd.Wait() })
	for r.said = bufio.NewScanner(pipe); r.said.Scan(); {
		if strings.Contains(r.said.Text(), "listening on") {
			return r
		}
	}
	t.Fatalf("tcpdump ended: %v", r.cmd.Wait())
	return r
}

// stop ends the recording. One that the kernel could not keep up with would
// prove nothing.
func (r recording) stop(t *testing.T) {
	t.Helper()
	must(t, r.cmd.Process.Signal(syscall.SIGINT))
	whole := false
	for r.said.Scan() {
		whole = whole || strings.HasPrefix(r.said.Text(), "0 packets dropped by kernel")
	}
	must(t, r.cmd.Wait())
	if !whole {
		t.Error("the capture has gaps")
	}
}

// A dissection is what tshark makes of one frame.
type dissection struct {
	number, vni, protocols, more, malformed, expert string
	warns                                           bool
}

// read runs tshark over the recording. Port 8472 must be told: the registry has
// another protocol there. The payload is random, and nothing is to be made of
// it, whatever port it is for.
func (r recording) read(t *testing.T, args ...string) (list []dissection) {
	t.Helper()
	cmd := exec.CommandContext(within(t), "tshark", append([]string{"-n", "-r", r.file, "-o", "tcp.analyze_sequence_numbers:FALSE",
		"-d", "udp.port==8472,vxlan", "-d", "udp.port==1-8471,data", "-d", "udp.port==8473-65535,data", "-d", "tcp.port==1-65535,data",
		"-T", "fields", "-E", "separator=|", "-e", "frame.number", "-e", "vxlan.vni", "-e", "frame.protocols", "-e", "ip.flags.mf",
		"-e", "_ws.malformed", "-e", "_ws.expert.severity", "-e", "_ws.expert.group", "-e", "_ws.expert.message"}, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("tshark: %v\n%s", err, errs.String())
	}
	for line := range strings.Lines(out.String()) {
		f := strings.SplitN(strings.TrimSpace(line), "|", 8)
		if len(f) != 8 {
			t.Fatalf("tshark: line %q", line)
		}
		d := dissection{number: f[0], vni: f[1], protocols: f[2], more: f[3], malformed: f[4], expert: f[7]}
		// Retransmissions are no fault of the format (wireshark: epan/proto.h).
		const warning, sequence = 0x600000, "33554432"
		groups := strings.Split(f[6], ",")
		for i, text := range strings.Split(f[5], ",") {
			level, err := strconv.Atoi(text)
			d.warns = d.warns || err == nil && level >= warning && groups[i] != sequence
		}
		list = append(list, d)
	}
	return list
}

// What other people's tools make of the wire: every datagram is VXLAN, nothing
// is malformed and nothing worth a warning, and where no card is left to finish
// checksums, all of them, inner and outer, are right.
func TestVXLANCapture(t *testing.T) {
	for _, tool := range []string{"tcpdump", "tshark"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skip(tool, "is not installed:", err)
		}
	}
	l := newLabUp(t, withKernel(t, lab.Options{Nodes: 3, Store: lab.StoreDir, NetConf: conf("46", `{"Type":"vxlan"}`)}, map[int]bool{3: true}))
	n1, n2, k := l.Nodes[0], l.Nodes[1], l.Nodes[2]
	offloads := func(on bool) {
		for _, n := range l.Nodes {
			must(t, errors.Join(n.Host.SetFeatures("eth0", on, "tx-checksum-ip-generic"), n.Pod.SetFeatures("eth0", on, "tx-checksum-ip-generic")))
		}
	}
	for _, c := range []struct {
		name      string
		like, off bool
	}{{"superpackets", false, false}, {"wire-like", true, false}, {"without checksum offload", true, true}} {
		t.Run(c.name, func(t *testing.T) {
			must(t, l.SetWire(c.like))
			offloads(!c.off)
			r := record(t, l.Switch, "n1")
			for _, to := range []*lab.Node{n2, k} {
				exchange(t, n1, to, mega, 173)
			}
			r.stop(t)
			r.judge(t, c.off)
		})
	}
}

// judge looks for anything that tshark does not like.
func (r recording) judge(t *testing.T, checksums bool) {
	var prefs []string
	if checksums {
		for _, p := range []string{"ip", "udp", "tcp"} {
			prefs = append(prefs, "-o", p+".check_checksum:TRUE")
		}
	}
	list := r.read(t, prefs...)
	seen := map[string]bool{}
	var bad []string
	for _, d := range list {
		if d.vni != "1" || d.malformed != "" || d.warns {
			bad = append(bad, fmt.Sprintf("%+v", d))
		}
		for _, inner := range []string{"tcp", "udp", "icmp", "icmpv6", "ipv6.fraghdr"} {
			seen[inner] = seen[inner] || strings.Contains(d.protocols+":", ":vxlan:") && strings.Contains(d.protocols+":", ":"+inner+":")
		}
		seen["fragment"] = seen["fragment"] || strings.HasSuffix(d.more, "1") || strings.HasSuffix(d.more, "True")
	}
	if bad != nil {
		t.Errorf("%d of %d frames displease, such as\n%s", len(bad), len(list), strings.Join(bad[:min(len(bad), 10)], "\n"))
	}
	for _, what := range []string{"tcp", "udp", "icmp", "icmpv6", "ipv6.fraghdr", "fragment"} {
		if !seen[what] {
			t.Errorf("there is no %s in %d frames", what, len(list))
		}
	}
}
