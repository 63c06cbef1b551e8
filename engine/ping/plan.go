package ping

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"weft/engine/control"
	"weft/engine/ping/echo"
)

// Bounds of a request.
const (
	maxCount    = 100_000
	minInterval = time.Millisecond
	maxInterval = time.Hour
	maxTimeout  = time.Minute
	defaultSize = 84 // bytes, as ping(8) sends by IPv4
)

// layers are all layers, in the order in which they are tried.
var layers = []string{control.LayerUnderlay, control.LayerEngine, control.LayerKernel, control.LayerPod}

// A plan is a request that was found good, with the defaults filled in.
type plan struct {
	peer              control.Peer
	layers            []string // in the order of the list of all
	count             int
	interval, timeout time.Duration
	size              int  // bytes
	sized             bool // the size was asked for
	df, sweep         bool
	from, to          netip.Addr // of the layer pod; invalid: the bridges'
	family            family     // of the inner packets
}

// A family is that of an address.
type family bool

const (
	inet4 family = false
	inet6 family = true
)

func familyOf(a netip.Addr) family { return family(a.Is6()) }

func (f family) String() string {
	if f == inet6 {
		return "IPv6"
	}
	return "IPv4"
}

// subnet returns that of p in the family.
func (f family) subnet(p control.Peer) netip.Prefix {
	if f == inet6 {
		return p.Subnet6
	}
	return p.Subnet
}

// pick returns the first address of the family; invalid: there is none.
func (f family) pick(all []netip.Addr) netip.Addr {
	for _, a := range all {
		if a.IsValid() && familyOf(a) == f {
			return a
		}
	}
	return netip.Addr{}
}

func badf(field, format string, args ...any) error {
	return &control.Error{Message: field + ": " + fmt.Sprintf(format, args...), Field: field}
}

func newPlan(r control.PingRequest, f Facts) (p plan, err error) {
	p = plan{count: r.Count, df: r.DF, sweep: r.Sweep, size: r.Size}
	p.sized = r.Size != 0 && r.Size != defaultSize
	if p.count == 0 {
		p.count = 3
	}
	if p.count < 1 || p.count > maxCount {
		return p, badf("count", "%d, want 1 to %d", r.Count, maxCount)
	}
	if p.interval, err = seconds("interval", r.Interval, 200*time.Millisecond, minInterval, maxInterval); err != nil {
		return p, err
	}
	if p.timeout, err = seconds("timeout", r.Timeout, time.Second, minInterval, maxTimeout); err != nil {
		return p, err
	}
	if p.layers, err = order(r.Layers); err != nil {
		return p, err
	}
	if p.from, err = p.podAddr("from", r.From); err != nil {
		return p, err
	}
	if p.to, err = p.podAddr("to", r.To); err != nil {
		return p, err
	}
	if err := p.find(r.Peer, f); err != nil {
		return p, err
	}
	return p, p.checkSize(r.Size)
}

// seconds reads a number of seconds; 0 stands for the default.
func seconds(field string, s float64, preset, low, high time.Duration) (time.Duration, error) {
	if s == 0 {
		return preset, nil
	}
	if !(s >= low.Seconds() && s <= high.Seconds()) { // which NaN is not
		return 0, badf(field, "%v seconds, want %v to %v", s, low.Seconds(), high.Seconds())
	}
	return time.Duration(s * float64(time.Second)), nil
}

// order returns the wanted layers, lowest first and each once.
func order(want []string) (in []string, err error) {
	if len(want) == 0 {
		return layers, nil
	}
	for _, w := range want {
		if !slices.Contains(layers, w) {
			return nil, badf("layers", "%q, want some of %q", w, layers)
		}
	}
	for _, l := range layers {
		if slices.Contains(want, l) {
			in = append(in, l)
		}
	}
	return in, nil
}

// podAddr reads an address of the layer pod.
func (p *plan) podAddr(field, s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(s)
	if err != nil || a.Zone() != "" {
		return a, badf(field, "%q is not an IP address", s)
	}
	if !slices.Contains(p.layers, control.LayerPod) {
		return a, badf(field, "%s is for the layer pod, which is not asked for", s)
	}
	return a.Unmap(), nil
}

// find looks the peer up and settles on an address family.
func (p *plan) find(name string, f Facts) (err error) {
	if p.peer, err = f.Find(name); err != nil {
		var e *control.Error
		if !errors.As(err, &e) {
			err = badf("peer", "%v", err)
		}
		return err
	}
	switch a := inner(name, p.peer); {
	case p.from.IsValid() && p.to.IsValid() && familyOf(p.from) != familyOf(p.to):
		return badf("to", "%s is not of the family of %s", p.to, p.from)
	case p.from.IsValid():
		p.family = familyOf(p.from)
	case p.to.IsValid():
		p.family = familyOf(p.to)
	case a.IsValid():
		p.family = familyOf(a)
	default:
		p.family = family(!p.peer.Subnet.IsValid() || !inet4.pick(f.Self).IsValid() && p.peer.Subnet6.IsValid())
	}
	subnet := p.family.subnet(p.peer)
	if !subnet.IsValid() {
		return badf("peer", "%s has no %s subnet", name, p.family)
	}
	if p.to.IsValid() && !subnet.Contains(p.to) {
		return badf("to", "%s is not in the subnet of the peer, %s", p.to, subnet)
	}
	return nil
}

// inner returns the inner address that name gives or begins with, if it is one.
func inner(name string, p control.Peer) netip.Addr {
	a, err := netip.ParseAddr(name)
	if prefix, bad := netip.ParsePrefix(name); bad == nil {
		a, err = prefix.Addr(), nil
	}
	if a = a.Unmap(); err == nil && (p.Subnet.Contains(a) || p.Subnet6.Contains(a)) {
		return a
	}
	return netip.Addr{}
}

// checkSize settles the size, whose least is that of the inner family. The
// underlay takes a greater one where its family needs it.
func (p *plan) checkSize(asked int) error {
	if p.size == 0 {
		p.size = defaultSize
	}
	if low := echo.Floor(p.family.subnet(p.peer).Addr()); p.size < low || p.size > echo.MaxSize {
		return badf("size", "%d, want %d to %d for %s", asked, low, echo.MaxSize, p.family)
	}
	return nil
}
