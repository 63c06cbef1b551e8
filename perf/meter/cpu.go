package meter

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"time"
)

// ticksPerSecond is USER_HZ.
const ticksPerSecond = 100

// CPU is processor time of the whole machine by kind, in seconds summed over
// all cores. Fields are those of the first line of /proc/stat (proc(5)), with
// nice counted as user; guest time is part of user there already.
type CPU struct {
	User, System, Idle, IOWait, IRQ, SoftIRQ, Steal float64
}

// ReadCPU reads the machine's processor time since it started.
func ReadCPU() (CPU, error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return CPU{}, err
	}
	return parseCPU(text)
}

// parseCPU reads the line "cpu  user nice system idle iowait irq softirq
// steal guest guest_nice". Kernels before 2.6.11 lack steal; it is required.
func parseCPU(text []byte) (CPU, error) {
	line, _, _ := bytes.Cut(text, []byte("\n"))
	fields := bytes.Fields(line)
	if len(fields) < 9 || string(fields[0]) != "cpu" {
		return CPU{}, fmt.Errorf("/proc/stat: first line %q is not the sum of all processors", line)
	}
	var seconds [8]float64
	for i := range seconds {
		ticks, err := strconv.ParseUint(string(fields[1+i]), 10, 64)
		if err != nil {
			return CPU{}, fmt.Errorf("/proc/stat: field %d: %w", 1+i, err)
		}
		seconds[i] = float64(ticks) / ticksPerSecond
	}
	return CPU{
		User: seconds[0] + seconds[1], System: seconds[2], Idle: seconds[3], IOWait: seconds[4],
		IRQ: seconds[5], SoftIRQ: seconds[6], Steal: seconds[7],
	}, nil
}

// Sub returns the time that passed between before and c.
func (c CPU) Sub(before CPU) CPU {
	return CPU{
		User: c.User - before.User, System: c.System - before.System, Idle: c.Idle - before.Idle,
		IOWait: c.IOWait - before.IOWait, IRQ: c.IRQ - before.IRQ, SoftIRQ: c.SoftIRQ - before.SoftIRQ,
		Steal: c.Steal - before.Steal,
	}
}

// Busy is the time in which the machine's cores worked.
func (c CPU) Busy() float64 { return c.User + c.System + c.IRQ + c.SoftIRQ }

// Total is all time, worked, idle or stolen.
func (c CPU) Total() float64 { return c.Busy() + c.Idle + c.IOWait + c.Steal }

// Share returns part as a fraction of all time; 0 when no time passed.
func (c CPU) Share(part float64) float64 {
	if c.Total() == 0 {
		return 0
	}
	return part / c.Total()
}

// Seconds converts ticks of /proc to a duration.
func Seconds(ticks uint64) time.Duration {
	return time.Duration(ticks) * (time.Second / ticksPerSecond)
}
