package lease

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Env is what subnet.env tells the container runtime. Prefixes of a family
// that is off are zero; the family's two lines are then left out.
type Env struct {
	Network     netip.Prefix
	Subnet      netip.Prefix // host bits masked off; the file shows its first host, 10.5.1.1/24
	IPv6Network netip.Prefix
	IPv6Subnet  netip.Prefix
	MTU         int // bytes a pod may send in one packet; 0: not known
	IPMasq      bool
}

// Lease returns the subnets of e, as the previous lease of a [Claim].
func (e Env) Lease() Lease {
	return Lease{Subnet: e.Subnet, Subnet6: e.IPv6Subnet}
}

// Format writes e as flannel does (pkg/subnet/subnet.go, WriteSubnetFile):
//
//	FLANNEL_NETWORK=10.5.0.0/16
//	FLANNEL_SUBNET=10.5.1.1/24
//	FLANNEL_IPV6_NETWORK=fd00:10:5::/48
//	FLANNEL_IPV6_SUBNET=fd00:10:5:1::1/64
//	FLANNEL_MTU=1450
//	FLANNEL_IPMASQ=true
func (e Env) Format() []byte {
	var b bytes.Buffer
	if e.Subnet.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s\n", e.Network, firstHost(e.Subnet))
	}
	if e.IPv6Subnet.IsValid() {
		fmt.Fprintf(&b, "FLANNEL_IPV6_NETWORK=%s\nFLANNEL_IPV6_SUBNET=%s\n", e.IPv6Network, firstHost(e.IPv6Subnet))
	}
	fmt.Fprintf(&b, "FLANNEL_MTU=%d\nFLANNEL_IPMASQ=%t\n", e.MTU, e.IPMasq)
	return b.Bytes()
}

func firstHost(p netip.Prefix) netip.Prefix {
	return netip.PrefixFrom(p.Masked().Addr().Next(), p.Bits())
}

// WriteEnv puts e into the file at path, in one step and for all to read: the
// file's mode is 0644, and a missing directory is made with mode 0755.
func WriteEnv(path string, e Env) error {
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = WriteFile(path, e.Format(), 0o644)
	}
	if err != nil {
		return fmt.Errorf("write subnet file: %w", err)
	}
	return nil
}

// ReadEnv reads the file at path; see [ParseEnv]. The error wraps
// fs.ErrNotExist if there is none.
func ReadEnv(path string) (Env, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Env{}, fmt.Errorf("read subnet file: %w", err)
	}
	e, err := ParseEnv(data)
	if err != nil {
		return e, fmt.Errorf("read subnet file %s: %w", path, err)
	}
	return e, nil
}

// ParseEnv reads the text of a subnet.env. It bears what a shell would: blank
// lines, comments, "export", quotes and unknown keys. Each value that cannot
// be used is left zero and named in the error; the rest of the result is good
// nevertheless. A list of several subnets, as flannel v0.21 to v0.25 could
// write, is such a value.
func ParseEnv(data []byte) (Env, error) {
	var e Env
	var errs []error
	sc := bufio.NewScanner(bytes.NewReader(data))
	for sc.Scan() {
		line := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(sc.Text()), "export "))
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(line, "#") {
			continue
		}
		key, value = strings.TrimSpace(key), unquote(strings.TrimSpace(value))
		if err := e.set(key, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", key, err))
		}
	}
	if err := sc.Err(); err != nil {
		errs = append(errs, err)
	}
	return e, errors.Join(errs...)
}

func unquote(s string) string {
	if n := len(s); n >= 2 && (s[0] == '"' || s[0] == '\'') && s[n-1] == s[0] {
		return s[1 : n-1]
	}
	return s
}

func (e *Env) set(key, value string) (err error) {
	switch key {
	case "FLANNEL_NETWORK":
		e.Network, err = envPrefix(value, netip.Addr.Is4)
	case "FLANNEL_SUBNET":
		e.Subnet, err = envSubnet(value, netip.Addr.Is4)
	case "FLANNEL_IPV6_NETWORK":
		e.IPv6Network, err = envPrefix(value, plainIPv6)
	case "FLANNEL_IPV6_SUBNET":
		e.IPv6Subnet, err = envSubnet(value, plainIPv6)
	case "FLANNEL_MTU":
		var n uint64
		if n, err = strconv.ParseUint(value, 10, 31); err != nil {
			return fmt.Errorf("%q is not a number of bytes", value)
		}
		e.MTU = int(n)
	case "FLANNEL_IPMASQ":
		e.IPMasq = value == "true" // as the CNI plugin reads it
	}
	return err
}

// envSubnet is envPrefix for what must have room for a first host.
func envSubnet(s string, ok func(netip.Addr) bool) (netip.Prefix, error) {
	p, err := envPrefix(s, ok)
	if err == nil && p.IsSingleIP() {
		return netip.Prefix{}, fmt.Errorf("%q has no room for a host", s)
	}
	return p, err
}

func envPrefix(s string, ok func(netip.Addr) bool) (netip.Prefix, error) {
	if strings.Contains(s, ",") {
		return netip.Prefix{}, fmt.Errorf("%q lists several, of which none can be chosen", s)
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, fmt.Errorf("%q is not ADDRESS/LENGTH", s)
	}
	if !ok(p.Addr()) {
		return netip.Prefix{}, wrongFamily(s, ok)
	}
	return p.Masked(), nil
}
