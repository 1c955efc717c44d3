package certificate

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
)

// authoritiesKey is the key of the Secret that holds the authority of the certificate, followed by former authorities
// while a process may still serve one of their certificates. The Secret also has the keys of every TLS Secret. The
// private key of an authority is not kept: each authority signs one certificate, when it is created.
const authoritiesKey = "ca.crt"

// lifetime is how long a certificate is valid. It is renewed when a third of that is left, so there is much time to
// repair a renewal that fails.
const lifetime = 365 * 24 * time.Hour

// renew returns the data of the Secret with a certificate that is valid for the names, and whether the data changed.
func renew(
	data map[string][]byte, names []string, now time.Time,
) (renewed map[string][]byte, changed bool, err error) {
	trusted, _ := cert.ParseCertsPEM(data[authoritiesKey]) // None if they are malformed.
	if pair, err := readCertificate(data); err == nil && isValid(pair.Leaf, trusted, names, now) {
		return data, false, nil
	}
	chain, key, err := generate(names)
	if err != nil {
		return nil, false, fmt.Errorf("creating a certificate: %w", err)
	}
	created, err := cert.ParseCertsPEM(chain)
	if err != nil || len(created) < 2 {
		return nil, false, errors.Join(errors.New("creating a certificate: the authority is missing"), err)
	}
	trusted = slices.DeleteFunc(trusted, func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	bundle, err := cert.EncodeCertificates(append(created[1:], trusted...)...)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the authorities: %w", err)
	}
	return map[string][]byte{authoritiesKey: bundle, corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key}, true, nil
}

// generate returns a certificate for the DNS names and IP addresses, followed by its authority, and its private key.
func generate(names []string) (chain, key []byte, err error) {
	options := cert.SelfSignedCertKeyOptions{Host: names[0], MaxAge: lifetime}
	for _, name := range names[1:] {
		if ip := net.ParseIP(name); ip != nil {
			options.AlternateIPs = append(options.AlternateIPs, ip)
		} else {
			options.AlternateDNS = append(options.AlternateDNS, name)
		}
	}
	return cert.GenerateSelfSignedCertKeyWithOptions(options)
}

// isValid reports whether a certificate need not be renewed yet.
func isValid(c *x509.Certificate, trusted []*x509.Certificate, names []string, now time.Time) bool {
	due := c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
	signed := func(by *x509.Certificate) bool { return c.CheckSignatureFrom(by) == nil }
	missing := func(name string) bool { return c.VerifyHostname(name) != nil }
	return !now.Before(c.NotBefore) && now.Before(due) &&
		slices.ContainsFunc(trusted, signed) && !slices.ContainsFunc(names, missing)
}

// readCertificate decodes the certificate in the data of the Secret.
func readCertificate(data map[string][]byte) (*tls.Certificate, error) {
	if len(bytes.TrimSpace(data[corev1.TLSCertKey])) == 0 {
		return nil, errors.New("there is no certificate yet")
	}
	pair, err := tls.X509KeyPair(data[corev1.TLSCertKey], data[corev1.TLSPrivateKeyKey])
	if err != nil {
		return nil, fmt.Errorf("reading %s and %s: %w", corev1.TLSCertKey, corev1.TLSPrivateKeyKey, err)
	}
	return &pair, nil
}
