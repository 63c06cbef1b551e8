package wg

import (
	"crypto/subtle"

	"golang.org/x/crypto/blake2s"
)

// A mac1 tells whether a handshake message was made for our key, for the price
// of one hash. Anything else need not bother the device, nor its queue.
type mac1 struct{ key [blake2s.Size]byte }

// newMAC1 computes HASH(LABEL-MAC1 ‖ S_pub) (whitepaper, section 5.4.4).
func newMAC1(public PublicKey) *mac1 {
	return &mac1{blake2s.Sum256(append([]byte("mac1----"), public[:]...))}
}

// valid checks the field mac1, which is followed by mac2, 16 bytes each.
func (m *mac1) valid(message []byte) bool {
	const size = blake2s.Size128
	at := len(message) - 2*size
	h, err := blake2s.New128(m.key[:])
	if err != nil {
		return true // cannot be: the key has the right length; the device checks as well
	}
	h.Write(message[:at])
	return subtle.ConstantTimeCompare(h.Sum(nil), message[at:at+size]) == 1
}
