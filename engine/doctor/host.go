package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"weft/engine/control"
)

// hostRows are the checks of the host.
var hostRows = []row{
	{"tun", "the device node /dev/net/tun opens", checkTUN},
	{"caps", "the capabilities of the process", checkCaps},
	{"userns", "whether users other than root may make namespaces", checkUserns},
	{"modules", "kernel modules that weft does without", checkModules},
	{"ip_forward", "the kernel forwards packets", checkForwarding},
	{"rp_filter", "the reverse path filter lets in what weft delivers", checkRPFilter},
	{"forward-policy", "packet filters let overlay packets be forwarded", checkForwardPolicy},
	{"port-policy", "packet filters let datagrams of other nodes in and ours out", checkPortPolicy},
	{"nft-legacy", "rules are in one of iptables' two places, not in both", checkBothTables},
	{"br_netfilter", "bridged packets and iptables", checkBridgeFilter},
	{"conntrack", "room in the table of connections", checkConntrack},
	{"udp-rcvbuf", "receive buffers, and datagrams that found them full", checkReceiveBuffer},
	{"udp-sndbuf", "send buffers", checkSendBuffer},
}

func checkTUN(v *visit) []control.Check {
	t, err := v.System.TUN()
	if err == nil {
		text := "/dev/net/tun opens"
		if t.Vnet {
			text += ", vnet_hdr"
		}
		if t.MultiQueue {
			text += ", multi-queue"
		}
		return pass("%s", text)
	}
	cause, fix := tunAdvice(err)
	text := fmt.Sprintf("/dev/net/tun does not open: %v", err)
	if v.Status != nil && v.Status.Engine.Open { // it was handed over, or is in another namespace
		return warn(text, cause+"; the node holds its device already, but could not open it again", fix)
	}
	return fail(text, cause, fix)
}

func tunAdvice(err error) (cause, fix string) {
	switch {
	case errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
		return "the kernel has no TUN driver loaded", "modprobe tun"
	case errors.Is(err, unix.EPERM):
		return "a device cgroup or a sandbox forbids it", "allow the device to the container: --device /dev/net/tun; or DeviceAllow=/dev/net/tun rw in the unit"
	case errors.Is(err, fs.ErrNotExist):
		return "there is no device node; in a container it has to be mounted",
			"modprobe tun; mkdir -p /dev/net; mknod -m 666 /dev/net/tun c 10 200"
	case errors.Is(err, fs.ErrPermission):
		return "its mode does not let this user open it; 0666 is usual and safe", "chmod 666 /dev/net/tun"
	}
	return "the kernel refuses the device", "modprobe tun"
}

// capNames names the capabilities that matter here (linux/capability.h).
var capNames = map[int]string{unix.CAP_NET_BIND_SERVICE: "NET_BIND_SERVICE", unix.CAP_NET_ADMIN: "NET_ADMIN",
	unix.CAP_NET_RAW: "NET_RAW", unix.CAP_SYS_ADMIN: "SYS_ADMIN", unix.CAP_SYS_MODULE: "SYS_MODULE"}

func checkCaps(v *visit) []control.Check {
	caps, uid, err := v.caps()
	if err != nil {
		return skip("%v", err)
	}
	who := "root"
	if uid != 0 {
		who = fmt.Sprintf("unprivileged uid %d", uid)
	}
	if caps&(1<<unix.CAP_NET_ADMIN) != 0 {
		if v.aside() {
			return pass("this process has %s (%s)", capText(caps), who)
		}
		return pass("%s (%s)", capText(caps), who)
	}
	text := fmt.Sprintf("%s (%s)", capText(caps), who)
	if v.aside() {
		return info("this process has %s; to make a device `weft up` needs NET_ADMIN", text)
	}
	return warn(text, "without NET_ADMIN the node cannot repair its device and routes, nor raise its socket buffers",
		"run it as root, or give it the capability: setcap cap_net_admin+ep "+"$(command -v weft)")
}

// aside reports whether what is seen of this process is not the node's.
func (v *visit) aside() bool { return v.Status == nil || v.Beside }

// caps returns the effective capabilities and the user of this process.
func (v *visit) caps() (caps uint64, uid int, err error) {
	text, err := v.System.Read("/proc/self/status")
	if err != nil {
		return 0, 0, err
	}
	uid = -1
	var seen bool
	for line := range strings.Lines(text) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		switch f := strings.Fields(value); {
		case name == "CapEff" && len(f) == 1:
			caps, err = strconv.ParseUint(f[0], 16, 64)
			seen = err == nil
		case name == "Uid" && len(f) == 4:
			uid, _ = strconv.Atoi(f[1]) // -1 and 0 alike mean that it is not told as unprivileged
		}
	}
	if !seen {
		return 0, 0, fmt.Errorf("/proc/self/status has no readable CapEff")
	}
	return caps, uid, nil
}

func capText(caps uint64) string {
	if caps == 0 {
		return "no capability"
	}
	var names []string
	for bit := range 64 {
		if name := capNames[bit]; name != "" && caps&(1<<bit) != 0 {
			names = append(names, name)
			caps &^= 1 << bit
		}
	}
	if caps != 0 {
		names = append(names, "others")
	}
	if len(names) == 1 {
		return names[0] + " only"
	}
	return strings.Join(names, ", ")
}

// usernsLimits are settings that keep users from making namespaces.
var usernsLimits = []struct{ path, forbids, fix string }{
	{"kernel/apparmor_restrict_unprivileged_userns", "1", "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile for weft with the rule `userns,`"},
	{"kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"},
	{"user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces=15000"},
}

// checkUserns concerns rootless nodes and `weft lab`; nobody else needs it, so
// it does not fail.
func checkUserns(v *visit) []control.Check {
	seen := 0
	for _, l := range usernsLimits {
		value, err := v.System.Read("/proc/sys/" + l.path)
		if err != nil {
			continue // the kernel has no such limit
		}
		seen++
		if value == l.forbids {
			return []control.Check{{Verdict: control.Info, Text: "only root may make user namespaces: `weft lab` and rootless nodes need root here",
				Cause: fmt.Sprintf("%s is %s", strings.ReplaceAll(l.path, "/", "."), value), Fix: l.fix}}
		}
	}
	if seen == 0 {
		return skip("none of the settings about user namespaces can be read")
	}
	return pass("users may make namespaces")
}

func checkModules(v *visit) []control.Check {
	var words []string
	for _, name := range []string{"vxlan", "wireguard"} {
		word := "absent or not loaded"
		if _, err := v.System.Read("/sys/module/" + name + "/initstate"); err == nil {
			word = "loaded"
		} else if _, err := v.System.Read("/sys/module/" + name + "/uevent"); err == nil || errors.Is(err, fs.ErrPermission) {
			word = "built in"
		}
		words = append(words, name+": "+word)
	}
	return info("%s; weft needs neither", strings.Join(words, ", "))
}

func checkBridgeFilter(v *visit) []control.Check {
	value, err := v.System.Read("/proc/sys/net/bridge/bridge-nf-call-iptables")
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return info("br_netfilter: absent; weft does not need it, kube-proxy in iptables mode does")
	case err != nil:
		return skip("%v", err)
	case value == "0":
		return info("br_netfilter is loaded, but net.bridge.bridge-nf-call-iptables is 0: kube-proxy in iptables mode needs 1")
	}
	return info("br_netfilter is loaded: packets between pods of this node pass iptables too")
}

// number reads a file that holds one number.
func (v *visit) number(path string) (int, error) {
	text, err := v.System.Read(path)
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s holds %q, not a number", path, text)
	}
	return n, nil
}

func checkConntrack(v *visit) []control.Check {
	count, err := v.number("/proc/sys/net/netfilter/nf_conntrack_count")
	if errors.Is(err, fs.ErrNotExist) {
		return pass("connections are not tracked here")
	}
	limit, err2 := v.number("/proc/sys/net/netfilter/nf_conntrack_max")
	if err = errors.Join(err, err2); err != nil {
		return skip("%v", err)
	}
	text := fmt.Sprintf("%d of %d connections tracked", count, limit)
	fix := fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*limit)
	switch {
	case limit > 0 && count >= limit:
		return fail(text+": the table is full", "the kernel drops packets of new connections", fix)
	case limit > 0 && count*5 >= limit*4:
		return warn(text, "when the table is full the kernel drops packets of new connections", fix)
	}
	return pass("%s", text)
}

func checkReceiveBuffer(v *visit) []control.Check { return v.checkBuffer("rmem_max") }
func checkSendBuffer(v *visit) []control.Check    { return v.checkBuffer("wmem_max") }

// forces reports whether this process may set buffers beyond the limits.
func (v *visit) forces() bool {
	caps, _, err := v.caps()
	if err != nil || caps&(1<<unix.CAP_NET_ADMIN) == 0 {
		return false
	}
	users, err := v.System.Read("/proc/self/uid_map") // user_namespaces(7)
	return err != nil || strings.Join(strings.Fields(users), " ") == "0 0 4294967295"
}

// checkBuffer compares the limit with what the node asks for. A process with
// NET_ADMIN in the initial user namespace is not bound by it (SO_RCVBUFFORCE,
// socket(7)).
func (v *visit) checkBuffer(sysctl string) []control.Check {
	var drops uint64
	if v.Status != nil && sysctl == "rmem_max" {
		for _, p := range v.Status.Engine.Ports {
			drops += p.Drops
		}
	}
	limit, err := v.number("/proc/sys/net/core/" + sysctl)
	if err != nil && drops == 0 {
		return skip("%v", err) // only the initial network namespace shows it
	}
	fix := fmt.Sprintf("sysctl -w net.core.%s=%d", sysctl, max(v.Buffer, 2*limit))
	bound := !v.aside() && !v.forces()
	lost := fmt.Sprintf("; %d datagrams found the receive buffer full", drops)
	switch text := fmt.Sprintf("net.core.%s %d, %d wanted", sysctl, limit, v.Buffer); {
	case err != nil:
		return warn(strings.TrimPrefix(lost, "; "), "the node cannot read as fast as datagrams arrive", "give the node more processors, or shape what is sent to it")
	case v.Buffer > limit && bound && drops > 0:
		return warn(text+lost, "bursts are longer than the buffer, and without NET_ADMIN on the host the limit holds for this node", fix)
	case drops > 0:
		return warn(text+lost, "the node could not read as fast as datagrams arrived", "give the node more processors, or shape what is sent to it")
	case v.Buffer > limit && bound:
		return warn(text, "without NET_ADMIN on the host the limit holds for this node", fix)
	case v.Buffer == 0:
		return pass("net.core.%s %d", sysctl, limit)
	case v.Buffer > limit && v.aside():
		return info("%s: a node without NET_ADMIN would have to do with less", text)
	case v.Buffer > limit:
		return pass("%s: the node's NET_ADMIN overrides the limit", text)
	default:
		return pass("%s", text)
	}
}
