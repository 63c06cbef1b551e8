package lease

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// A WireGuardKey is a public key: a Curve25519 point (RFC 7748).
type WireGuardKey [32]byte

// String returns k in base64, as wg(8) and flannel write it.
func (k WireGuardKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// A WireGuardSecret is a preshared key; zeros stand for none, as in WireGuard
// itself. However it is printed, logged or marshalled, it shows no more than
// whether there is one. That holds for fields of a struct if they are exported:
// package fmt asks no method of the others.
type WireGuardSecret [32]byte

// String returns "(hidden)", or "(none)" for zeros; so do Format, LogValue and
// MarshalText.
func (s WireGuardSecret) String() string {
	if s == (WireGuardSecret{}) {
		return "(none)"
	}
	return "(hidden)"
}

func (s WireGuardSecret) Format(f fmt.State, _ rune)   { io.WriteString(f, s.String()) }
func (s WireGuardSecret) LogValue() slog.Value         { return slog.StringValue(s.String()) }
func (s WireGuardSecret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Bytes returns the secret itself.
func (s WireGuardSecret) Bytes() [32]byte { return s }

// A WireGuardMode says which devices a node has and by which family it reaches
// the others.
type WireGuardMode string

const (
	// WireGuardSeparate: a device for each inner family that is on, flannel-wg
	// on ListenPort for IPv4 and flannel-wg-v6 on ListenPortV6 for IPv6. Each
	// travels in its own family.
	WireGuardSeparate WireGuardMode = "separate"

	// WireGuardAuto: flannel-wg on ListenPort for both families, which travel
	// together in the family that is likelier to arrive: IPv4 if the peer's
	// IPv4 address is public and we have one, else IPv6 if both have an address
	// outside fc00::/7, else IPv4.
	WireGuardAuto WireGuardMode = "auto"

	// WireGuardIPv4: as auto, but always in IPv4.
	WireGuardIPv4 WireGuardMode = "ipv4"

	// WireGuardIPv6: as auto, but always in IPv6.
	WireGuardIPv6 WireGuardMode = "ipv6"
)

// WireGuardBackend holds the options of the wireguard backend.
type WireGuardBackend struct {
	// ListenPort and ListenPortV6 are UDP ports, 1..65535; default 51820 and
	// 51821. The latter counts in separate mode only. 0 is refused: flannel
	// takes a random port for it and publishes 0, so that no peer finds it.
	ListenPort   int
	ListenPortV6 int

	MTU int             // most bytes of an outer packet; 0: the underlay's MTU
	PSK WireGuardSecret // the same for all pairs of nodes; zeros: none

	// PersistentKeepaliveInterval is how many seconds of silence each peer is
	// left before it gets an empty packet, 0..65535; 0, the default: any number.
	PersistentKeepaliveInterval int

	Mode WireGuardMode // default WireGuardSeparate
}

// CheckPorts refuses ports that two interfaces would share: those of separate mode
// with both inner families. The error names the keys.
func (b WireGuardBackend) CheckPorts(v4, v6 bool) error {
	if b.Mode == WireGuardSeparate && v4 && v6 && b.ListenPort == b.ListenPortV6 {
		return fmt.Errorf("Backend.ListenPort and ListenPortV6 are both %d; two interfaces (Mode %q) need two ports", b.ListenPort, b.Mode)
	}
	return nil
}

// WireGuard returns the options of the wireguard backend. It is an error to ask
// for them when the backend is another one. No error has the PSK in it.
func (c *Config) WireGuard() (WireGuardBackend, error) {
	b, err := c.wireguard()
	if err != nil {
		return b, fmt.Errorf("net-conf: %w", err)
	}
	return b, nil
}

func (c *Config) wireguard() (WireGuardBackend, error) {
	b := WireGuardBackend{ListenPort: 51820, ListenPortV6: 51821, Mode: WireGuardSeparate}
	if c.BackendType != "wireguard" {
		return b, fmt.Errorf("Backend.Type: %q is not wireguard", c.BackendType)
	}
	err := c.backendOptions(
		intOption("ListenPort", &b.ListenPort, 1, 65535),
		intOption("ListenPortV6", &b.ListenPortV6, 1, 65535),
		mtuOption("MTU", &b.MTU),
		secretOption("PSK", &b.PSK),
		intOption("PersistentKeepaliveInterval", &b.PersistentKeepaliveInterval, 0, 65535),
		modeOption("Mode", &b.Mode),
	)
	return b, err
}

// secretOption reads 32 bytes in base64, or an empty string for none. Its
// errors keep the value to themselves.
func secretOption(name string, p *WireGuardSecret) option {
	return option{name, func(raw json.RawMessage) error {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			return errors.New("the value, not shown here, is not a string")
		}
		if isNull(raw) {
			return nil
		}
		if text == "" {
			*p = WireGuardSecret{}
			return nil
		}
		b, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return errors.New("the value, not shown here, is not base64")
		}
		if len(b) != len(p) {
			return fmt.Errorf("the value, not shown here, is the base64 of %d bytes and not of 32", len(b))
		}
		*p = WireGuardSecret(b)
		return nil
	}}
}

func modeOption(name string, p *WireGuardMode) option {
	return option{name, func(raw json.RawMessage) error {
		text, err := stringValue(raw)
		if err != nil || isNull(raw) {
			return err
		}
		switch m := WireGuardMode(text); m {
		case WireGuardSeparate, WireGuardAuto, WireGuardIPv4, WireGuardIPv6:
			*p = m
			return nil
		}
		return fmt.Errorf("%q is none of separate, auto, ipv4, ipv6", text)
	}}
}

// WireGuardData is the BackendData (or BackendV6Data) of a wireguard lease, as
// flannel writes it (pkg/backend/wireguard/wireguard_network.go,
// wireguardLeaseAttrs):
//
//	{"PublicKey":"j0DFrbaPJWJK5bIU6nZ6bslNgp09e14a0bpvPiE4KF8=","Port":51820}
//
// Both families of a node tell the same key.
type WireGuardData struct {
	PublicKey WireGuardKey
	Port      uint16 // UDP; 0: not told, as before flannel 0.26.6: the reader's own
}

// wireWireGuard is WireGuardData in the order in which flannel writes it.
type wireWireGuard struct {
	PublicKey string
	Port      uint16
}

// MarshalJSON writes d as flannel does, byte for byte.
func (d WireGuardData) MarshalJSON() ([]byte, error) {
	return json.Marshal(wireWireGuard{d.PublicKey.String(), d.Port})
}

// UnmarshalJSON reads d. Unknown fields are ignored. A key that is missing, not
// 32 bytes of base64 or zeros is an error, as is a port of more than 16 bits.
func (d *WireGuardData) UnmarshalJSON(b []byte) error {
	var v WireGuardData
	var port int
	_, err := decodeObject("", b, []option{
		keyOption("PublicKey", &v.PublicKey),
		intOption("Port", &port, 0, 65535),
	})
	if err != nil {
		return err
	}
	if v.PublicKey == (WireGuardKey{}) {
		return errors.New("PublicKey: missing")
	}
	v.Port = uint16(port)
	*d = v
	return nil
}

func keyOption(name string, p *WireGuardKey) option {
	return option{name, func(raw json.RawMessage) error {
		text, err := stringValue(raw)
		if err != nil || isNull(raw) {
			return err
		}
		b, err := base64.StdEncoding.DecodeString(text)
		switch {
		case err != nil:
			return fmt.Errorf("%q is not base64", clip([]byte(text)))
		case len(b) != len(p):
			return fmt.Errorf("%q is the base64 of %d bytes and not of 32", clip([]byte(text)), len(b))
		case WireGuardKey(b) == WireGuardKey{}:
			return fmt.Errorf("%q is no key", text)
		}
		*p = WireGuardKey(b)
		return nil
	}}
}

// WireGuard returns what a peer needs to know to send a family's inner packets:
// version 4 or 6. The error names the field.
func (a Attrs) WireGuard(version uint8) (WireGuardData, error) {
	return backendData[WireGuardData](a, version)
}
