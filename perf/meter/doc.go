// Package meter reads the kernel's own counters around a measurement: the
// processor time of the whole machine and of single processes, their memory,
// and the protocol counters of a network namespace.
//
// The machine's processor time comes from /proc/stat, which splits it by kind:
//
//	user     programs' own code
//	system   kernel code on behalf of a program: system calls, copies
//	softirq  packets on their way through the kernel that no program waits for
//	steal    time in which the hypervisor ran somebody else
//
// A data plane in the kernel works mostly in softirq, which no process is
// charged for. That is why the comparison of costs uses the whole machine's
// time, and the time of single processes only explains it.
//
// Times in these files are in ticks of 1/100 s (USER_HZ, fixed for programs on
// every architecture that weft is built for; see times(2)).
package meter
