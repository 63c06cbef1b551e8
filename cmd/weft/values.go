package main

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"weft/encap"
)

// A value is the target of one flag: it parses and checks the text and stores
// the result in *p. It satisfies pflag.Value.
type value[T any] struct {
	p      *T
	kind   string // what pflag's help calls it
	parse  func(string) (T, error)
	format func(T) string
}

func (v value[T]) Type() string   { return v.kind }
func (v value[T]) String() string { return v.format(*v.p) }

func (v value[T]) Set(s string) error {
	t, err := v.parse(s)
	if err != nil {
		return err
	}
	*v.p = t
	return nil
}

// text takes any string.
func text(p *string) value[string] {
	return checked(p, func(string) error { return nil })
}

// checked takes a string that check accepts.
func checked(p *string, check func(string) error) value[string] {
	return value[string]{
		p: p, kind: "string",
		parse:  func(s string) (string, error) { return s, check(s) },
		format: func(s string) string { return s },
	}
}

// oneOf takes one of two or more words.
func oneOf(p *string, words ...string) value[string] {
	return checked(p, func(s string) error {
		for _, w := range words {
			if s == w {
				return nil
			}
		}
		last := len(words) - 1
		return fmt.Errorf("must be %s or %s", strings.Join(words[:last], ", "), words[last])
	})
}

// boolean takes what Go's flag package takes: 1, 0, t, f, true, false.
func boolean(p *bool) value[bool] {
	return value[bool]{
		p: p, kind: "bool",
		parse: func(s string) (bool, error) {
			b, err := strconv.ParseBool(s)
			if err != nil {
				return false, errors.New("must be true or false")
			}
			return b, nil
		},
		format: strconv.FormatBool,
	}
}

// integer takes a whole number from low to high; what describes it in errors.
func integer(p *int, low, high int, what string) value[int] {
	return value[int]{
		p: p, kind: "int",
		parse: func(s string) (int, error) {
			n, err := strconv.Atoi(s)
			if err != nil || n < low || n > high {
				return 0, errors.New("must be " + what)
			}
			return n, nil
		},
		format: strconv.Itoa,
	}
}

// commaList takes a list with commas between its items and spaces around
// them. A second use replaces the first, as with flanneld's plain strings.
func commaList(p *[]string, check func(string) error) value[[]string] {
	return value[[]string]{
		p: p, kind: "list",
		parse:  func(s string) ([]string, error) { return splitList(s, check) },
		format: func(l []string) string { return strings.Join(l, ",") },
	}
}

func splitList(s string, check func(string) error) ([]string, error) {
	var items []string
	for item := range strings.SplitSeq(s, ",") {
		item = strings.TrimSpace(item)
		if item == "" {
			continue
		}
		if err := check(item); err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	if len(items) == 0 {
		return nil, errors.New("the list is empty")
	}
	return items, nil
}

// repeated takes a flag that may be given several times; each use adds what
// split makes of its text.
func repeated(p *[]string, split func(string) ([]string, error)) value[[]string] {
	return value[[]string]{
		p: p, kind: "list",
		parse: func(s string) ([]string, error) {
			items, err := split(s)
			return append(*p, items...), err
		},
		format: func(l []string) string { return strings.Join(l, ",") },
	}
}

// ifaceNames splits at commas; no interface name that is in use holds one.
func ifaceNames(s string) ([]string, error) {
	return splitList(s, func(string) error { return nil })
}

// ifaceRegex takes one expression whole, since a comma may be part of it, as
// in eth{1,2}.
func ifaceRegex(s string) ([]string, error) {
	if _, err := regexp.Compile(s); err != nil {
		return nil, fmt.Errorf("not a regular expression: %w", err)
	}
	return []string{s}, nil
}

// isEndpoint accepts the URL of an etcd. Errors do not quote it, since it may
// hold a password.
func isEndpoint(s string) error {
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https":
		return errors.New("must be http://HOST:PORT or https://HOST:PORT")
	case u.User != nil:
		return errors.New("must not hold a user; there are --etcd-username and --etcd-password")
	}
	return nil
}

// isListenURL accepts the URL at which an embedded etcd may serve: in clear,
// since no certificate can be given for it.
func isListenURL(s string) error {
	if err := isEndpoint(s); err != nil {
		return err
	}
	if !strings.HasPrefix(s, "http://") {
		return errors.New("must be http://ADDRESS:PORT")
	}
	return nil
}

// isSocket accepts the path of a socket, or the word for none; an empty text
// unsets the flag.
func isSocket(s string) error {
	if s != "" && s != socketOff && !strings.Contains(s, "/") {
		return errors.New("must be a path with a \"/\" in it, or " + socketOff)
	}
	return nil
}

// isPolicies accepts a set of group policies; an empty text unsets the flag.
func isPolicies(s string) error {
	if s == "" {
		return nil
	}
	_, err := encap.ParsePolicies(s)
	return err
}

// peerPorts takes a list of TYPE=PORT.
func peerPorts(s string) ([]string, error) {
	return splitList(s, func(item string) error {
		kind, text, _ := strings.Cut(item, "=")
		port, err := strconv.ParseUint(text, 10, 16)
		if kind != "udp" && kind != "vxlan" || err != nil || port == 0 {
			return errors.New("must be udp=PORT or vxlan=PORT, with a port from 1 to 65535")
		}
		return nil
	})
}

// portsByType is what peerPorts took; of several ports for a type the last
// counts.
func portsByType(items []string) map[string]uint16 {
	if len(items) == 0 {
		return nil
	}
	ports := map[string]uint16{}
	for _, item := range items {
		kind, text, _ := strings.Cut(item, "=")
		if port, err := strconv.ParseUint(text, 10, 16); err == nil {
			ports[kind] = uint16(port)
		}
	}
	return ports
}

// isAddr accepts an IPv4 or IPv6 address; an empty text unsets the flag.
func isAddr(s string) error {
	if _, err := netip.ParseAddr(s); s != "" && err != nil {
		return errors.New("must be an IP address")
	}
	return nil
}

func isAddr4(s string) error {
	if a, err := netip.ParseAddr(s); s != "" && (err != nil || !a.Is4()) {
		return errors.New("must be an IPv4 address")
	}
	return nil
}

func isAddr6(s string) error {
	if a, err := netip.ParseAddr(s); s != "" && (err != nil || !a.Is6() || a.Is4In6() || a.Zone() != "") {
		return errors.New("must be an IPv6 address")
	}
	return nil
}
