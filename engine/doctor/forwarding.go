package doctor

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"weft/engine/control"
)

// checkForwarding looks at both families that the node uses; without a node
// IPv4 alone, as its use of IPv6 is not known.
func checkForwarding(v *visit) []control.Check {
	four, six := true, false
	if v.Status != nil {
		four, six = v.Status.Node.Subnet.IsValid() || !v.Status.Node.Subnet6.IsValid(), v.Status.Node.Subnet6.IsValid()
	}
	var bad []control.Check
	var good []string
	look := func(path, name string) {
		switch value, err := v.System.Read("/proc/sys/" + path); {
		case err != nil:
			bad = append(bad, skip("%v", err)...)
		case value == "0":
			bad = append(bad, fail(name+" is 0: the kernel does not forward packets between pods and the tunnel",
				"most systems start with forwarding off", "sysctl -w "+name+"=1")...)
		default:
			good = append(good, name+" is "+value)
		}
	}
	if four {
		look("net/ipv4/ip_forward", "net.ipv4.ip_forward")
		for _, d := range v.devices() { // may be off although the former is on
			if value, err := v.System.Read("/proc/sys/net/ipv4/conf/" + d + "/forwarding"); err == nil && value == "0" {
				look("net/ipv4/conf/"+d+"/forwarding", sysctlName("net/ipv4/conf", d, "forwarding"))
			}
		}
	}
	if six {
		look("net/ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding")
	}
	return found(bad, pass("%s", strings.Join(good, ", ")))
}

// sysctlName writes a name for sysctl(8), in which the dots of a device's name
// are slashes.
func sysctlName(path, device, leaf string) string {
	return strings.ReplaceAll(path, "/", ".") + "." + strings.ReplaceAll(device, ".", "/") + "." + leaf
}

// devices are the node's own, as in flannel0.
func (v *visit) devices() []string {
	if v.Status == nil {
		return nil
	}
	return v.Status.Node.Devices
}

// The modes of the reverse path filter (Documentation/networking/ip-sysctl.rst).
const (
	rpOff = iota
	rpStrict
	rpLoose
)

// rpFilter returns the mode in force on a link: the greater of its own and of
// that for all.
func (v *visit) rpFilter(link string) (int, error) {
	all, err := v.number("/proc/sys/net/ipv4/conf/all/rp_filter")
	if err != nil {
		return 0, err
	}
	own, err := v.number("/proc/sys/net/ipv4/conf/" + link + "/rp_filter")
	return max(all, own), err
}

// checkRPFilter finds where strict filtering drops what is in order: a strict
// link drops a packet when the way back to its source is another link. In the
// tunnel that are peers whose subnet is reached past it, on the underlay nodes
// that are reached by another interface.
func checkRPFilter(v *visit) []control.Check {
	if v.Status == nil {
		value, err := v.number("/proc/sys/net/ipv4/conf/all/rp_filter")
		if err != nil {
			return skip("%v", err)
		}
		return info("net.ipv4.conf.all.rp_filter is %d; what it drops is not known without a daemon", value)
	}
	var bad []control.Check
	for _, d := range v.devices() {
		bad = append(bad, v.strictness(d, true)...)
	}
	bad = append(bad, v.strictness(v.Status.Node.Iface, false)...)
	if len(bad) == 0 {
		text := "no link drops by reverse path what comes from a peer"
		return pass("%s%s", text, v.dropped())
	}
	return bad
}

// strictness judges one link: a device of ours, or the underlay.
func (v *visit) strictness(link string, ours bool) []control.Check {
	if link == "" {
		return nil
	}
	mode, err := v.rpFilter(link)
	if err != nil {
		return skip("%v", err)
	}
	if mode != rpStrict {
		return nil
	}
	var astray []string
	for _, p := range v.Status.Peers {
		source := p.Public
		if ours {
			source = firstHost(p.Subnet)
		}
		if !source.Is4() {
			continue
		}
		r, err := v.System.RouteTo(source)
		if err == nil && r.Link != "" && r.Link != link && (!ours || !slices.Contains(v.devices(), r.Link)) {
			astray = append(astray, fmt.Sprintf("%s (back through %s)", source, r.Link))
		}
	}
	if len(astray) == 0 {
		return nil
	}
	name := sysctlName("net/ipv4/conf", link, "rp_filter")
	cause := "the way back to these sources is not the link that their packets come in by"
	if all, _ := v.number("/proc/sys/net/ipv4/conf/all/rp_filter"); all == rpStrict { // it was read a moment ago
		cause += fmt.Sprintf("; net.ipv4.conf.all.rp_filter=%d makes it strict, and loose, which is greater, wins over that", all)
	}
	return fail(fmt.Sprintf("%s is strict and drops what comes from %s%s", name, some(astray), v.dropped()),
		cause, fmt.Sprintf("sysctl -w %s=%d", name, rpLoose))
}

// firstHost returns the address after a subnet's first: its gateway, as a rule.
func firstHost(p netip.Prefix) netip.Addr {
	if !p.IsValid() {
		return netip.Addr{}
	}
	return p.Masked().Addr().Next()
}

// dropped tells how many packets the filter has dropped on this host so far.
func (v *visit) dropped() string {
	n, ok := v.netstat("IPReversePathFilter")
	if !ok || n == 0 {
		return ""
	}
	return fmt.Sprintf("; the kernel has dropped %d packets by reverse path on all links together", n)
}

// netstat reads a counter of /proc/net/netstat, in which a line of names comes
// before the line of their values.
func (v *visit) netstat(name string) (uint64, bool) {
	text, err := v.System.Read("/proc/thread-self/net/netstat")
	if err != nil {
		return 0, false
	}
	lines := strings.Split(text, "\n")
	for i := 0; i+1 < len(lines); i += 2 {
		names, values := strings.Fields(lines[i]), strings.Fields(lines[i+1])
		if at := slices.Index(names, name); at >= 0 && at < len(values) {
			n, err := strconv.ParseUint(values[at], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// some writes the first few of a list.
func some(list []string) string {
	const most = 3
	if len(list) <= most {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
}
