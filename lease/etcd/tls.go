package etcd

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
)

// tlsConfig makes the TLS settings from the files, or nil if none is given:
// https:// then trusts the system's roots.
func (o *Options) tlsConfig() (*tls.Config, error) {
	if o.CAFile == "" && o.CertFile == "" && o.KeyFile == "" {
		return nil, nil
	}
	if (o.CertFile == "") != (o.KeyFile == "") {
		return nil, fmt.Errorf("etcd: certificate file %q and key file %q go together", o.CertFile, o.KeyFile)
	}
	o.warnPlain()
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		pem, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("etcd: CA file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("etcd: CA file %s holds no certificate in PEM form", o.CAFile)
		}
	}
	if o.CertFile != "" {
		if _, err := o.loadPair(nil); err != nil {
			return nil, err
		}
		conf.GetClientCertificate = o.loadPair
	}
	return conf, nil
}

// loadPair reads certificate and key, at start and for each handshake.
func (o *Options) loadPair(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(o.CertFile, o.KeyFile)
	if err != nil {
		return nil, errors.Join(errors.New("etcd: certificate and key"), err)
	}
	return &pair, nil
}

// warnPlain points out TLS files that will not be used.
func (o *Options) warnPlain() {
	for _, e := range o.Endpoints {
		if strings.HasPrefix(e, "http://") {
			o.Log.Warn("TLS files are given, but this etcd endpoint is spoken to in clear", "endpoint", e)
		}
	}
}
