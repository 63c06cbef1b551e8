package e2e

import (
	"net"
	"os/exec"
	"testing"

	"github.com/vishvananda/netlink"

	"weft/cmd/weft/lab"
	"weft/engine/control"
)

// A distribution has the kernel filter strictly by reverse path, and a route was
// left that leads to a peer's pods past the tunnel. What comes from these by the
// tunnel is then dropped by the kernel, after weft has delivered it.
func TestFailureRPFilter(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("sysctl"); err != nil {
		t.Skip("the fix is one for sysctl(8):", err)
	}
	l := newLabUp(t, failing(2, "vxlan"))
	n1, n2 := l.Nodes[0], l.Nodes[1]
	for _, n := range l.Nodes {
		noRPFilter(t, n)
	}
	found(t, finding(t, doctor(t, n1), "rp_filter", ""), control.Pass)
	subnet := n2.Env().Subnet.Masked()
	must(t, n1.Host.Sysctl("net/ipv4/conf/all/rp_filter", "1"))
	must(t, n1.Host.Route("eth0", subnet, n2.Underlay))

	screen(t, n1, "ping", "--count=1", subnet.String())
	ping := pingLayers(t, n1, "--count=2", subnet.String())
	last := ping[len(ping)-1]
	if last.Layer != control.LayerKernel || layer(t, ping, control.LayerEngine).Answered != 2 ||
		layer(t, ping, control.LayerKernel).Answered != 0 || layer(t, ping, control.LayerPod).Answered != 0 {
		t.Errorf("%q fails, want the kernel and the pod, with a good engine: %s", last.Layer, last.Verdict)
	}
	says(t, "the verdict", last.Verdict, "underlay and engine ok, kernel fails", "rp_filter")

	screen(t, n1, "explain", n1.PodAddr().String(), n2.PodAddr().String())
	e := explain(t, n1, n1.PodAddr().String(), n2.PodAddr().String())
	says(t, "the way back", back(e, "kernel").Text, "reverse path filtering", "came in by flannel0", "the way back to it is by eth0")

	screen(t, n1, "doctor", "--quiet")
	c := finding(t, doctor(t, n1), "rp_filter", "")
	found(t, c, control.Fail, "net.ipv4.conf.flannel0.rp_filter is strict", "back through eth0", "the kernel has dropped ", "by reverse path")
	get(t, func() ([]byte, error) { return n1.Host.Exec(within(t), "sh", "-c", c.Fix) })
	reach(t, n1, n2)
	found(t, finding(t, doctor(t, n1), "rp_filter", ""), control.Pass)
	if last := pingLayers(t, n1, "--count=2", subnet.String()); last[len(last)-1].Layer != "" {
		t.Errorf("after %q: %s", c.Fix, last[len(last)-1].Verdict)
	}

	// The fix of the check of routes is enough by itself.
	must(t, n1.Host.Sysctl("net/ipv4/conf/flannel0/rp_filter", "1"))
	found(t, finding(t, doctor(t, n1), "routes", ""), control.Fail, "route "+subnet.String()+" leads to eth0", "ip route del "+subnet.String()+" dev eth0")
	must(t, n1.Host.Netlink().RouteDel(&netlink.Route{Dst: &net.IPNet{IP: subnet.Addr().AsSlice(), Mask: net.CIDRMask(subnet.Bits(), 32)}, Gw: n2.Underlay.AsSlice()}))
	reach(t, n1, n2)
	found(t, finding(t, doctor(t, n1), "rp_filter", ""), control.Pass)
}

// noRPFilter switches the filter off on all links of a node, whatever the
// machine's default is.
func noRPFilter(t *testing.T, n *lab.Node) {
	t.Helper()
	for _, link := range get(t, n.Host.Netlink().LinkList) {
		must(t, n.Host.Sysctl("net/ipv4/conf/"+link.Attrs().Name+"/rp_filter", "0"))
	}
	must(t, n.Host.Sysctl("net/ipv4/conf/all/rp_filter", "0"))
}

// back is the stage of that name on the way back.
func back(e control.Explanation, stage string) (s control.Step) {
	for _, x := range e.Return {
		if x.Stage == stage {
			s = x
		}
	}
	return s
}
