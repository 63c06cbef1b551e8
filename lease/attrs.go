package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
)

// wireAttrs is the value of a lease in the order and with the omissions that
// flannel writes (pkg/lease/lease.go, LeaseAttrs):
//
//	{"PublicIP":"192.168.50.2","PublicIPv6":null,"BackendType":"vxlan",
//	 "BackendData":{"VNI":1,"VtepMAC":"7e:4d:f4:69:11:21"}}
//
// PublicIP and PublicIPv6 are always written; the rest only when not empty.
type wireAttrs struct {
	PublicIP      wireIP4
	PublicIPv6    *wireIP6
	BackendType   string          `json:",omitempty"`
	BackendData   json.RawMessage `json:",omitempty"`
	BackendV6Data json.RawMessage `json:",omitempty"`
}

type (
	wireIP4 struct{ netip.Addr }
	wireIP6 struct{ netip.Addr }
)

// MarshalJSON writes a as flannel does, byte for byte. A missing PublicIP is
// written as 0.0.0.0, a missing PublicIPv6 as null.
func (a Attrs) MarshalJSON() ([]byte, error) {
	w := wireAttrs{
		PublicIP:      wireIP4{a.PublicIP},
		BackendType:   a.BackendType,
		BackendData:   a.BackendData,
		BackendV6Data: a.BackendV6Data,
	}
	if a.PublicIPv6.IsValid() {
		w.PublicIPv6 = &wireIP6{a.PublicIPv6}
	}
	return json.Marshal(w)
}

// UnmarshalJSON reads the value of a lease. Unknown fields are ignored, as
// every reader of leases must. The addresses 0.0.0.0 and :: stand for "none"
// and become the zero Addr. A PublicIP that is null, empty or not an IPv4
// address is an error; one that is absent is not, but such a lease has no
// address and [Check] refuses it.
func (a *Attrs) UnmarshalJSON(b []byte) error {
	var w wireAttrs
	if err := json.Unmarshal(b, &w); err != nil {
		return fmt.Errorf("lease value: %w", err)
	}
	*a = Attrs{
		PublicIP:      w.PublicIP.Addr,
		BackendType:   w.BackendType,
		BackendData:   present(w.BackendData),
		BackendV6Data: present(w.BackendV6Data),
	}
	if w.PublicIPv6 != nil {
		a.PublicIPv6 = w.PublicIPv6.Addr
	}
	return nil
}

// present treats an explicit null like an absent field.
func present(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 || bytes.Equal(raw, []byte("null")) {
		return nil
	}
	return raw
}

// Equal reports whether a and b tell others the same. Backend data may differ
// in white space and in how characters are escaped.
func (a Attrs) Equal(b Attrs) bool {
	return addrEqual(a.PublicIP, b.PublicIP) && addrEqual(a.PublicIPv6, b.PublicIPv6) &&
		a.BackendType == b.BackendType &&
		sameJSON(present(a.BackendData), present(b.BackendData)) &&
		sameJSON(present(a.BackendV6Data), present(b.BackendV6Data))
}

// sameJSON compares bytes first, which nearly always settles it, and then what
// would be written.
func sameJSON(a, b json.RawMessage) bool {
	if bytes.Equal(a, b) {
		return true
	}
	if len(a) == 0 || len(b) == 0 {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// addrEqual compares node addresses; "none" may be zero or unspecified.
func addrEqual(a, b netip.Addr) bool {
	return a == b || noAddr(a) && noAddr(b)
}

func noAddr(a netip.Addr) bool { return !a.IsValid() || a.IsUnspecified() }

func (ip wireIP4) MarshalJSON() ([]byte, error) {
	if noAddr(ip.Addr) {
		return []byte(`"0.0.0.0"`), nil
	}
	if !ip.Is4() {
		return nil, fmt.Errorf("PublicIP: %s is not an IPv4 address", ip)
	}
	return json.Marshal(ip.String())
}

func (ip *wireIP4) UnmarshalJSON(b []byte) error {
	a, err := parseAddrJSON("PublicIP", b)
	if err != nil {
		return err
	}
	if !a.Is4() {
		return fmt.Errorf("PublicIP: %s is not an IPv4 address", a)
	}
	if !a.IsUnspecified() {
		ip.Addr = a
	}
	return nil
}

func (ip wireIP6) MarshalJSON() ([]byte, error) {
	if !ip.Is6() || ip.Is4In6() || ip.Zone() != "" {
		return nil, fmt.Errorf("PublicIPv6: %s is not a plain IPv6 address", ip)
	}
	return json.Marshal(ip.String())
}

func (ip *wireIP6) UnmarshalJSON(b []byte) error {
	a, err := parseAddrJSON("PublicIPv6", b)
	if err != nil {
		return err
	}
	if !a.Is6() || a.Is4In6() || a.Zone() != "" {
		return fmt.Errorf("PublicIPv6: %s is not a plain IPv6 address", a)
	}
	if !a.IsUnspecified() {
		ip.Addr = a
	}
	return nil
}

func parseAddrJSON(field string, b []byte) (netip.Addr, error) {
	if bytes.Equal(b, []byte("null")) {
		return netip.Addr{}, errors.New(field + ": null is not an address")
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %s is not a string", field, b)
	}
	a, err := netip.ParseAddr(s)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%s: %q is not an address", field, s)
	}
	return a, nil
}
