package rtmon

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"reflect"
	"testing"

	"github.com/vishvananda/netlink"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"weft/engine/internal/nstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message builds an rtnetlink message of the given type.
func message(typ uint16, body ...byte) []byte {
	b := make([]byte, unix.SizeofNlMsghdr)
	binary.NativeEndian.PutUint32(b, uint32(len(b)+len(body)))
	binary.NativeEndian.PutUint16(b[4:], typ)
	b = append(b, body...)
	return append(b, make([]byte, align(len(b))-len(b))...)
}

func TestParse(t *testing.T) {
	name := []byte{9, 0, unix.IFLA_IFNAME, 0, 'e', 't', 'h', '0', 0, 0, 0, 0}
	if binary.NativeEndian.Uint16(name) != 9 {
		t.Skip("the vectors are little-endian")
	}
	link := append([]byte{unix.AF_UNSPEC, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, name...)
	port := append([]byte{}, link...)
	port[0] = unix.AF_BRIDGE
	addr := []byte{unix.AF_INET, 24, 0, 0, 7, 0, 0, 0}
	route := []byte{unix.AF_INET, 16, 0, 0, unix.RT_TABLE_MAIN, 0xf1, 0, 1, 0, 0, 0, 0,
		8, 0, unix.RTA_DST, 0, 10, 5, 0, 0, 8, 0, unix.RTA_OIF, 0, 7, 0, 0, 0}
	for _, c := range []struct {
		name string
		in   []byte
		want Event
	}{
		{"link", message(unix.RTM_NEWLINK, link...), Event{Kind: Link, Index: 7, Name: "eth0"}},
		{"link gone", message(unix.RTM_DELLINK, link...), Event{Kind: LinkGone, Index: 7, Name: "eth0"}},
		{"bridge port gone", message(unix.RTM_DELLINK, port...), Event{Kind: Link, Index: 7, Name: "eth0"}},
		{"address", message(unix.RTM_DELADDR, addr...), Event{Kind: Addr, Index: 7}},
		{"route", message(unix.RTM_NEWROUTE, route...), Event{Kind: Route, Index: 7, Table: 254, Protocol: 0xf1}},
		{"rule", message(unix.RTM_NEWRULE, unix.AF_INET, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), Event{Kind: Rule}},
	} {
		got := parse(c.in)
		if len(got) != 1 {
			t.Errorf("%s: %d events", c.name, len(got))
			continue
		}
		if c.want.Kind == Route && got[0].Dst.String() != "10.5.0.0/16" {
			t.Errorf("%s: destination %v", c.name, got[0].Dst)
		}
		if got[0].Dst = c.want.Dst; !reflect.DeepEqual(got[0], c.want) {
			t.Errorf("%s: %+v, want %+v", c.name, got[0], c.want)
		}
	}
	two := append(message(unix.RTM_NEWADDR, addr...), message(unix.RTM_NEWROUTE, route...)...)
	if got := parse(two); len(got) != 2 {
		t.Errorf("two messages in one datagram: %+v", got)
	}
	for i := range two { // cut anywhere: fewer events, no panic
		if got := parse(two[:i]); len(got) > 1 {
			t.Errorf("cut at %d: %+v", i, got)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(message(unix.RTM_NEWLINK, make([]byte, 40)...))
	f.Add(message(unix.RTM_NEWROUTE, make([]byte, 40)...))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if n := len(parse(b)); n > len(b)/unix.SizeofNlMsghdr {
			t.Errorf("%d events in %d bytes", n, len(b))
		}
	})
}

func TestNext(t *testing.T) {
	nstest.Enter(t)
	m, err := Open(Links)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "here"}}); err != nil {
		t.Fatal(err)
	}
	for seen := false; !seen; {
		events, err := m.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, ev := range events {
			seen = seen || ev.Kind == Link && ev.Name == "here"
		}
	}
}

// Rules of both families are told of.
func TestRules(t *testing.T) {
	nstest.Enter(t)
	m, err := Open(Rules)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	for _, family := range []int{netlink.FAMILY_V4, netlink.FAMILY_V6} {
		r := netlink.NewRule()
		r.Family, r.Table, r.Priority = family, 100, 100
		if err := netlink.RuleAdd(r); err != nil {
			t.Fatal(err)
		}
		for seen := false; !seen; {
			events, err := m.Next(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, ev := range events {
				seen = seen || ev.Kind == Rule
			}
		}
	}
}

// An ended context fails Next, and does not spoil the next one.
func TestNextContext(t *testing.T) {
	nstest.Enter(t)
	m, err := Open(Links)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() {
		_, err := m.Next(ctx)
		ended <- err
	}()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Next: %v", err)
	}
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "here"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Next(t.Context()); err != nil {
		t.Errorf("Next with a new context: %v", err)
	}
}

// More events than the buffer holds are reported as a loss, not as an end.
func TestOverflow(t *testing.T) {
	nstest.Enter(t)
	m, err := Open(Links | Addrs | Routes)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	rc, err := m.f.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := rc.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, 2048) }); err != nil {
		t.Fatal(err)
	}
	for i := range 16 {
		b := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "b" + string(rune('a'+i))}}
		if err := netlink.LinkAdd(b); err != nil {
			t.Fatal(err)
		}
	}
	for {
		if _, err = m.Next(t.Context()); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrLost) {
		t.Fatalf("Next: %v", err)
	}
	m.Close()
	if _, err := m.Next(t.Context()); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Next after Close: %v", err)
	}
}
