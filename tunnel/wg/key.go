package wg

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

// A PublicKey is a Curve25519 point (RFC 7748), which names a peer.
type PublicKey [32]byte

// String returns k in base64, as wg(8) and leases write it.
func (k PublicKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// MarshalText returns k as String does; logs in JSON ask for it.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// A PrivateKey is a Curve25519 scalar. It prints as "(hidden)" in every
// format; only a conversion to [32]byte shows it. That holds for fields that
// are exported too: package fmt asks no method of the others.
type PrivateKey [32]byte

// A PresharedKey is mixed into each handshake with a peer; zeros stand for
// none. It prints as a [PrivateKey] does.
type PresharedKey [32]byte

const hidden = "(hidden)"

var errSecret = errors.New("a secret key is not written as text")

// String returns "(hidden)", as Format and LogValue do. MarshalText fails.
func (PrivateKey) String() string               { return hidden }
func (PrivateKey) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (PrivateKey) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (PrivateKey) MarshalText() ([]byte, error) { return nil, errSecret }

// String returns "(hidden)", as Format and LogValue do. MarshalText fails.
func (PresharedKey) String() string               { return hidden }
func (PresharedKey) Format(f fmt.State, _ rune)   { io.WriteString(f, hidden) }
func (PresharedKey) LogValue() slog.Value         { return slog.StringValue(hidden) }
func (PresharedKey) MarshalText() ([]byte, error) { return nil, errSecret }

// NewPrivateKey draws a key from the system's randomness. It is clamped, as
// wg genkey does, so that every program shows the same bytes of it.
func NewPrivateKey() (k PrivateKey) {
	rand.Read(k[:]) // never fails
	k[0] &= 248
	k[31] = k[31]&127 | 64
	return k
}

// Public returns the public half of k, which may be clamped or not.
func (k PrivateKey) Public() PublicKey {
	priv, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		panic(err) // 32 bytes are a key, unless GODEBUG=fips140=only forbids the curve
	}
	return PublicKey(priv.PublicKey().Bytes())
}
