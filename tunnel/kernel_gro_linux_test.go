package tunnel

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// What UDP_GRO joins. On a veth it works once GRO is on at the receiving end,
// and only on what one turn of that end's queue holds.

// joinAtOnce switches GRO on for the test's end of the wire. A veth that can do
// it without an XDP program, as since Linux 5.13, comes with GRO off; on one
// that comes with GRO on, that means nothing.
func joinAtOnce(t testing.TB) {
	t.Helper()
	means, err := hasFeature("wire0", "rx-gro")
	must(t, err)
	if means {
		t.Skip("a veth of this kernel joins nothing without XDP; Linux 5.13 does")
	}
	must(t, setFeatures("wire0", true, []string{"rx-gro"}))
}

// joinOverTime lets GRO wait for more, so that datagrams that are sent one by
// one may be joined. The knob is in sysfs alone, whose files are those of the
// namespace that mounted it.
func joinOverTime(t testing.TB) {
	t.Helper()
	joinAtOnce(t)
	here, err := os.Open("/proc/thread-self/ns/net")
	must(t, err)
	defer here.Close()
	dir := t.TempDir()
	var thread sync.WaitGroup
	thread.Go(func() {
		runtime.LockOSThread() // and the thread ends with its mount
		const nanoseconds = "10000000"
		steps := []func() error{
			func() error { return unix.Unshare(unix.CLONE_NEWNS) },
			func() error { return unix.Setns(int(here.Fd()), unix.CLONE_NEWNET) },
			func() error { return unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "") },
			func() error { return unix.Mount("sysfs", dir, "sysfs", 0, "") },
			func() error {
				return os.WriteFile(dir+"/class/net/wire0/gro_flush_timeout", []byte(nanoseconds), 0)
			},
		}
		for i, step := range steps {
			if err = step(); err != nil {
				err = fmt.Errorf("step %d: %w", i, err)
				return
			}
		}
	})
	if thread.Wait(); err != nil {
		t.Skipf("no way to let GRO wait here: %v", err)
	}
}

// A run that a wire without offloads takes apart is joined again, and its
// congestion bits with it: neighbours with other bits stay apart.
func TestKernelAssumptionGROKeepsCongestionBitsApart(t *testing.T) {
	for _, outer := range []int{4, 6} {
		t.Run(fmt.Sprintf("IPv%d", outer), func(t *testing.T) {
			k := newKernelPeer(t, outer, 4, offloads...) // a veth with TSO bypasses GRO
			joinOverTime(t)
			fd, to := k.rawSocket(), sockaddr(k.port.Local())
			level, option := unix.IPPROTO_IP, unix.IP_TOS
			if outer == 6 {
				level, option = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
			}
			joined := map[bool]int{} // whether bits went to and fro → how many messages were runs
			for range 10 {
				for _, mixed := range []bool{false, true} {
					for i := range 8 {
						bits := 1
						if mixed {
							bits = 1 + i%2
						}
						must(t, unix.SetsockoptInt(fd, level, option, bits))
						must(t, unix.Sendto(fd, pattern(i, 100), 0, to))
					}
					joined[mixed] += countRuns(t, k.port, 8, func(i int, ecn uint8) bool {
						return ecn == 1 || mixed && ecn == 2
					})
				}
			}
			if joined[false] == 0 {
				t.Error("nothing is joined, so nothing was shown")
			}
			if joined[true] != 0 {
				t.Errorf("%d runs of datagrams with different bits", joined[true])
			}
		})
	}
}

// countRuns receives n datagrams and returns how many messages held more than
// one; each must bear right bits.
func countRuns(t testing.TB, p *Port, n int, right func(i int, ecn uint8) bool) (runs int) {
	t.Helper()
	inbox := inboxes.Get().(*Inbox)
	defer inboxes.Put(inbox)
	for got := 0; got < n; {
		must(t, p.Recv(inbox))
		for _, m := range inbox.Messages {
			if !right(got, m.ECN) {
				t.Fatalf("datagram %d has the bits %d", got, m.ECN)
			}
			if len(m.Data) > m.Size {
				runs++
			}
			got += len(split(m))
		}
	}
	return runs
}

// Datagrams without a checksum are never part of a run: what came in a run had
// one, and the kernel has verified it. (down.message: sound.)
func TestKernelAssumptionGRONeedsChecksum(t *testing.T) {
	k := newKernelPeer(t, 4, 4, offloads...)
	joinOverTime(t)
	fd, to := k.rawSocket(), sockaddr(k.port.Local())
	joined := map[int]int{}
	for range 10 {
		for without := range 2 {
			must(t, unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, without))
			for i := range 8 {
				must(t, unix.Sendto(fd, pattern(i, 100), 0, to))
			}
			joined[without] += countRuns(t, k.port, 8, func(int, uint8) bool { return true })
		}
	}
	if joined[0] == 0 {
		t.Error("nothing is joined, so nothing was shown")
	}
	if joined[1] != 0 {
		t.Errorf("%d runs of datagrams without a checksum", joined[1])
	}
}

// The peer's frames on a wire without offloads are joined only if that wire
// computes no checksums either. A frame that a kernel on the same host has put
// into a tunnel, and whose inner checksum is still open, says so in its
// sk_buff, and GRO leaves such alone (skb->encapsulation, udp_gro_receive in
// net/ipv4/udp_offload.c). From a real network card all are joined. (What a
// lab's figures for a kernel peer on a wire without offloads can be.)
func TestKernelAssumptionGROLeavesLocalTunnelsAlone(t *testing.T) {
	for name, tc := range map[string]struct {
		off  []string
		runs bool
	}{
		"checksums open": {offloads, false}, "checksums computed": {append([]string{checksums}, offloads...), true},
	} {
		t.Run(name, func(t *testing.T) {
			onWires(t, tc.off, func(t *testing.T, k *kernelPeer) {
				joinAtOnce(t)
				c := k.dial("udp", 5000)
				sendThrough(t, c, 20, 1000)
				for _, f := range k.frames(20) {
					if run := f.message > f.size; run != tc.runs {
						t.Fatalf("a message of %d bytes, size %d", f.message, f.size)
					}
				}
			})
		})
	}
}

func sendThrough(t testing.TB, c net.Conn, n, size int) {
	t.Helper()
	raw, err := c.(*net.UDPConn).SyscallConn()
	must(t, err)
	must(t, raw.Control(func(fd uintptr) {
		must(t, unix.SetsockoptInt(int(fd), unix.IPPROTO_UDP, unix.UDP_SEGMENT, size))
	}))
	_, err = c.Write(pattern(9, n*size))
	must(t, err)
}
