package etcd

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"weft/lease/etcd/embedded"
	"weft/lease/leasetest"
)

// startServer runs an etcd of the test's own.
func startServer(t testing.TB, o embedded.Options) *embedded.Server {
	t.Helper()
	if o.Listen == nil {
		o.Listen = []string{"http://127.0.0.1:0"}
	}
	o.Volatile = true
	srv, err := embedded.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(srv.Close)
	return srv
}

// Etcd is stopped and started under a watch and a Keep, with its data and then
// without: the node keeps its subnet, the peers stay and the truth comes back.
func TestEtcdRestarts(t *testing.T) {
	const prefix = "/coreos.com/network/subnets/"
	dir := t.TempDir()
	srv := startServer(t, embedded.Options{Dir: dir})
	at := srv.Endpoints()
	raw := rawClient(t, at...)
	if _, err := raw.Put(t.Context(), prefix+"10.5.9.0-24", `{"PublicIP":"192.168.50.9"}`); err != nil {
		t.Fatal(err)
	}
	s := open(t, Options{Endpoints: at})
	leasetest.StartKeep(t, s, acquire(t, s))
	v := leasetest.Follow(t, s)
	v.AwaitLeases(t, "10.5.7.0-24=192.168.50.1 10.5.9.0-24=192.168.50.9")

	srv.Close()
	await(t, "the outage to be noticed", func() bool { return !s.Status().Connected })
	if st := s.Status(); st.Err == "" || st.LastEvent.IsZero() {
		t.Errorf("status %+v", st)
	}
	srv = startServer(t, embedded.Options{Dir: dir, Listen: at})
	if _, err := raw.Put(t.Context(), prefix+"10.5.8.0-24", `{"PublicIP":"192.168.50.8"}`); err != nil {
		t.Fatal(err)
	}
	v.AwaitLeases(t, "10.5.7.0-24=192.168.50.1 10.5.8.0-24=192.168.50.8 10.5.9.0-24=192.168.50.9")
	await(t, "contact", func() bool { return s.Status().Connected })

	srv.Close()
	startServer(t, embedded.Options{Dir: t.TempDir(), Listen: at}) // knows nothing
	v.AwaitLeases(t, "10.5.7.0-24=192.168.50.1")
}

// Data that was set back to an older revision is noticed although the
// connection never seemed to break for long.
func TestRevisionGoesBack(t *testing.T) {
	w := newWorld(t)
	w.put(t, w.key("10.5.1.0-24"), ownValue)
	s := open(t, Options{Endpoints: []string{w.relay.url}, Prefix: w.prefix})
	watch := watcher{s: s}
	watch.seen.Store(1 << 40)
	gap, cancel := context.WithCancel(t.Context())
	watch.probe(gap, cancel)
	if gap.Err() == nil {
		t.Error("no gap was seen")
	}
}

// User and password, also when they are wrong at first.
func TestAuth(t *testing.T) {
	srv := startServer(t, embedded.Options{Dir: t.TempDir()})
	raw := rawClient(t, srv.Endpoints()...)
	ctx := t.Context()
	var errs []error
	do := func(err error) { errs = append(errs, err) }
	_, err := raw.UserAdd(ctx, "root", "r00t")
	do(err)
	_, err = raw.UserGrantRole(ctx, "root", "root")
	do(err)
	_, err = raw.RoleAdd(ctx, "weft")
	do(err)
	_, err = raw.RoleGrantPermission(ctx, "weft", "/coreos.com/network/", clientv3.GetPrefixRangeEnd("/coreos.com/network/"), clientv3.PermissionType(clientv3.PermReadWrite))
	do(err)
	_, err = raw.UserAdd(ctx, "weft", "secret")
	do(err)
	_, err = raw.UserGrantRole(ctx, "weft", "weft")
	do(err)
	_, err = raw.Put(ctx, "/coreos.com/network/config", `{"Network":"10.5.0.0/16"}`)
	do(err)
	_, err = raw.AuthEnable(ctx)
	do(err)
	for _, err := range errs {
		if err != nil {
			t.Fatal(err)
		}
	}
	wrong := open(t, Options{Endpoints: srv.Endpoints(), Username: "weft", Password: "guess"})
	trying, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { _, err := wrong.Config(trying); done <- err }()
	await(t, "the refusal", func() bool { return strings.Contains(wrong.Status().Err, "invalid user ID or password") })
	cancel()
	if err := <-done; err == nil {
		t.Error("a configuration with the wrong password")
	}
	s := open(t, Options{Endpoints: srv.Endpoints(), Username: "weft", Password: "secret"})
	if _, err := s.Config(ctx); err != nil {
		t.Fatal(err)
	}
	leasetest.StartKeep(t, s, acquire(t, s))
	leasetest.Follow(t, s).AwaitLeases(t, "10.5.7.0-24=192.168.50.1")
}

// A private CA alone, and with it a certificate of our own.
func TestTLS(t *testing.T) {
	pki := newPKI(t)
	for _, tc := range []struct {
		name     string
		mutual   bool
		o        Options
		wantFail bool
	}{
		{name: "CA alone", o: Options{CAFile: pki.ca}},
		{name: "unknown CA", o: Options{}, wantFail: true},
		{name: "mutual", mutual: true, o: Options{CAFile: pki.ca, CertFile: pki.cert, KeyFile: pki.key}},
		{name: "mutual without a certificate", mutual: true, o: Options{CAFile: pki.ca}, wantFail: true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			so := embedded.Options{Dir: t.TempDir(), Listen: []string{"https://127.0.0.1:0"}, CertFile: pki.cert, KeyFile: pki.key}
			if tc.mutual {
				so.ClientCAFile = pki.ca
			}
			srv := startServer(t, so)
			tc.o.Endpoints = srv.Endpoints()
			s := open(t, tc.o)
			if tc.wantFail {
				// A lone call, which ends by its own time limit.
				if all, _, err := s.list(t.Context()); err == nil {
					t.Errorf("got %v", all)
				}
				return
			}
			acquire(t, s)
			leasetest.Follow(t, s).AwaitLeases(t, "10.5.7.0-24=192.168.50.1")
		})
	}
}

// A pki is the files of a CA and of one certificate for 127.0.0.1, good for
// servers and clients.
type pki struct{ ca, cert, key string }

func newPKI(t *testing.T) pki {
	dir := t.TempDir()
	p := pki{filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")}
	caKey, key := newKey(t), newKey(t)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "weft test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "weft"},
		NotBefore: ca.NotBefore, NotAfter: ca.NotAfter, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	writePEM(t, p.ca, "CERTIFICATE", sign(t, ca, ca, caKey, caKey))
	writePEM(t, p.cert, "CERTIFICATE", sign(t, leaf, ca, key, caKey))
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, p.key, "EC PRIVATE KEY", der)
	return p
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t *testing.T, c, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) []byte {
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, parentKey)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

func writePEM(t *testing.T, path, kind string, der []byte) {
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}
