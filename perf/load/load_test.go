package load

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
)

// A talk is a conversation with a role that runs in this process.
type talk struct {
	t     *testing.T
	in    *io.PipeWriter
	lines *bufio.Scanner
	done  chan error
}

// play starts a role by its command line and waits until it is ready.
func play(t *testing.T, args ...string) *talk {
	t.Helper()
	inReader, inWriter := io.Pipe()
	outReader, outWriter := io.Pipe()
	p := &talk{t: t, in: inWriter, lines: bufio.NewScanner(outReader), done: make(chan error, 1)}
	go func() {
		err := Main(args, inReader, outWriter)
		outWriter.CloseWithError(io.EOF)
		p.done <- err
	}()
	if !p.lines.Scan() {
		t.Fatalf("%v ended early: %v", args, <-p.done)
	}
	if p.lines.Text() != lineReady {
		t.Fatalf("%v says %q", args, p.lines.Text())
	}
	return p
}

// mark asks for a snapshot.
func (p *talk) mark() Snapshot {
	p.t.Helper()
	fmt.Fprintln(p.in, lineMark)
	if !p.lines.Scan() {
		p.t.Fatalf("no answer: %v", <-p.done)
	}
	var s Snapshot
	if err := json.Unmarshal(p.lines.Bytes(), &s); err != nil {
		p.t.Fatal(err)
	}
	return s
}

// until marks until something has happened.
func (p *talk) until(happened func(Snapshot) bool) Snapshot {
	p.t.Helper()
	for {
		if s := p.mark(); happened(s) {
			return s
		}
	}
}

func (p *talk) stop() {
	p.t.Helper()
	fmt.Fprintln(p.in, lineStop)
	if err := <-p.done; err != nil {
		p.t.Errorf("at the end: %v", err)
	}
}

// freePort returns a loopback address that was free a moment ago.
func freePort(t *testing.T, network string) string {
	t.Helper()
	if network == "tcp" {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		return l.Addr().String()
	}
	c, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.LocalAddr().String()
}

// The roles of a test share the process, so they go on after stop: until the
// process ends, which in life is at once. Hence the pairs that answer each
// other (they idle when the client is quiet) but no floods, and a stream that
// is ended from outside.

func TestStreamCountsWhatArrived(t *testing.T) {
	addr := freePort(t, "tcp")
	server := play(t, "tcp-recv", addr)
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	const n = 300_000
	if _, err := conn.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	s := server.until(func(s Snapshot) bool { return s.Bytes >= n })
	if s.Bytes != n {
		t.Errorf("%d bytes counted, %d sent", s.Bytes, n)
	}
	if later := server.mark(); later.At <= s.At {
		t.Errorf("clock went from %d to %d", s.At, later.At)
	}
	conn.Close()
	server.stop()
}

// TestRequestsKeepTheirPace checks that requests on a schedule do not wait for
// answers, that every answer is timed, also of those that come at once, and
// that the peer's end is told.
func TestRequestsKeepTheirPace(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := play(t, "tcp-ping", "-every=1ms", l.Addr().String())
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	const n = 20
	if _, err := io.ReadFull(conn, make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	if s := client.mark(); s.Bytes != 0 || s.Latency.Count != 0 {
		t.Errorf("%d answers counted before there was one", s.Bytes)
	}
	if _, err := conn.Write(make([]byte, n)); err != nil {
		t.Fatal(err)
	}
	var count uint64
	client.until(func(s Snapshot) bool {
		count += s.Latency.Count
		return s.Bytes == n
	})
	// A latency is recorded before its byte is counted.
	if count != n {
		t.Errorf("%d answers timed, want %d", count, n)
	}
	conn.Close()
	if err := <-client.done; err == nil || !strings.Contains(err.Error(), "tcp-ping: re") {
		t.Errorf("error %v, want that of a request or response", err)
	}
}

func TestSendEndsWithItsPeer(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client := play(t, "tcp-send", "-streams=2", l.Addr().String())
	for range 2 {
		conn, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
		conn.Close()
	}
	if err := <-client.done; err == nil || !strings.Contains(err.Error(), "tcp-send: stream:") {
		t.Errorf("error %v, want that of a stream", err)
	}
}

func TestRequestAndResponse(t *testing.T) {
	for _, network := range []string{"tcp", "udp"} {
		t.Run(network, func(t *testing.T) {
			addr := freePort(t, network)
			server := play(t, network+"-echo", addr)
			client := play(t, network+"-ping", addr)
			first := client.until(func(s Snapshot) bool { return s.Latency.Count > 100 })
			if q := first.Latency; q.P50 <= 0 || q.P50 > q.P99 || q.P99 > q.Max {
				t.Errorf("latencies out of order: %+v", q)
			}
			if served := server.mark(); served.Bytes == 0 {
				t.Error("the server counts nothing")
			}
			client.stop()
			server.stop()
		})
	}
}

func TestDatagramsAreCountedAndOrdered(t *testing.T) {
	addr := freePort(t, "udp")
	server := play(t, "udp-recv", addr)
	conn, err := net.Dial("udp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	payload := make([]byte, 100)
	for _, seq := range []byte{0, 1, 5, 3, 6, 2} {
		payload[sequenceBytes-1] = seq
		if _, err := conn.Write(payload); err != nil {
			t.Fatal(err)
		}
	}
	s := server.until(func(s Snapshot) bool { return s.Packets >= 6 && s.Reordered >= 2 })
	if s.Packets != 6 || s.Bytes != 600 || s.Reordered != 2 {
		t.Errorf("got %+v, want 6 datagrams, 600 bytes, 2 out of order", s)
	}
	server.stop()
}

// TestBatchSendsNumberedDatagrams sends one batch through the real calls.
func TestBatchSendsNumberedDatagrams(t *testing.T) {
	server, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	conn, err := net.Dial("udp", server.LocalAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	b := newBatch(64)
	for i := range batchSize {
		b.payload(i)[0] = byte(i)
	}
	raw, err := conn.(*net.UDPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var sent int
	if ctlErr := raw.Control(func(fd uintptr) { sent, err = b.send(int(fd)) }); ctlErr != nil || err != nil {
		t.Fatal(ctlErr, err)
	}
	buf := make([]byte, 100)
	for i := range sent {
		n, _, err := server.ReadFrom(buf)
		if err != nil || n != 64 || buf[0] != byte(i) {
			t.Fatalf("datagram %d: %d bytes, number %d, %v", i, n, buf[0], err)
		}
	}
	if sent == 0 {
		t.Error("nothing was sent")
	}
}

func TestCommandLine(t *testing.T) {
	const addr = "127.0.0.1:1"
	for _, tt := range []struct {
		args []string
		want string
	}{
		{nil, "want one of"},
		{[]string{"tcp"}, "want one of tcp-echo"},
		{[]string{"tcp-recv"}, `address ""`},
		{[]string{"tcp-recv", "here"}, `address "here"`},
		{[]string{"udp-send", "-size=7", addr}, "-size 7"},
		{[]string{"udp-send", "-size=9000", addr}, "-size 9000"},
		{[]string{"tcp-send", addr}, "connect to tcp 127.0.0.1:1"},
	} {
		err := Main(tt.args, strings.NewReader(""), io.Discard)
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: error %v, want one with %q", tt.args, err, tt.want)
		}
	}
}

func TestUnknownCommand(t *testing.T) {
	var out bytes.Buffer
	err := Main([]string{"tcp-recv", freePort(t, "tcp")}, strings.NewReader("hello\n"), &out)
	if err == nil || !strings.Contains(err.Error(), `"hello"`) {
		t.Errorf("error %v, want one that names the command", err)
	}
}

func TestSockaddr(t *testing.T) {
	for text, want := range map[string]int{"10.5.2.2:5201": 2, "[fd00::1]:5201": 10} {
		if family, _ := sockaddr(netip.MustParseAddrPort(text)); family != want {
			t.Errorf("%s: family %d, want %d", text, family, want)
		}
	}
}
