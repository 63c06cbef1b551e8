package doctor

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Sockets reads /proc/net/udp and udp6 and looks for the owners among the
// processes that this one may look into.
func (h Host) Sockets() ([]Socket, error) {
	var all []Socket
	inodes := map[string][]int{}
	for _, name := range []string{"udp", "udp6"} {
		text, err := h.Read("/proc/thread-self/net/" + name)
		if errors.Is(err, fs.ErrNotExist) && name == "udp6" {
			continue // a kernel without IPv6
		}
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			local, inode, ok := socketLine(line)
			if !ok {
				continue // the heading
			}
			inodes[inode] = append(inodes[inode], len(all))
			all = append(all, Socket{Local: local})
		}
	}
	err := owners(func(pid int, inode string) {
		for _, i := range inodes[inode] {
			all[i].PID = pid
		}
	})
	for i := range all {
		if all[i].PID != 0 {
			all[i].Command, _ = h.Read(fmt.Sprintf("/proc/%d/comm", all[i].PID)) // it may have ended
		}
	}
	return all, err
}

// socketLine reads a line of /proc/net/udp:
//
//	sl  local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode ...
//	 7: 0100007F:205D 00000000:0000 07 ...
//
// An address is written as 32-bit words in the byte order of the machine, a port
// as a number.
func socketLine(line string) (local netip.AddrPort, inode string, ok bool) {
	f := strings.Fields(line)
	if len(f) < 10 {
		return local, "", false
	}
	address, number, ok := strings.Cut(f[1], ":")
	raw, err := hex.DecodeString(address)
	port, err2 := strconv.ParseUint(number, 16, 16)
	if !ok || err != nil || err2 != nil || len(raw) != 4 && len(raw) != 16 {
		return local, "", false
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	a, _ := netip.AddrFromSlice(raw)
	return netip.AddrPortFrom(a.Unmap(), uint16(port)), f[9], true
}

// owners calls f for each socket of each process that may be looked into.
func owners(f func(pid int, inode string)) error {
	return processes(func(pid int) {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		list, err := os.ReadDir(dir)
		if err != nil {
			return // another user's, or it has ended: the owner stays unknown
		}
		for _, e := range list {
			target, err := os.Readlink(filepath.Join(dir, e.Name()))
			if inode, ok := strings.CutPrefix(target, "socket:["); err == nil && ok {
				f(pid, strings.TrimSuffix(inode, "]"))
			}
		}
	})
}

// processes calls f for each process.
func processes(f func(pid int)) error {
	list, err := os.ReadDir("/proc")
	if err != nil {
		return err
	}
	for _, e := range list {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			f(pid)
		}
	}
	return nil
}

// Processes looks at the command of every process. Those whose namespace this
// process may not see are an error.
func (h Host) Processes(name string) (pids []int, err error) {
	here, err := os.Readlink("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	var hidden error
	err = processes(func(pid int) {
		comm, err := h.Read(fmt.Sprintf("/proc/%d/comm", pid))
		if err != nil || comm != name {
			return // it may have ended
		}
		switch ns, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", pid)); {
		case errors.Is(err, fs.ErrPermission):
			hidden = fmt.Errorf("%s runs as pid %d; whether in this network namespace only root can tell: %w", name, pid, err)
		case err == nil && ns == here:
			pids = append(pids, pid)
		}
	})
	return pids, errors.Join(err, hidden)
}
