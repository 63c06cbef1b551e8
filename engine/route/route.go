package route

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// Protocol is the origin recorded in every route that this package installs
// (rtm_protocol; "ip route show proto 241"). Numbers up to 4 are the kernel's
// and the administrator's, and include/uapi/linux/rtnetlink.h assigns others
// to routing daemons up to 192; this one is free there and in iproute2's
// rt_protos.
const Protocol = 0xf1

// defaultMetric6 is what the kernel makes of an IPv6 route without a metric
// (IP6_RT_PRIO_USER).
const defaultMetric6 = 1024

// Desired is the kernel state that should hold.
type Desired struct {
	Link   string            // device name, such as flannel0; must exist
	MTU    int               // bytes
	Addrs  []netip.Prefix    // the device's addresses, link-local ones aside
	Routes []Route           // all routes of ours; others of ours are removed
	Sysctl map[string]string // best effort, such as net.ipv4.conf.flannel0.forwarding=1

	// Partial: not all routes are known yet. Of ours, those with a gateway
	// (Via) on another device than Link that are not wanted stay as they are,
	// until a Set without it.
	Partial bool

	// Family limits what is ours to routes of one address family, for devices
	// of which each has its own: unix.AF_INET or unix.AF_INET6; 0: both.
	Family int

	asked []netip.Addr // what vias returns; in normal form only
}

// A Route is one entry of the main routing table.
type Route struct {
	Dst       netip.Prefix
	Via       netip.Addr // gateway; the zero value: reached directly through Link
	Link      string     // device; empty: Desired.Link
	Direct    bool       // only while Via is on a link of this host, whose device is then used; Link and Onlink stay unset
	Onlink    bool       // take Via to be reachable on Link whatever the addresses say
	Src       netip.Addr // preferred source address; the zero value: the kernel's choice
	Blackhole bool       // drop silently, unless another's route has this place; only Dst and Metric count
	Metric    int        // 0: the kernel's default, 0 for IPv4 and 1024 for IPv6
}

// String describes the route as "ip route" would.
func (r Route) String() string {
	var b strings.Builder
	if r.Blackhole {
		b.WriteString("blackhole ")
	}
	b.WriteString(r.Dst.String())
	if r.Via.IsValid() && !r.Blackhole {
		fmt.Fprintf(&b, " via %s", r.Via)
	}
	if r.Link != "" && !r.Blackhole {
		fmt.Fprintf(&b, " dev %s", r.Link)
	}
	if r.Src.IsValid() {
		fmt.Fprintf(&b, " src %s", r.Src)
	}
	if r.Metric != 0 {
		fmt.Fprintf(&b, " metric %d", r.Metric)
	}
	if r.Onlink {
		b.WriteString(" onlink")
	}
	if r.Direct {
		b.WriteString(" while on a link")
	}
	return b.String()
}

// normal returns d in the one form in which two equal states look equal, or an
// error that names the field and the value. It shares nothing with d.
func (d Desired) normal() (Desired, error) {
	var errs []error
	if d.Link == "" || len(d.Link) >= unix.IFNAMSIZ || strings.ContainsAny(d.Link, "/ ") {
		errs = append(errs, fmt.Errorf("route: Link: %q is no device name", d.Link))
	}
	if d.MTU < 68 || d.MTU > 65535 { // RFC 791 section 3.2; IP_MAX_MTU
		errs = append(errs, fmt.Errorf("route: MTU: %d is not within 68..65535", d.MTU))
	}
	out := Desired{Link: d.Link, MTU: d.MTU, Partial: d.Partial, Family: d.Family, Sysctl: make(map[string]string)}
	for k, v := range d.Sysctl {
		out.Sysctl[k] = v
	}
	for _, a := range d.Addrs {
		if !a.IsValid() || a.Addr().Is4In6() {
			errs = append(errs, fmt.Errorf("route: Addrs: %v is no address", a))
		}
		out.Addrs = append(out.Addrs, a)
	}
	seen := make(map[key]Route)
	for _, r := range d.Routes {
		n, err := r.normal(d.Link)
		if twin, dup := seen[n.key()]; dup && err == nil {
			err = fmt.Errorf("route: Routes: %s and %s have the same destination and metric", twin, n)
		}
		if err != nil {
			errs = append(errs, err)
			continue
		}
		seen[n.key()] = n
		out.Routes = append(out.Routes, n)
	}
	out.asked = out.vias()
	return out, errors.Join(errs...)
}

func (r Route) normal(link string) (Route, error) {
	if !r.Dst.IsValid() || r.Dst.Addr().Is4In6() {
		return r, fmt.Errorf("route: Routes: destination %v is no network", r.Dst)
	}
	r.Dst = r.Dst.Masked()
	v4 := r.Dst.Addr().Is4()
	if r.Direct {
		if !r.Via.IsValid() || r.Blackhole || r.Link != "" || r.Onlink {
			return r, fmt.Errorf("route: Routes: %s: Direct needs Via, and excludes Blackhole, Link and Onlink", r)
		}
	} else if r.Blackhole {
		r.Via, r.Link, r.Onlink, r.Src = netip.Addr{}, "", false, netip.Addr{}
	} else if r.Link == "" {
		r.Link = link
	}
	for _, a := range []netip.Addr{r.Via, r.Src} {
		if a.IsValid() && a.Is4() != v4 {
			return r, fmt.Errorf("route: Routes: %s: %s is of the other address family", r, a)
		}
	}
	if r.Metric < 0 {
		return r, fmt.Errorf("route: Routes: %s: metric %d is negative", r, r.Metric)
	}
	if r.Metric == 0 && !v4 {
		r.Metric = defaultMetric6
	}
	return r, nil
}

// alike reports whether d and e, both in normal form, differ at most in their
// routes.
func (d Desired) alike(e Desired) bool {
	return d.Link == e.Link && d.MTU == e.MTU && slices.Equal(d.Addrs, e.Addrs) && maps.Equal(d.Sysctl, e.Sysctl)
}

// wantsIPv6 reports whether d has an IPv6 address or route.
func (d Desired) wantsIPv6() bool {
	for _, a := range d.Addrs {
		if a.Addr().Is6() {
			return true
		}
	}
	for _, r := range d.Routes {
		if r.Dst.Addr().Is6() {
			return true
		}
	}
	return false
}

// A key is what the kernel holds to be the same place in the table.
type key struct {
	dst    netip.Prefix
	metric int
}

func (r Route) key() key { return key{r.Dst, r.Metric} }
