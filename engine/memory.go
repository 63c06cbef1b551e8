package engine

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// settle gives back, once the start is over, the memory that only the start
// needed: garbage of reading the leases, and pages of the program itself. A
// good half of the binary is the embedded etcd, whose initialisation is mapped
// and never run again. Dropping clean pages of a file mapping loses nothing;
// what is still needed comes back with the next access.
func (n *Node) settle(ctx context.Context) error {
	const calm = 2 * time.Second
	if !sleep(ctx, calm) {
		return nil
	}
	debug.FreeOSMemory()
	if err := dropProgramPages(); err != nil {
		n.log.Debug("start-up memory not given back", "err", err)
	}
	return nil
}

// dropProgramPages advises the kernel to drop the clean pages of the running
// program: the mappings of its file that are not writable (proc(5), maps).
func dropProgramPages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		var from, to uintptr
		var perm string
		if _, err := fmt.Sscanf(lines.Text(), "%x-%x %s", &from, &to, &perm); err != nil {
			return fmt.Errorf("/proc/self/maps: %q: %w", lines.Text(), err)
		}
		if !strings.HasSuffix(lines.Text(), exe) || strings.Contains(perm, "w") {
			continue
		}
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); e != 0 {
			return os.NewSyscallError("madvise", e)
		}
	}
	return lines.Err()
}
