package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// backendKeys lists the options that each backend of flannel knows, so that a
// misspelt one can be pointed out. Options of a type that is not listed are
// not judged.
var backendKeys = map[string][]string{
	"udp":         {"Port", "MTU"}, // MTU is ours; flannel's udp backend ignores it
	"vxlan":       {"VNI", "Port", "MTU", "GBP", "Learning", "DirectRouting", "MacPrefix"},
	"wireguard":   {"ListenPort", "ListenPortV6", "MTU", "PSK", "PersistentKeepaliveInterval", "Mode"},
	"host-gw":     {},
	"ipip":        {"DirectRouting"},
	"ipsec":       {"PSK", "UDPEncap", "ESPProposal"},
	"extension":   {"PreStartupCommand", "PostStartupCommand", "SubnetAddCommand", "SubnetRemoveCommand", "ShutdownCommand"},
	"alloc":       {},
	"tencent-vpc": {"AccessKeyID", "AccessKeySecret"},
}

// setBackend reads the type from the Backend object and keeps the rest for
// the backend. A nil raw says that there is no such key.
func (c *Config) setBackend(raw json.RawMessage) error {
	if raw == nil {
		return nil
	}
	if isNull(raw) {
		return errors.New("Backend.Type: missing, Backend is null")
	}
	if raw[0] != '{' {
		return fmt.Errorf("%s: %s is not a JSON object", "Backend", glimpse(raw))
	}
	var kind string
	unknown, err := decodeObject("Backend.", raw, []option{{"Type", func(v json.RawMessage) error {
		if json.Unmarshal(v, &kind) != nil {
			return fmt.Errorf("%s is not a string", glimpse(v))
		}
		return nil
	}}})
	if err == nil && kind == "" {
		err = errors.New("Backend.Type: missing or empty")
	}
	if err != nil {
		return err
	}
	c.BackendType, c.Backend = strings.ToLower(kind), raw
	known, ok := backendKeys[c.BackendType]
	for _, path := range unknown {
		key := strings.TrimPrefix(path, "Backend.")
		if ok && !slices.ContainsFunc(known, func(k string) bool { return strings.EqualFold(k, key) }) {
			c.Unknown = append(c.Unknown, path)
		}
	}
	return nil
}

// glimpse shows a misplaced value in an error, unless a secret could be in it:
// of what is longer than a slip of the pen only the kind is told.
func glimpse(raw json.RawMessage) string {
	const most = 16 // a PSK has 44 characters with wireguard, 96 with ipsec
	if len(raw) <= most {
		return string(raw)
	}
	switch raw[0] {
	case '{':
		return "an object (not shown)"
	case '[':
		return "an array (not shown)"
	case '"':
		return "a string (not shown)"
	}
	return "a long value (not shown)"
}

// backendOptions reads the options of a backend, leaving the defaults that the
// caller has set where the configuration says nothing.
func (c *Config) backendOptions(opts ...option) error {
	if c.Backend == nil {
		return nil
	}
	_, err := decodeObject("Backend.", c.Backend, opts)
	return err
}

// UDPBackend holds the options of the udp backend.
type UDPBackend struct {
	Port int // UDP port of every node, 1..65535; default 8285
	MTU  int // most bytes of an outer packet; 0: the underlay's MTU
}

// UDP returns the options of the udp backend. It is an error to ask for them
// when the backend is another one.
func (c *Config) UDP() (UDPBackend, error) {
	b, err := c.udp()
	if err != nil {
		return b, fmt.Errorf("net-conf: %w", err)
	}
	return b, nil
}

func (c *Config) udp() (UDPBackend, error) {
	b := UDPBackend{Port: 8285}
	if c.BackendType != "udp" {
		return b, fmt.Errorf("Backend.Type: %q is not udp", c.BackendType)
	}
	err := c.backendOptions(
		intOption("Port", &b.Port, 1, 65535),
		mtuOption("MTU", &b.MTU),
	)
	return b, err
}

// VXLANBackend holds the options of the vxlan backend.
type VXLANBackend struct {
	VNI           int    // VXLAN network identifier, 0..2²⁴−1; default 1
	Port          int    // UDP port of every node, 1..65535; default 8472, also for 0
	MTU           int    // most bytes of an outer packet; 0: the underlay's MTU
	GBP           bool   // frames may bear a group policy
	DirectRouting bool   // peers on the same link get a kernel route instead of the tunnel
	Learning      bool   // for kernel devices; leases tell us all that could be learnt
	MacPrefix     string // for flannel on Windows only
}

// VXLAN returns the options of the vxlan backend. It is an error to ask for
// them when the backend is another one.
func (c *Config) VXLAN() (VXLANBackend, error) {
	b, err := c.vxlan()
	if err != nil {
		return b, fmt.Errorf("net-conf: %w", err)
	}
	return b, nil
}

// The kernel's VXLAN port, which flannel keeps; IANA's is 4789.
const vxlanPort = 8472

func (c *Config) vxlan() (VXLANBackend, error) {
	b := VXLANBackend{VNI: 1, Port: vxlanPort}
	if c.BackendType != "vxlan" {
		return b, fmt.Errorf("Backend.Type: %q is not vxlan", c.BackendType)
	}
	err := c.backendOptions(
		intOption("VNI", &b.VNI, 0, MaxVNI),
		intOption("Port", &b.Port, 0, 65535),
		mtuOption("MTU", &b.MTU),
		boolOption("GBP", &b.GBP),
		boolOption("DirectRouting", &b.DirectRouting),
		boolOption("Learning", &b.Learning),
		stringOption("MacPrefix", &b.MacPrefix),
	)
	if b.Port == 0 {
		b.Port = vxlanPort
	}
	return b, err
}

// checkBackend reads the options of a backend that we know, for the errors in
// them.
func (c *Config) checkBackend() (err error) {
	switch c.BackendType {
	case "udp":
		_, err = c.udp()
	case "vxlan":
		_, err = c.vxlan()
	case "wireguard":
		_, err = c.wireguard()
	}
	return err
}

// mtuOption reads an outer MTU in bytes: 0, or at least the 576 that every
// IPv4 host must accept (RFC 791) and at most an IP packet's 65535.
func mtuOption(name string, p *int) option {
	limited := intOption(name, p, 576, 65535)
	return option{name, func(raw json.RawMessage) error {
		if string(raw) == "0" {
			*p = 0
			return nil
		}
		return limited.set(raw)
	}}
}
