package capture

import (
	"encoding/binary"
	"fmt"
)

// The lengths of WireGuard's messages (whitepaper, section 5.4), in bytes.
const (
	initiationBytes = 148
	responseBytes   = 92
	cookieBytes     = 64
	transportBytes  = 32 // header 16 and tag 16, around no packet
)

// sealed describes a WireGuard message by what can be read without a key: its
// kind, the indices by which each side names the session, and the counter. The
// packet inside is sealed, padded to a multiple of 16 bytes.
func sealed(b []byte) string {
	if len(b) < transportBytes {
		return fmt.Sprintf("%d bytes, not a WireGuard message", len(b))
	}
	index := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	switch kind := index(0); {
	case kind == 1 && len(b) == initiationBytes:
		return fmt.Sprintf("wireguard handshake initiation by session %08x", index(4))
	case kind == 2 && len(b) == responseBytes:
		return fmt.Sprintf("wireguard handshake response by session %08x to %08x", index(4), index(8))
	case kind == 3 && len(b) == cookieBytes:
		return fmt.Sprintf("wireguard cookie reply to session %08x", index(4))
	case kind == 4 && len(b) == transportBytes:
		return fmt.Sprintf("wireguard keepalive to session %08x, counter %d", index(4), binary.LittleEndian.Uint64(b[8:]))
	case kind == 4:
		return fmt.Sprintf("wireguard to session %08x, counter %d, a packet of up to %d bytes, sealed",
			index(4), binary.LittleEndian.Uint64(b[8:]), len(b)-transportBytes)
	}
	return fmt.Sprintf("%d bytes, not a WireGuard message", len(b))
}
