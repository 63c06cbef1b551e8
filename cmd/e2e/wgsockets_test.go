package e2e

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// Sockets of userspace WireGuard interfaces are files in one folder, which
// nodes of a lab would share, though they have networks of their own. Called as
// `with-sockets DIR COMMAND …`, the test binary becomes that command with DIR
// in that folder's place.
const withSocketsName = "with-sockets"

func init() {
	if len(os.Args) < 4 || os.Args[1] != withSocketsName {
		return
	}
	slog.Error("not started", "err", withSockets(os.Args[2], os.Args[3:]))
	os.Exit(1)
}

// withSockets does not return unless it fails. What exec leaves of a process is
// the thread that calls it, with its own view of files.
func withSockets(dir string, argv []string) error {
	runtime.LockOSThread()
	path, err := exec.LookPath(argv[0])
	if err == nil {
		err = os.MkdirAll(uapiDir, 0o755)
	}
	if err == nil {
		err = unix.Unshare(unix.CLONE_NEWNS | unix.CLONE_FS)
	}
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
	}
	if err == nil {
		err = unix.Mount(dir, uapiDir, "", unix.MS_BIND, "")
	}
	if err != nil {
		return fmt.Errorf("%s in the place of %s: %w", dir, uapiDir, err)
	}
	return unix.Exec(path, argv, os.Environ())
}

// wg runs wg(8) on a node, which sees the node's interfaces.
func wg(t testing.TB, n *lab.Node, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("wg"); errors.Is(err, exec.ErrNotFound) {
		t.Skip("needs wg, of wireguard-tools")
	}
	self, err := os.Executable()
	must(t, err)
	out, err := n.Host.Exec(within(t), append([]string{self, withSocketsName, nodeDir(n), "wg"}, args...)...)
	must(t, err)
	return string(out)
}
