package lease

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
)

// Config is net-conf.json with defaults applied and ranges computed. The
// fields of a family that is switched off are zero.
type Config struct {
	EnableIPv4     bool
	EnableIPv6     bool
	EnableNFTables bool
	Network        netip.Prefix // host bits masked off
	IPv6Network    netip.Prefix
	SubnetLen      int
	IPv6SubnetLen  int
	SubnetMin      netip.Addr // first address of the first subnet to hand out
	SubnetMax      netip.Addr // first address of the last one; may lie below SubnetMin
	IPv6SubnetMin  netip.Addr
	IPv6SubnetMax  netip.Addr
	BackendType    string          // lower case; "udp" when Backend is absent
	Backend        json.RawMessage // the Backend object as written; nil when absent
	Unknown        []string        // keys that were not understood, for a warning
}

// ParseConfig reads net-conf.json. Keys match without regard to case, and of
// several spellings of one key the last counts, as with flannel. Keys it does
// not know go to Config.Unknown. Errors name the key and the value.
//
// The rules are flannel's (pkg/subnet/config.go), with these differences: text
// of the other family in IPv6Network, both families off and a Backend without
// a Type are errors here rather than surprises later, and the options of the
// udp, vxlan and wireguard backends are checked at once.
//
// SubnetMin above SubnetMax is accepted, as by flannel; [Claim.Plan] then
// finds no subnet and says why.
func ParseConfig(data []byte) (*Config, error) {
	c, err := parseConfig(data)
	if err != nil {
		return nil, fmt.Errorf("net-conf: %w", err)
	}
	return c, nil
}

func parseConfig(data []byte) (*Config, error) {
	c := &Config{EnableIPv4: true, BackendType: "udp"}
	var r4, r6 ranges
	var backend json.RawMessage
	unknown, err := decodeObject("", data, []option{
		boolOption("EnableIPv4", &c.EnableIPv4),
		boolOption("EnableIPv6", &c.EnableIPv6),
		boolOption("EnableNFTables", &c.EnableNFTables),
		prefixOption("Network", &r4.network, netip.Addr.Is4),
		uintOption("SubnetLen", &r4.length),
		addrOption("SubnetMin", &r4.min, netip.Addr.Is4),
		addrOption("SubnetMax", &r4.max, netip.Addr.Is4),
		prefixOption("IPv6Network", &r6.network, plainIPv6),
		uintOption("IPv6SubnetLen", &r6.length),
		addrOption("IPv6SubnetMin", &r6.min, plainIPv6),
		addrOption("IPv6SubnetMax", &r6.max, plainIPv6),
		{"Backend", func(raw json.RawMessage) error { backend = raw; return nil }},
	})
	if err != nil {
		return nil, err
	}
	c.Unknown = unknown
	if err := c.setBackend(backend); err != nil {
		return nil, err
	}
	return c, c.derive(r4, r6)
}

// derive computes the ranges of the families that are on.
func (c *Config) derive(r4, r6 ranges) error {
	if !c.EnableIPv4 && !c.EnableIPv6 {
		return errors.New("EnableIPv4: false and EnableIPv6: false leave no address family")
	}
	if c.EnableIPv4 {
		if err := r4.derive(family4); err != nil {
			return err
		}
		c.Network, c.SubnetLen, c.SubnetMin, c.SubnetMax = r4.network, r4.length, r4.min, r4.max
	}
	if c.EnableIPv6 {
		if err := r6.derive(family6); err != nil {
			return err
		}
		c.IPv6Network, c.IPv6SubnetLen, c.IPv6SubnetMin, c.IPv6SubnetMax = r6.network, r6.length, r6.min, r6.max
	}
	return c.checkBackend()
}

// An option is one key of a JSON object and what to do with its value.
type option struct {
	name string
	set  func(raw json.RawMessage) error
}

// decodeObject hands every value of the JSON object in data to the option of
// that name, in the order of the document, and returns the keys without one.
// The path stands in front of the key in errors and among the unknown.
func decodeObject(path string, data []byte, opts []option) (unknown []string, err error) {
	dec := json.NewDecoder(bytes.NewReader(data))
	if t, err := dec.Token(); err != nil {
		return nil, syntaxError(err)
	} else if t != json.Delim('{') {
		where := strings.TrimSuffix(path, ".")
		return nil, fmt.Errorf("%s: %s is not a JSON object", cmp.Or(where, "the whole"), glimpse(data))
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, syntaxError(err)
		}
		var raw json.RawMessage
		if err := dec.Decode(&raw); err != nil {
			return nil, fmt.Errorf("%s%v: %w", path, key, syntaxError(err))
		}
		name := key.(string) // a key of an object always is
		i := slices.IndexFunc(opts, func(o option) bool { return strings.EqualFold(o.name, name) })
		if i < 0 {
			unknown = append(unknown, path+name)
			continue
		}
		if err := opts[i].set(raw); err != nil {
			return nil, fmt.Errorf("%s%s: %w", path, opts[i].name, err)
		}
	}
	if _, err := dec.Token(); err != nil { // the closing brace
		return nil, syntaxError(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("there is more text after the closing brace")
	}
	return unknown, nil
}

func syntaxError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON text ends too early")
	}
	return fmt.Errorf("not JSON: %w", err)
}

// clip shortens what goes into an error.
func clip(raw []byte) string {
	const most = 60
	if len(raw) > most {
		return string(raw[:most]) + "…"
	}
	return string(raw)
}
