package plane

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"weft/perf/lab"
)

// weftWireGuard runs `weft up` with the wireguard backend in both hosts. Each
// has its key and its configuration socket in its host's folder, since a key
// belongs to one node, and a socket's path is told from the device's name,
// which is the same on all nodes.
type weftWireGuard struct{ weft }

func (w *weftWireGuard) Setup(ctx context.Context, l *lab.Lab) error {
	for _, h := range l.Hosts {
		if err := os.Mkdir(socketDir(h), 0o700); err != nil {
			return err
		}
	}
	w.env = wireGuardEnv
	if err := w.weft.Setup(ctx, l); err != nil {
		return err
	}
	socket := filepath.Join(socketDir(l.Hosts[0]), wireGuardDevice+".sock")
	if err := awaitSession(ctx, w.nodes[0].process, socket, l); err != nil {
		return fmt.Errorf("backend wireguard: %w", err)
	}
	return nil
}

// wireGuardEnv is the environment of the weft in h.
func wireGuardEnv(h *lab.Host) []string {
	return []string{
		"WIREGUARD_KEY_FILE=" + filepath.Join(h.Dir, "wireguard.key"),
		"FLANNELD_WIREGUARD_SOCKET_DIR=" + socketDir(h),
	}
}

// socketDir is where the weft in h makes its configuration socket.
func socketDir(h *lab.Host) string { return filepath.Join(h.Dir, "wireguard") }

func (*weftWireGuard) Device(int) string { return wireGuardDevice }
