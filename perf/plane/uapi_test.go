package plane

import (
	"bufio"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
)

// answer plays a WireGuard program that reads one request and gives one
// answer; the request can be received from the channel.
func answer(t *testing.T, text string) (socket string, request <-chan string) {
	t.Helper()
	socket = filepath.Join(t.TempDir(), "wg.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	asked := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return // the test is over
		}
		defer c.Close()
		var b strings.Builder
		for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != ""; {
			b.WriteString(lines.Text() + "\n")
		}
		asked <- b.String()
		io.WriteString(c, text)
	}()
	return socket, asked
}

func TestUAPI(t *testing.T) {
	for _, tt := range []struct{ name, text, want, fails string }{
		{"set", "errno=0\n\n", "", ""},
		{"get", "listen_port=1\nfwmark=2\nerrno=0\n\n", "listen_port=1\nfwmark=2\n", ""},
		{"refused", "errno=-22\n\n", "", "errno -22"},
		{"cut short", "listen_port=1\n", "", `no errno: "listen_port=1\n"`},
	} {
		socket, asked := answer(t, tt.text)
		got, err := uapi(socket, "get=1\n")
		if request := <-asked; request != "get=1\n" {
			t.Errorf("%s: asked %q", tt.name, request)
		}
		if got != tt.want || (err == nil) != (tt.fails == "") {
			t.Errorf("%s: got %q, %v", tt.name, got, err)
		}
		if err != nil && (unheard(err) || !strings.Contains(err.Error(), tt.fails)) {
			t.Errorf("%s: error %v, want one with %q of a program that is there", tt.name, err, tt.fails)
		}
	}
	if _, err := uapi(filepath.Join(t.TempDir(), "none.sock"), "get=1\n"); !unheard(err) {
		t.Errorf("error %v of a socket that is not there", err)
	}
}

func TestShaken(t *testing.T) {
	for text, want := range map[string]bool{
		"":               false,
		"public_key=1\n": false,
		"last_handshake_time_sec=0\nlast_handshake_time_nsec=0\n":        false,
		"last_handshake_time_sec=0\nlast_handshake_time_nsec=5\n":        false,
		"public_key=1\nlast_handshake_time_sec=1790000000\nrx_bytes=0\n": true,
	} {
		if got := shaken(text); got != want {
			t.Errorf("%q: got %v", text, got)
		}
	}
}
