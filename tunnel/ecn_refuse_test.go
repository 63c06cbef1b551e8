package tunnel

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"testing"
	"unsafe"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// refusedMarks makes an Outbox whose IP_TOS or IPV6_TCLASS messages have a
// length that no kernel takes: it refuses each with EINVAL, as it does types
// that it does not know.
func refusedMarks() *Outbox {
	out := NewOutbox()
	for _, c := range out.ctls {
		c.header(segmentSpace).SetLen(unix.CmsgLen(2))
	}
	return out
}

// A kernel that takes no congestion bits gets everything without, runs in one
// piece. ECN goes off for the port and its senders, and that is told once.
func TestPortDemotesECN(t *testing.T) {
	for _, allow := range []Feature{allPort, GSO | ECN, Mmsg | ECN, ECN} {
		for _, lo := range []netip.Addr{loopback4, loopback6} {
			t.Run(fmt.Sprintf("%v/%v", allow, lo), func(t *testing.T) {
				ownNamespace(t)
				var told demotions
				o := PortOptions{Local: netip.AddrPortFrom(lo, 0), Allow: allow, Stop: stopper(t), ECN: true, Demoted: told.note}
				a, b := testPort(t, o), testPort(t, o)
				s := testSender(t, a, o)
				had := a.Features()
				for _, p := range []*Port{s, a} {
					msgs, bits := marked(NewAddr(b.Local()), 70, 5, p.MaxRun())
					if n, err := p.Send(refusedMarks(), msgs); n != 0 || err != nil {
						t.Fatalf("%d refused, %v; first reason %v", n, err, firstErr(msgs))
					}
					sameMarks(t, receiveMarks(t, b, len(bits)), make([]uint8, len(bits)))
				}
				if len(told) != 1 || told[0] != ECN {
					t.Errorf("told %v, want ecn once", told)
				}
				if a.Features() != had&^ECN || s.Features() != had&^(ECN|GRO) {
					t.Errorf("features %v and %v, had %v", a.Features(), s.Features(), had)
				}
			})
		}
	}
}

// A run may be refused both for its bits and for being one. Its datagrams
// arrive in order, and each cause is told once.
func TestPortDemotesECNAndGSO(t *testing.T) {
	ownNamespace(t)
	var told demotions
	o := PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allPort, Stop: stopper(t), Demoted: told.note}
	a, b := testPort(t, o), testPort(t, o)
	if !a.Features().Has(GSO) {
		t.Skip("no GSO here")
	}
	a.caps.maxRun = defaultRoom - 100 // more than any kernel takes
	want := train(0, defaultRoom, 40, 7)
	msgs := runs(NewAddr(b.Local()), want, a.MaxRun())
	for i := range msgs {
		msgs[i].ECN = 2
	}
	if n, err := a.Send(refusedMarks(), msgs); n != 0 || err != nil {
		t.Fatalf("%d refused, %v; first reason %v", n, err, firstErr(msgs))
	}
	sameDatagrams(t, receive(t, b, len(want)), want)
	if len(told) != 2 || told[0] != ECN || told[1] != GSO {
		t.Errorf("told %v, want ecn and gso", told)
	}
}

// Other reasons stay what they are, whatever bits a message bears.
func TestPortKeepsECN(t *testing.T) {
	namespace(t)
	dummy(t, 1400, "10.9.0.1/24")
	for _, allow := range []Feature{allPort, ECN} {
		var told demotions
		a := anyPort(t, allow, stopper(t), &told)
		for to, reason := range map[string]error{
			"10.9.0.2:0": unix.EINVAL, "10.9.0.2:1": unix.EMSGSIZE, "203.0.113.1:1": unix.ENETUNREACH,
		} {
			msgs := runs(NewAddr(netip.MustParseAddrPort(to)), train(0, 4, 1373, 1373), a.MaxRun())
			for i := range msgs {
				msgs[i].ECN = 1
			}
			if n, err := a.Send(NewOutbox(), msgs); n != len(msgs) || err != nil || !errors.Is(msgs[0].Err, reason) {
				t.Errorf("%s: %d of %d refused, %v; reason %v, want %v", to, n, len(msgs), err, msgs[0].Err, reason)
			}
		}
		if len(told) != 0 || !a.Features().Has(ECN) {
			t.Errorf("%v demoted, features are %v", told, a.Features())
		}
	}
}

// Each errno that may mean the bits leads to a second try, any other does not;
// nor does a message that bears none.
func TestPortSuspectsECN(t *testing.T) {
	ownNamespace(t)
	for _, tc := range []struct {
		errno unix.Errno
		ecn   uint8
		off   bool
	}{
		{unix.EINVAL, 1, true}, {unix.EIO, 2, true}, {unix.ENOPROTOOPT, 3, true},
		{unix.EINVAL, 0, false}, {unix.EPERM, 1, false}, {unix.ENETUNREACH, 1, false},
	} {
		var told demotions
		o := PortOptions{Local: netip.AddrPortFrom(loopback4, 0), Allow: allPort, Stop: stopper(t), Demoted: told.note}
		a, b, out := testPort(t, o), testPort(t, o), NewOutbox()
		msgs := runs(NewAddr(b.Local()), train(0, 1, 100, 100), 1)
		msgs[0].ECN = tc.ecn
		out.fill(msgs, true)
		lost, err := a.refusedOne(out, &msgs[0], tc.errno)
		if a.Features().Has(ECN) == tc.off || len(told) == 1 != tc.off || (lost == 0 && err == nil) != tc.off {
			t.Errorf("%v with the bits %d: %d lost, %v; features %v, told %v", tc.errno, tc.ecn, lost, err, a.Features(), told)
		}
	}
}

// sandboxed opens a port, in the caller's network namespace, on a thread whose
// setsockopt of the given option fails with ENOPROTOOPT. The thread ends with
// the call.
func sandboxed(t *testing.T, level, option uint32, o PortOptions) *Port {
	t.Helper()
	space, err := netns.Get()
	must(t, err)
	defer space.Close()
	type result struct {
		port *Port
		skip bool
		err  error
	}
	done := make(chan result, 1)
	go func() {
		runtime.LockOSThread() // for good
		if err := enter(space); err != nil {
			done <- result{nil, false, err}
			return
		}
		if err := refuseOption(level, option); err != nil {
			done <- result{nil, true, err}
			return
		}
		p, err := OpenPort(o)
		done <- result{p, false, err}
	}()
	r := <-done
	if r.skip {
		t.Skipf("no seccomp filters here: %v", r.err)
	}
	must(t, r.err)
	t.Cleanup(func() { must(t, r.port.Close()) })
	return r.port
}

// enter puts the calling thread into a network namespace, unless it is there.
func enter(space netns.NsHandle) error {
	now, err := netns.Get()
	if err != nil {
		return err
	}
	defer now.Close()
	if now.Equal(space) {
		return nil
	}
	return netns.Set(space)
}

// refuseOption puts a filter over the calling thread (seccomp(2)). The low
// halves of a call's arguments decide (struct seccomp_data).
func refuseOption(level, option uint32) error {
	low := uint32(0)
	if one := uint16(1); *(*byte)(unsafe.Pointer(&one)) == 0 {
		low = 4 // big-endian
	}
	load := func(at uint32) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: at}
	}
	unless := func(k uint32, skip uint8) unix.SockFilter {
		return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: skip, K: k}
	}
	ret := func(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }
	prog := []unix.SockFilter{
		load(0), unless(unix.SYS_SETSOCKOPT, 5),
		load(16 + 8 + low), unless(level, 3),
		load(16 + 16 + low), unless(option, 1),
		ret(unix.SECCOMP_RET_ERRNO | uint32(unix.ENOPROTOOPT)),
		ret(unix.SECCOMP_RET_ALLOW),
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	filter := unix.SockFprog{Len: uint16(len(prog)), Filter: &prog[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&filter)), 0, 0)
}

// A port that cannot be told congestion bits opens all the same, tells none,
// and sends none.
func TestPortWithoutECN(t *testing.T) {
	for _, tc := range []struct {
		lo            netip.Addr
		level, option uint32
	}{
		{loopback4, unix.IPPROTO_IP, unix.IP_RECVTOS},
		{loopback6, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS},
	} {
		t.Run(tc.lo.String(), func(t *testing.T) {
			ownNamespace(t)
			o := PortOptions{Local: netip.AddrPortFrom(tc.lo, 0), Allow: allPort, Stop: stopper(t), ECN: true}
			able := testPort(t, o)
			p := sandboxed(t, tc.level, tc.option, o)
			if want := able.Features() &^ ECN; p.Features() != want {
				t.Errorf("features %v, want %v", p.Features(), want)
			}
			for _, way := range [][2]*Port{{able, p}, {p, able}} {
				msgs, bits := marked(NewAddr(way[1].Local()), 8, 5, way[0].MaxRun())
				send(t, way[0], msgs)
				sameMarks(t, receiveMarks(t, way[1], len(bits)), make([]uint8, len(bits)))
			}
		})
	}
}
