package wg

import (
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"encoding/binary"
	"hash"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"golang.org/x/crypto/blake2s"
	"golang.org/x/crypto/chacha20poly1305"
)

// A hand speaks WireGuard by hand, as an initiator does (whitepaper, section
// 5.4), so that it can send what no device would.
type hand struct {
	t       testing.TB
	conn    *net.UDPConn
	key     PrivateKey
	mine    uint32 // index
	theirs  uint32
	send    cipher.AEAD
	recv    cipher.AEAD
	counter uint64
}

func hash2s(parts ...[]byte) []byte {
	h := blake2s.Sum256(slices.Concat(parts...))
	return h[:]
}

func hmac2s(key []byte, parts ...[]byte) []byte {
	h := hmac.New(func() hash.Hash { h, _ := blake2s.New256(nil); return h }, key)
	h.Write(slices.Concat(parts...))
	return h.Sum(nil)
}

func kdf(key, input []byte) (a, b, c []byte) {
	secret := hmac2s(key, input)
	a = hmac2s(secret, []byte{1})
	b = hmac2s(secret, a, []byte{2})
	return a, b, hmac2s(secret, b, []byte{3})
}

func dh(t testing.TB, priv []byte, pub []byte) []byte {
	t.Helper()
	k, err := ecdh.X25519().NewPrivateKey(priv)
	must(t, err)
	p, err := ecdh.X25519().NewPublicKey(pub)
	must(t, err)
	s, err := k.ECDH(p)
	must(t, err)
	return s
}

func aead(t testing.TB, key []byte) cipher.AEAD {
	t.Helper()
	c, err := chacha20poly1305.New(key)
	must(t, err)
	return c
}

// An opening message and what is needed to go on from it.
type started struct {
	message    []byte
	ephemeral  PrivateKey
	chain, sum []byte
}

// initiation makes the first message to the owner of the key to.
func initiation(t testing.TB, from PrivateKey, to PublicKey, index uint32, now time.Time) started {
	t.Helper()
	zero := make([]byte, 12)
	s := started{ephemeral: NewPrivateKey(), message: make([]byte, 8, initiationBytes)}
	binary.LittleEndian.PutUint32(s.message, typeInitiation)
	binary.LittleEndian.PutUint32(s.message[4:], index)
	ephemeral, static := s.ephemeral.Public(), from.Public()
	s.chain = hash2s([]byte("Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s"))
	s.sum = hash2s(hash2s(s.chain, []byte("WireGuard v1 zx2c4 Jason@zx2c4.com")), to[:])
	s.chain, _, _ = kdf(s.chain, ephemeral[:])
	s.sum = hash2s(s.sum, ephemeral[:])
	s.message = append(s.message, ephemeral[:]...)
	var k []byte
	seal := func(plain []byte) {
		c := aead(t, k).Seal(nil, zero, plain, s.sum)
		s.sum = hash2s(s.sum, c)
		s.message = append(s.message, c...)
	}
	s.chain, k, _ = kdf(s.chain, dh(t, s.ephemeral[:], to[:]))
	seal(static[:])
	s.chain, k, _ = kdf(s.chain, dh(t, from[:], to[:]))
	stamp := binary.BigEndian.AppendUint64(nil, 1<<62+10+uint64(now.Unix()))
	seal(binary.BigEndian.AppendUint32(stamp, uint32(now.Nanosecond())))
	mac, err := blake2s.New128(hash2s([]byte("mac1----"), to[:]))
	must(t, err)
	mac.Write(s.message)
	s.message = append(mac.Sum(s.message), make([]byte, 16)...)
	return s
}

// shake makes a session with the tunnel that listens at to.
func shake(t testing.TB, key PrivateKey, with PublicKey, to netip.AddrPort) *hand {
	t.Helper()
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	must(t, err)
	t.Cleanup(func() { c.Close() })
	must(t, c.SetDeadline(time.Now().Add(limit)))
	h := &hand{t: t, conn: c, key: key, mine: 0x1234}
	s := initiation(t, key, with, h.mine, time.Now())
	h.write(s.message)
	b := make([]byte, 2048)
	n, err := c.Read(b)
	must(t, err)
	h.finish(s, b[:n])
	return h
}

// finish takes the answer.
func (h *hand) finish(s started, b []byte) {
	h.t.Helper()
	if len(b) != responseBytes || binary.LittleEndian.Uint32(b) != typeResponse || binary.LittleEndian.Uint32(b[8:]) != h.mine {
		h.t.Fatalf("the answer is %x", b)
	}
	h.theirs = binary.LittleEndian.Uint32(b[4:])
	theirs := b[12:44]
	chain, _, _ := kdf(s.chain, theirs)
	sum := hash2s(s.sum, theirs)
	chain, _, _ = kdf(chain, dh(h.t, s.ephemeral[:], theirs))
	chain, _, _ = kdf(chain, dh(h.t, h.key[:], theirs))
	chain, tau, k := kdf(chain, make([]byte, 32)) // no preshared key
	if _, err := aead(h.t, k).Open(nil, make([]byte, 12), b[44:60], hash2s(sum, tau)); err != nil {
		h.t.Fatal("the answer does not authenticate: ", err)
	}
	send, recv, _ := kdf(chain, nil)
	h.send, h.recv = aead(h.t, send), aead(h.t, recv)
}

// seal makes a transport message of a payload, which is not padded.
func (h *hand) seal(payload []byte) []byte {
	b := binary.LittleEndian.AppendUint32(nil, typeTransport)
	b = binary.LittleEndian.AppendUint32(b, h.theirs)
	b = binary.LittleEndian.AppendUint64(b, h.counter)
	nonce := append(make([]byte, 4), b[8:16]...)
	h.counter++
	return h.send.Seal(b, nonce, payload, nil)
}

// write sends datagrams.
func (h *hand) write(datagrams ...[]byte) {
	h.t.Helper()
	for _, b := range datagrams {
		_, err := h.conn.Write(b)
		must(h.t, err)
	}
}

// macOf ends a handshake message with a right mac1, and no mac2.
func macOf(t testing.TB, m []byte, to PublicKey) []byte {
	t.Helper()
	mac, err := blake2s.New128(hash2s([]byte("mac1----"), to[:]))
	must(t, err)
	mac.Write(m)
	return append(mac.Sum(m), make([]byte, 16)...)
}

// dial connects a plain socket to the node.
func (d *node) dial() (*net.UDPConn, error) {
	c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(d.at(0)))
	if err == nil {
		d.t.Cleanup(func() { c.Close() })
	}
	return c, err
}
