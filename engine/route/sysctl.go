package route

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// procSys is where sysctls are read and written. What /proc/sys/net shows
// depends on the network namespace of the thread that looks.
const procSys = "/proc/sys"

// devconfAcceptLocal is IPV4_DEVCONF_ACCEPT_LOCAL (include/uapi/linux/ip.h).
const devconfAcceptLocal = 23

// inNamespace runs f on a thread that is in ns, and waits for it.
func inNamespace(ns netns.NsHandle, f func() error) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		cur, err := netns.GetFromPath("/proc/thread-self/ns/net")
		if err != nil {
			done <- fmt.Errorf("route: own network namespace: %w", err)
			return
		}
		defer cur.Close()
		if cur.Equal(ns) {
			defer runtime.UnlockOSThread()
		} else if err := netns.Set(ns); err != nil {
			done <- fmt.Errorf("route: entering the device's network namespace: %w", err)
			return
		}
		// A thread that changed its namespace stays locked, and so ends here.
		done <- f()
	}()
	return <-done
}

// sysctls returns what the link needs: what we want always, and d's own.
func (d Desired) sysctls() map[string]string {
	out := map[string]string{
		acceptLocal(d.Link):                      "1",
		"net/ipv6/conf/" + d.Link + "/accept_ra": "0",
	}
	if d.wantsIPv6() { // Docker turns IPv6 off for all devices to come
		out["net/ipv6/conf/"+d.Link+"/disable_ipv6"] = "0"
	}
	for k, v := range d.Sysctl {
		out[sysctlPath(k)] = v
	}
	return out
}

func acceptLocal(link string) string { return "net/ipv4/conf/" + link + "/accept_local" }

// sysctlPath turns a sysctl name into a path below /proc/sys, as sysctl(8)
// does: the first separator tells which of the two is the separator, so that a
// device name with a dot can be written (net/ipv4/conf/flannel.1/forwarding).
func sysctlPath(name string) string {
	i := strings.IndexAny(name, "./")
	if i < 0 || name[i] == '/' {
		return name
	}
	return strings.NewReplacer(".", "/", "/", ".").Replace(name)
}

// ensureSysctls makes the values below root hold. It returns the names of
// those that it changed, and why others could not be. It must run in the
// network namespace concerned; link is the index of the device.
func ensureSysctls(root string, link int, want map[string]string) (changed []string, failed map[string]error) {
	failed = make(map[string]error)
	for _, name := range slices.Sorted(maps.Keys(want)) {
		differed, err := ensureSysctl(root, name, want[name])
		if err != nil && strings.HasSuffix(name, "/accept_local") && want[name] == "1" {
			// /proc/sys is read-only in most containers; rtnetlink is not.
			if second := setDevconf(link, devconfAcceptLocal, 1); second != nil {
				err = errors.Join(err, second)
			} else {
				err = nil
			}
		}
		switch {
		case err == nil && differed:
			changed = append(changed, name)
		case errors.Is(err, fs.ErrNotExist) && strings.HasPrefix(name, "net/ipv6/"):
			// A kernel without IPv6 does not speak it either.
		case err != nil:
			failed[name] = fmt.Errorf("sysctl %s=%s: %w", name, want[name], err)
		}
	}
	return changed, failed
}

// ensureSysctl makes one value hold; differs reports that it did not before.
func ensureSysctl(root, name, value string) (differs bool, err error) {
	path := filepath.Join(root, filepath.Clean("/"+name))
	now, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	if strings.TrimSpace(string(now)) == value {
		return false, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return true, err
	}
	_, err = f.WriteString(value)
	return true, errors.Join(err, f.Close())
}

// setDevconf sets an IPv4 device setting through rtnetlink (IFLA_AF_SPEC,
// AF_INET, IFLA_INET_CONF; inet_set_link_af in net/ipv4/devinet.c).
func setDevconf(link int, setting uint16, value uint32) error {
	req := nl.NewNetlinkRequest(unix.RTM_SETLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(link)
	req.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC|unix.NLA_F_NESTED, nil)
	inet := spec.AddRtAttr(unix.AF_INET|unix.NLA_F_NESTED, nil)
	conf := inet.AddRtAttr(iflaInetConf|unix.NLA_F_NESTED, nil)
	conf.AddRtAttr(int(setting), nl.Uint32Attr(value))
	req.AddData(spec)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// iflaInetConf is IFLA_INET_CONF (include/uapi/linux/if_link.h).
const iflaInetConf = 1
