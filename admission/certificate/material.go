package certificate

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Keys of the Secret beside those of every TLS Secret.
const (
	// authorityKey holds the authority, and behind it the one before while certificates of its may be in use.
	authorityKey = "ca.crt"
	// authorityPrivateKey signs certificates.
	authorityPrivateKey = "ca.key"
)

// What is made lasts that long and is made anew when a third of it is left: nobody has to hurry when the making fails.
const (
	authorityLifetime   = 10 * 365 * 24 * time.Hour
	certificateLifetime = 365 * 24 * time.Hour
	// skew is for clocks that are behind.
	skew = time.Hour
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  crypto.Signer
	// pem is the private key.
	pem []byte
}

// readAuthority reads the authority of a Secret's data and those that are trusted beside it.
func readAuthority(data map[string][]byte) (*authority, []*x509.Certificate, error) {
	certs, err := cert.ParseCertsPEM(data[authorityKey])
	if err != nil {
		return nil, nil, fmt.Errorf("reading %s: %w", authorityKey, err)
	}
	private, err := keyutil.ParsePrivateKeyPEM(data[authorityPrivateKey])
	if err != nil {
		return nil, certs, fmt.Errorf("reading %s: %w", authorityPrivateKey, err)
	}
	key, ok := private.(*ecdsa.PrivateKey)
	if !ok {
		return nil, certs, fmt.Errorf("reading %s: must be an ECDSA key, not a %T", authorityPrivateKey, private)
	}
	if !key.PublicKey.Equal(certs[0].PublicKey) {
		return nil, certs, fmt.Errorf("%s does not belong to %s", authorityPrivateKey, authorityKey)
	}
	return &authority{certs[0], key, data[authorityPrivateKey]}, certs[1:], nil
}

// newAuthority makes an authority that signs itself.
func newAuthority(now time.Time) (*authority, error) {
	key, encoded, err := newKey()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		// Authorities are told apart by their names: a certificate has its issuer's.
		Subject: pkix.Name{CommonName: "spillway-admission-" + now.UTC().Format("20060102150405")}, NotBefore: now.Add(-skew), NotAfter: now.Add(authorityLifetime),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature, IsCA: true, BasicConstraintsValid: true,
	}
	signed, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("making an authority: %w", err)
	}
	return &authority{signed, key, encoded}, nil
}

// issue makes a serving certificate for the names, DNS names or IP addresses, as a TLS Secret holds it.
func (a *authority) issue(names []string, now time.Time) (certificate, key []byte, err error) {
	private, encoded, err := newKey()
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: names[0]}, NotBefore: now.Add(-skew), NotAfter: now.Add(certificateLifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	template.DNSNames, template.IPAddresses = splitNames(names)
	signed, err := sign(template, a.cert, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("making a certificate: %w", err)
	}
	certificate, err = cert.EncodeCertificates(signed)
	return certificate, encoded, err
}

func splitNames(names []string) (dns []string, ips []net.IP) {
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			ips = append(ips, ip)
		} else {
			dns = append(dns, name)
		}
	}
	return dns, ips
}

func newKey() (*ecdsa.PrivateKey, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("making a key: %w", err)
	}
	encoded, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding a key: %w", err)
	}
	return key, encoded, nil
}

func sign(template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("choosing a serial number: %w", err)
	}
	template.SerialNumber = serial
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return x509.ParseCertificate(der)
}

// isDue tells whether a certificate is to be made anew.
func isDue(c *x509.Certificate, now time.Time) bool {
	return now.Before(c.NotBefore) || now.After(c.NotAfter.Add(-c.NotAfter.Sub(c.NotBefore)/3))
}

// renewAuthority returns the Secret's data with an authority that is good, and whether anything changed. An authority that is
// replaced stays trusted as long as it is valid, and the certificate stays: the API server has to learn of the new one first.
func renewAuthority(data map[string][]byte, now time.Time) (renewed map[string][]byte, changed bool, err error) {
	current, older, err := readAuthority(data)
	if err == nil && !isDue(current.cert, now) {
		return data, false, nil
	}
	if current != nil {
		older = append([]*x509.Certificate{current.cert}, older...)
	}
	made, err := newAuthority(now)
	if err != nil {
		return nil, false, err
	}
	older = slices.DeleteFunc(older, func(c *x509.Certificate) bool { return now.After(c.NotAfter) })
	bundle, err := cert.EncodeCertificates(append([]*x509.Certificate{made.cert}, older...)...)
	if err != nil {
		return nil, false, fmt.Errorf("encoding the authorities: %w", err)
	}
	return with(data, map[string][]byte{authorityKey: bundle, authorityPrivateKey: made.pem}), true, nil
}

// renewCertificate returns the Secret's data with a certificate that is good for the names, and whether anything changed.
func renewCertificate(data map[string][]byte, names []string, now time.Time) (renewed map[string][]byte, changed bool, err error) {
	signer, _, err := readAuthority(data)
	if err != nil {
		return nil, false, err
	}
	if served, err := readCertificate(data); err == nil && !isDue(served.Leaf, now) && served.Leaf.CheckSignatureFrom(signer.cert) == nil && covers(served.Leaf, names) {
		return data, false, nil
	}
	certificate, key, err := signer.issue(names, now)
	if err != nil {
		return nil, false, err
	}
	return with(data, map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: key}), true, nil
}

func covers(c *x509.Certificate, names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool { return c.VerifyHostname(name) != nil })
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

// with is a copy of the data with changes.
func with(data, changes map[string][]byte) map[string][]byte {
	out := map[string][]byte{}
	for _, from := range []map[string][]byte{data, changes} {
		for key, value := range from {
			out[key] = value
		}
	}
	return out
}
