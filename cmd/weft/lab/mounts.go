package lab

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// hostsPath is the file that resolvers read before they ask a server.
const hostsPath = "/etc/hosts"

// A hostsFile lets commands in the lab call pods and nodes by their names. It
// is bound over /etc/hosts in the mount namespace of the lab.
type hostsFile struct {
	path string
	base []byte // the host's own /etc/hosts

	mu sync.Mutex // held while the file is written
}

// mountView gives the lab its own /proc, which matches its process ids, and
// its own /etc/hosts in dir. The lab works without either, so a refusal is
// logged and no error.
func mountView(dir string, log *slog.Logger) *hostsFile {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		log.Warn("mounts stay shared with the host; names of pods will not resolve", "err", err)
		return nil
	}
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("proc", "/proc", "proc", flags, ""); err != nil {
		log.Info("no /proc of its own; process ids in it are the host's", "err", err)
	}
	h, err := mountHosts(dir)
	if err != nil {
		log.Warn("names of pods will not resolve", "err", err)
	}
	return h
}

func mountHosts(dir string) (*hostsFile, error) {
	base, err := os.ReadFile(hostsPath)
	if err != nil {
		return nil, err
	}
	h := &hostsFile{path: filepath.Join(dir, "hosts"), base: base}
	if err := os.WriteFile(h.path, base, 0o644); err != nil {
		return nil, err
	}
	if err := unix.Mount(h.path, hostsPath, "", unix.MS_BIND, ""); err != nil {
		return nil, fmt.Errorf("bind %s over %s: %w", h.path, hostsPath, err)
	}
	return h, nil
}

// update writes the present addresses of l, in place, for a file that came by
// rename would not be the one that is mounted.
func (h *hostsFile) update(l *Lab) error {
	if h == nil {
		return nil
	}
	h.mu.Lock() // before the names are asked for, so that the last writer has the latest
	defer h.mu.Unlock()
	f, err := os.OpenFile(h.path, os.O_WRONLY|os.O_TRUNC, 0)
	if err != nil {
		return err
	}
	_, err = f.Write(slices.Concat(h.base, []byte(l.Hosts())))
	return errors.Join(err, f.Close())
}

// Hosts lists the names of the lab as /etc/hosts does: n1 is the pod on node
// n1, n1.host the node.
func (l *Lab) Hosts() string {
	var b strings.Builder
	for _, n := range l.Nodes {
		if a := n.PodAddr(); a.IsValid() {
			fmt.Fprintf(&b, "%s %s\n", a, n.Name)
		}
		if a := n.PodAddr6(); a.IsValid() {
			fmt.Fprintf(&b, "%s %s\n", a, n.Name)
		}
		fmt.Fprintf(&b, "%s %s.host\n", n.Underlay, n.Name)
	}
	return b.String()
}
