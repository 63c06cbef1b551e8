package lease

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
)

// The functions below make options of one kind each. A JSON null leaves the
// default in place.

func isNull(raw json.RawMessage) bool { return bytes.Equal(raw, []byte("null")) }

func boolOption(name string, p *bool) option {
	return option{name, func(raw json.RawMessage) error {
		if json.Unmarshal(raw, p) != nil {
			return fmt.Errorf("%s is neither true nor false", clip(raw))
		}
		return nil
	}}
}

// uintOption reads an unsigned integer of 31 bits.
func uintOption(name string, p *int) option {
	return intOption(name, p, 0, 1<<31-1)
}

func intOption(name string, p *int, least, most int) option {
	return option{name, func(raw json.RawMessage) error {
		n := int64(*p)
		if json.Unmarshal(raw, &n) != nil {
			return fmt.Errorf("%s is not a whole number", clip(raw))
		}
		if !isNull(raw) && (n < int64(least) || n > int64(most)) {
			return fmt.Errorf("%d is not in %d..%d", n, least, most)
		}
		*p = int(n)
		return nil
	}}
}

func plainIPv6(a netip.Addr) bool { return a.Is6() && !a.Is4In6() && a.Zone() == "" }

func familyName(is4 bool) string {
	if is4 {
		return "IPv4"
	}
	return "IPv6"
}

// wrongFamily words the refusal of an address that fails its family's test.
func wrongFamily(text string, ok func(netip.Addr) bool) error {
	return fmt.Errorf("%q is not %s", text, familyName(ok(netip.IPv4Unspecified())))
}

func prefixOption(name string, p *netip.Prefix, ok func(netip.Addr) bool) option {
	return option{name, func(raw json.RawMessage) error {
		text, err := stringValue(raw)
		if err != nil || isNull(raw) {
			return err
		}
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return fmt.Errorf("%q is not ADDRESS/LENGTH", text)
		}
		if !ok(prefix.Addr()) {
			return wrongFamily(text, ok)
		}
		*p = prefix.Masked()
		return nil
	}}
}

func addrOption(name string, p *netip.Addr, ok func(netip.Addr) bool) option {
	return option{name, func(raw json.RawMessage) error {
		text, err := stringValue(raw)
		if err != nil || isNull(raw) {
			return err
		}
		addr, err := netip.ParseAddr(text)
		if err != nil {
			return fmt.Errorf("%q is not an address", text)
		}
		if !ok(addr) {
			return wrongFamily(text, ok)
		}
		*p = addr
		return nil
	}}
}

func stringOption(name string, p *string) option {
	return option{name, func(raw json.RawMessage) error {
		text, err := stringValue(raw)
		if err == nil && !isNull(raw) {
			*p = text
		}
		return err
	}}
}

func stringValue(raw json.RawMessage) (string, error) {
	var s string
	if json.Unmarshal(raw, &s) != nil {
		return "", fmt.Errorf("%s is not a string", clip(raw))
	}
	return s, nil
}
