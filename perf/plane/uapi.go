package plane

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"time"
)

// uapiPatience is how long an answer of a WireGuard program may take.
const uapiPatience = 5 * time.Second

// uapi asks a WireGuard program by its configuration socket
// (wireguard.com/xplatform, "Configuration Protocol"): lines key=value up to an
// empty one, answered by such lines, the last of which is errno.
func uapi(socket, request string) (answer string, err error) {
	c, err := net.Dial("unix", socket)
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(uapiPatience)); err != nil {
		return "", err
	}
	if _, err := io.WriteString(c, request+"\n"); err != nil {
		return "", fmt.Errorf("writing to %s: %w", socket, err)
	}
	var b strings.Builder
	for lines := bufio.NewScanner(c); lines.Scan(); {
		errno, last := strings.CutPrefix(lines.Text(), "errno=")
		switch {
		case last && errno == "0":
			return b.String(), nil
		case last:
			return "", fmt.Errorf("%s refused the request: errno %s", socket, errno)
		}
		b.WriteString(lines.Text() + "\n")
	}
	return "", fmt.Errorf("%s: the answer has no errno: %q", socket, b.String())
}

// unheard reports whether err says that nobody listens at a socket yet.
func unheard(err error) bool {
	var dial *net.OpError
	return errors.As(err, &dial) && dial.Op == "dial"
}

// shaken reports whether a WireGuard program has a session with a peer, by its
// answer to "get=1". Only a handshake that was completed has a time.
func shaken(answer string) bool {
	for line := range strings.Lines(answer) {
		seconds, ok := strings.CutPrefix(strings.TrimSpace(line), "last_handshake_time_sec=")
		if ok && seconds != "0" {
			return true
		}
	}
	return false
}
