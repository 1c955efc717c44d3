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

// authoritiesKey of the Secret, beside the keys of every TLS Secret, holds the authority of the certificate, and behind it the ones before
// while certificates of theirs may be served. Nobody keeps the keys of authorities: each signs one certificate when it is made.
const authoritiesKey = "ca.crt"

// lifetime is how long a certificate is good. It is made anew when a third of that is left: nobody has to hurry when the making fails.
const lifetime = 365 * 24 * time.Hour

// renew returns the Secret's data with a certificate that is good for the names, and whether anything changed.
func renew(data map[string][]byte, names []string, now time.Time) (renewed map[string][]byte, changed bool, err error) {
	trusted, _ := cert.ParseCertsPEM(data[authoritiesKey]) // None where they cannot be read.
	if pair, err := readCertificate(data); err == nil && isGood(pair.Leaf, trusted, names, now) {
		return data, false, nil
	}
	chain, key, err := generate(names)
	if err != nil {
		return nil, false, fmt.Errorf("making a certificate: %w", err)
	}
	made, err := cert.ParseCertsPEM(chain)
	if err != nil || len(made) < 2 {
		return nil, false, errors.Join(errors.New("making a certificate: it came without its authority"), err)
	}
	trusted = slices.DeleteFunc(trusted, func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	bundle, err := cert.EncodeCertificates(append(made[1:], trusted...)...)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the authorities: %w", err)
	}
	return map[string][]byte{authoritiesKey: bundle, corev1.TLSCertKey: chain, corev1.TLSPrivateKeyKey: key}, true, nil
}

// generate makes a certificate for the names, DNS names or IP addresses, with its authority behind it, and its key.
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

// isGood tells whether a certificate need not be made anew yet.
func isGood(c *x509.Certificate, trusted []*x509.Certificate, names []string, now time.Time) bool {
	due := c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore) / 3)
	signed := func(by *x509.Certificate) bool { return c.CheckSignatureFrom(by) == nil }
	foreign := func(name string) bool { return c.VerifyHostname(name) != nil }
	return !now.Before(c.NotBefore) && now.Before(due) && slices.ContainsFunc(trusted, signed) && !slices.ContainsFunc(names, foreign)
}

// readCertificate reads what is served.
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
