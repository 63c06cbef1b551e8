package e2e

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"weft/cmd/weft/lab"
)

// A wgInterface is what a userspace WireGuard interface answers to get=1
// (https://www.wireguard.com/xplatform/).
type wgInterface struct {
	private string // key, in base64
	port    int
	peers   map[string]wgPeerState // by public key, in base64
}

type wgPeerState struct {
	endpoint  string
	allowed   []string
	handshake int64 // seconds since 1970; 0: never
	keepalive int   // seconds
}

// interfaceOf asks the socket of a node's interface.
func interfaceOf(t testing.TB, n *lab.Node, name string) (d wgInterface) {
	t.Helper()
	c, err := net.Dial("unix", filepath.Join(nodeDir(n), name+".sock"))
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(limit)))
	_, err = c.Write([]byte("get=1\n\n"))
	must(t, err)
	d.peers = map[string]wgPeerState{}
	key, errno := "", ""
	for lines := bufio.NewScanner(c); lines.Scan() && lines.Text() != ""; {
		name, value, _ := strings.Cut(lines.Text(), "=")
		number, _ := strconv.Atoi(value) // of those that are one
		p := d.peers[key]
		switch name {
		case "errno":
			errno = value
		case "private_key":
			d.private = base64Of(t, value)
		case "listen_port":
			d.port = number
		case "public_key":
			key, p = base64Of(t, value), wgPeerState{}
		case "endpoint":
			p.endpoint = value
		case "allowed_ip":
			p.allowed = append(p.allowed, value)
		case "last_handshake_time_sec":
			p.handshake = int64(number)
		case "persistent_keepalive_interval":
			p.keepalive = number
		}
		if key != "" {
			d.peers[key] = p
		}
	}
	if errno != "0" {
		t.Fatalf("%s: %s answers with errno %q", n.Name, name, errno)
	}
	return d
}

// publicKey is the key of a node's interfaces, in base64.
func publicKey(t testing.TB, n *lab.Node) string {
	t.Helper()
	_, public := keyPair(t, n)
	return public
}

// keyPair reads a node's key file and returns the key and its public half.
func keyPair(t testing.TB, n *lab.Node) (private, public string) {
	t.Helper()
	b, err := os.ReadFile(wgKeyFile(n))
	must(t, err)
	return strings.TrimSpace(string(b)), get(t, func() (string, error) { return publicInFile(wgKeyFile(n)) })
}

func base64Of(t testing.TB, hexadecimal string) string {
	t.Helper()
	b, err := hex.DecodeString(hexadecimal)
	must(t, err)
	return base64.StdEncoding.EncodeToString(b)
}

func hexOf(t testing.TB, inBase64 string) string {
	t.Helper()
	b, err := base64.StdEncoding.DecodeString(inBase64)
	must(t, err)
	return hex.EncodeToString(b)
}

// presharedKey makes one, in base64.
func presharedKey() string {
	b := make([]byte, 32)
	rand.Read(b) // never fails
	return base64.StdEncoding.EncodeToString(b)
}
