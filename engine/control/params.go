package control

import (
	"fmt"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"time"
)

// The greatest values of parameters.
const (
	maxPort   = 65535
	maxPacket = 65535     // bytes of an IP packet
	maxCount  = 1<<31 - 1 // records, and one of so many
	maxFor    = 31 * 24 * time.Hour
)

// params reads the parameters in a request's URL. Each may be given once; the
// first that is wrong, or that nobody asked for, is the error of done.
type params struct {
	left url.Values
	err  error
}

func newParams(r *http.Request) *params {
	v, err := url.ParseQuery(r.URL.RawQuery)
	p := &params{left: v}
	if err != nil {
		p.err = &Error{Message: "parameters: " + err.Error()}
	}
	return p
}

// text takes the parameter out; "": it is not there.
func (p *params) text(name string) string {
	v := p.left[name]
	delete(p.left, name)
	if len(v) == 0 {
		return ""
	}
	if len(v) > 1 {
		p.fail(name, "%d values, want one", len(v))
	}
	return v[0]
}

// fail notes what is wrong with a parameter, unless something else was before.
func (p *params) fail(name, format string, args ...any) {
	if p.err == nil {
		p.err = &Error{Message: name + ": " + fmt.Sprintf(format, args...), Field: name}
	}
}

// addr takes an address that has to be there.
func (p *params) addr(name string) netip.Addr {
	s := p.text(name)
	a, err := netip.ParseAddr(s)
	switch {
	case s == "":
		p.fail(name, "missing")
	case err != nil || a.Zone() != "":
		p.fail(name, "%q is not an IP address", s)
	}
	return a.Unmap()
}

// integer takes a number from 0 to high; 0: it is not there.
func (p *params) integer(name string, high int) int {
	s := p.text(name)
	if s == "" {
		return 0
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > high {
		p.fail(name, "%q is not a number from 0 to %d", s, high)
	}
	return n
}

// boolean takes true or false; false: it is not there.
func (p *params) boolean(name string) bool {
	s := p.text(name)
	switch s {
	case "true":
		return true
	case "", "false":
	default:
		p.fail(name, "%q is neither true nor false", s)
	}
	return false
}

// duration takes a number of seconds; 0: it is not there.
func (p *params) duration(name string) time.Duration {
	s := p.text(name)
	if s == "" {
		return 0
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0 && f <= maxFor.Seconds()) { // which NaN is not
		p.fail(name, "%q is not a number of seconds from 0 to %.0f", s, maxFor.Seconds())
		return 0
	}
	return time.Duration(f * float64(time.Second))
}

// done returns the error of the first wrong parameter, or of one that is left.
func (p *params) done() error {
	for _, name := range slices.Sorted(maps.Keys(p.left)) {
		p.fail(name, "unknown parameter")
	}
	return p.err
}
