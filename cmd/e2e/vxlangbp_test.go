package e2e

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"weft/cmd/weft/lab"
)

// With GBP on, frames may bear a group policy, which can be asked for.
func TestVXLANPolicy(t *testing.T) {
	n, k, p, mac, kernelMAC := framesLab(t, lab.Options{NetConf: conf("4", `{"Type":"vxlan","GBP":true}`),
		Extra: func(n *lab.Node) (args, env []string) {
			if n.Index == 1 {
				args = append(args, "--gbp-policy=0,0x10-0x20,999")
			}
			return args, nil
		}})
	exchange(t, n, k, mega, 499)
	t.Run("by a socket's mark", func(t *testing.T) { marked(t, n, k) })
	cases := []frameCase{}
	for name, word := range map[string]uint32{"none": 0x08000000, "0": 0x88000000, "0x10": 0x88000010, "0x20": 0x88000020, "999": 0x880003e7,
		"without the G bit": 0x08000010, "don't learn": 0x88400010, "applied": 0x88080010, "reserved bit in the second byte": 0x88010010} {
		cases = append(cases, frameCase{name: name, change: func(f *frame) { f.flags = word }})
	}
	for name, word := range map[string]uint32{"reserved bit in the first byte": 0x8c000010, "no I bit": 0x80000010} {
		cases = append(cases, frameCase{name: name, change: func(f *frame) { f.flags = word }, reason: "vxlan_invalid_hdr"})
	}
	log := markLog(t, n)
	drops := p.compare(t, n, k, cases, cases, mac, kernelMAC)
	seen := log.find(t, `"msg":"stopped"`)[0].Policies
	for policy, least := range map[string]uint64{"0x0000": 1, "0x0010": marks, "0x03e7": marks} {
		if seen[policy] < least {
			t.Errorf("policy %s: %d frames shown, want %d at least", policy, seen[policy], least)
		}
	}
	if seen["0x000f"] != 0 {
		t.Errorf("frames of a policy that is not accepted are shown as received: %v", seen)
	}
	if got := drops["vxlan_gbp_policy"]; got != 3*marks {
		t.Errorf("vxlan_gbp_policy: counted %d, want %d", got, 3*marks)
	}
}

// marks is how many datagrams are sent with each mark.
const marks = 10

// marked lets a kernel node send with marks, which its device makes policies of.
func marked(t *testing.T, n, k *lab.Node) {
	in := openUDP(t, n.Pod, netip.AddrPortFrom(n.PodAddr(), 0))
	out := openUDP(t, k.Host, netip.AddrPortFrom(k.Env().Subnet.Addr(), 0))
	for _, c := range []struct {
		mark     int
		accepted bool
	}{{0, true}, {0x0f, false}, {0x10, true}, {0x15, true}, {0x20, true}, {0x21, false}, {999, true}, {0xffff, false}} {
		out.set(t, unix.SOL_SOCKET, unix.SO_MARK, c.mark)
		for range marks {
			must(t, out.sendTo(payload(c.mark%16+1), in.addr))
		}
		out.set(t, unix.SOL_SOCKET, unix.SO_MARK, 0)
		must(t, out.sendTo([]byte("the end of this mark"), in.addr))
		got := 0
		for buf := make([]byte, 64); ; got++ {
			size, _, err := in.receive(within(t), buf)
			must(t, err)
			if size == 20 {
				break
			}
		}
		if want := map[bool]int{true: marks}[c.accepted]; got != want {
			t.Errorf("policy %#x: %d of %d delivered, want %d", c.mark, got, marks, want)
		}
	}
	// A weft node cannot mark what it sends, and need not: the other side
	// takes frames without a policy.
	awaitPing(t, n.Pod, k.PodAddr())
}
