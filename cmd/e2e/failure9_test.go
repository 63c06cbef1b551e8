package e2e

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"weft/cmd/weft/lab"
	"weft/engine/control"
)

// clockRelayPort is where clockRelay listens, on the switch.
const clockRelayPort = "2380"

// clockRelay stands before an etcd as a server whose clock is off: by what it
// holds, in nanoseconds. Its Date header is all that tells a server's time.
//
//	PRI * HTTP/2.0 …   gRPC: passed through as it is
//	GET /version       answered here, with a Date that is off
type clockRelay struct {
	l   *lab.Lab
	off atomic.Int64
}

func startClockRelay(t *testing.T, l *lab.Lab) *clockRelay {
	t.Helper()
	r := &clockRelay{l: l}
	var door net.Listener
	must(t, l.Switch.Do(func() (err error) {
		door, err = net.Listen("tcp", net.JoinHostPort(switchAddr.String(), clockRelayPort))
		return err
	}))
	t.Cleanup(func() { door.Close() })
	go func() {
		for {
			c, err := door.Accept()
			if err != nil {
				return
			}
			go r.serve(c)
		}
	}()
	return r
}

// serve deals with one connection.
func (r *clockRelay) serve(c net.Conn) {
	in := bufio.NewReader(c)
	if start, err := in.Peek(len("PRI ")); err != nil || string(start) == "PRI " {
		forward(readFirst{c, in}, r.l.Switch, switchAddr.String()+":2379")
		return
	}
	defer c.Close()
	ask, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	answer := http.Response{StatusCode: http.StatusNotFound, ProtoMajor: 1, ProtoMinor: 1, Request: ask, Close: true,
		Header: http.Header{"Date": {time.Now().Add(time.Duration(r.off.Load())).UTC().Format(http.TimeFormat)}}}
	if ask.Method == http.MethodGet && ask.URL.Path == "/version" {
		answer.StatusCode, answer.Body = http.StatusOK, io.NopCloser(strings.NewReader(`{"etcdserver":"3.6.13"}`))
	}
	_ = answer.Write(c) // it fails if the node has gone
}

// A readFirst is a connection of which something was read already.
type readFirst struct {
	net.Conn
	first *bufio.Reader
}

func (c readFirst) Read(b []byte) (int, error) { return c.first.Read(b) }

// The clock of the host with the store is two hours ahead. Pods do not notice;
// who compares logs, or checks certificates, does.
func TestFailureClockSkew(t *testing.T) {
	t.Parallel()
	o := failing(1, "vxlan")
	o.Store = lab.StoreEtcd
	o.UpArgs = []string{"--etcd-endpoints=http://" + switchAddr.String() + ":" + clockRelayPort}
	l := newLab(t, o)
	must(t, l.StartEtcd(within(t)))
	relay, n := startClockRelay(t, l), l.Nodes[0]

	for _, c := range []struct {
		off     time.Duration
		verdict control.Verdict
		text    string
	}{
		{2*time.Hour + 30*time.Second, control.Fail, "this clock is 2h0m behind the store's"},
		{-165 * time.Second, control.Warn, "this clock is 2m4"}, // and some seconds, ahead
		{0, control.Pass, "this clock and the store's agree"},
	} {
		relay.off.Store(int64(c.off))
		restart(t, n) // it asks when it starts, and then once a minute
		var skew *float64
		await(t, "the node has asked for the time", func() bool {
			skew = status(t, n).Store.ClockSkew
			return skew != nil
		})
		if off := time.Duration(*skew * float64(time.Second)); (off - c.off).Abs() > 20*time.Second {
			t.Errorf("the store is %s ahead, want %s", off, c.off)
		}
		screen(t, n, "doctor", "--quiet")
		found(t, finding(t, doctor(t, n), "clock-skew", ""), c.verdict, c.text)
	}
}
