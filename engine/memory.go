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
// program: the mappings of its file that are not writable and hold nothing but
// the file (proc(5), smaps). In a position-independent program some were
// relocated before they became read-only; their pages count as anonymous, and
// dropping them would undo that.
func dropProgramPages() error {
	exe, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer maps.Close()
	var from, to uintptr
	program := false
	for lines := bufio.NewScanner(maps); ; {
		if !lines.Scan() {
			return lines.Err()
		}
		line := lines.Text()
		var a, b uintptr
		var perm string
		if n, _ := fmt.Sscanf(line, "%x-%x %s", &a, &b, &perm); n == 3 {
			from, to = a, b
			program = strings.HasSuffix(line, exe) && !strings.Contains(perm, "w")
			continue
		}
		if key, size, _ := strings.Cut(line, ":"); !program || key != "Anonymous" || strings.TrimSpace(size) != "0 kB" {
			continue
		}
		if _, _, e := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); e != 0 {
			return os.NewSyscallError("madvise", e)
		}
	}
}
