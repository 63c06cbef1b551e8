package trace

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// niceness is how much less of a busy processor a trace gets than the node it
// looks at: about a tenth (sched(7)).
const niceness = 10

// stepBack lowers the priority of this process: to watch packets must not slow
// them down. Where the processors are busy a trace loses records, and says how
// many, before the node loses time. A thread that is begun later has the priority
// of the one that begins it. It is no matter if the kernel refuses.
func stepBack() {
	tasks, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.Setpriority(unix.PRIO_PROCESS, tid, niceness)
		}
	}
}
