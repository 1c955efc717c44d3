package system

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// lifetime is the validity of the certificates and tokens of a system. It exceeds the life of any system.
const lifetime = 5 * 365 * 24 * time.Hour

// kubeletClientUser is the API server's user name at the virtual nodes. A ClusterRoleBinding allows it to read logs
// there.
const kubeletClientUser = "kube-apiserver-kubelet-client"

// SchedulerUser is the scheduler's user name at the extenders behind the Forwarder, and at the API server in kubeadm's
// clusters.
const SchedulerUser = "system:kube-scheduler"

// pki is the directory with the keys and certificates of a system. One CA signs all of them at the first start.
type pki string

// CertificateFiles returns the paths of the certificate and the key of a process of the system in dir. They exist once
// the system has been started. The certificate of the APIServer is valid for loopback, so a proxy in front of it can
// use it.
func CertificateFiles(dir, process string) (certFile, keyFile string) {
	p := pki(filepath.Join(dir, "data", "pki"))
	return p.certFile(process), p.keyFile(process)
}

func (p pki) certFile(name string) string { return filepath.Join(string(p), name+".crt") }
func (p pki) keyFile(name string) string  { return filepath.Join(string(p), name+".key") }

// make creates the missing keys and certificates.
func (p pki) make() error {
	authority, key, err := p.authority()
	if err != nil {
		return err
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(p.keyFile("service-accounts")); err != nil {
		return fmt.Errorf("creating the key that signs ServiceAccount tokens: %w", err)
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	apiServer := append(slices.Clone(loopback), net.IPv4(10, 96, 0, 1)) // The Service of the API server, used by Pods.
	for name, template := range map[string]x509.Certificate{
		APIServer:         server(apiServer, "localhost", "kubernetes.default.svc"),
		ControllerManager: server(loopback),
		Scheduler:         server(loopback),
		Admission:         server(loopback),
		vnode:             server(loopback),
		Extender:          server(loopback),
		kubeletClientUser: {ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
		SchedulerUser:     {ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}},
	} {
		template.Subject = pkix.Name{CommonName: name}
		if err := p.sign(name, template, authority, key); err != nil {
			return fmt.Errorf("creating the certificate of %s: %w", name, err)
		}
	}
	return nil
}

func server(ips []net.IP, names ...string) x509.Certificate {
	return x509.Certificate{IPAddresses: ips, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// authority returns the CA. It creates the CA if it does not exist.
func (p pki) authority() (*x509.Certificate, crypto.Signer, error) {
	key, err := loadOrCreateKey(p.keyFile("ca"))
	if err != nil {
		return nil, nil, fmt.Errorf("creating the CA: %w", err)
	}
	if certs, err := cert.CertsFromFile(p.certFile("ca")); err == nil {
		return certs[0], key, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the CA: %w", err)
	}
	authority, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "spillway-trial"}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("creating the CA: %w", err)
	}
	encoded, err := cert.EncodeCertificates(authority)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the CA: %w", err)
	}
	return authority, key, cert.WriteCert(p.certFile("ca"), encoded)
}

// sign completes the template, signs it with the CA and writes the certificate, unless the certificate exists.
func (p pki) sign(name string, template x509.Certificate, authority *x509.Certificate,
	authorityKey crypto.Signer) error {
	if _, err := os.Stat(p.certFile(name)); err == nil {
		return nil
	}
	key, err := loadOrCreateKey(p.keyFile(name))
	if err != nil {
		return err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("generating a serial number: %w", err)
	}
	template.NotBefore = authority.NotBefore
	template.NotAfter = authority.NotBefore.Add(lifetime)
	template.KeyUsage = x509.KeyUsageDigitalSignature
	der, err := x509.CreateCertificate(rand.Reader, &template, authority, key.Public(), authorityKey)
	if err != nil {
		return fmt.Errorf("signing: %w", err)
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("parsing the signed certificate: %w", err)
	}
	encoded, err := cert.EncodeCertificates(signed)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	return cert.WriteCert(p.certFile(name), encoded)
}

func loadOrCreateKey(path string) (crypto.Signer, error) {
	content, _, err := keyutil.LoadOrGenerateKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("creating a key: %w", err)
	}
	key, err := keyutil.ParsePrivateKeyPEM(content)
	if err != nil {
		return nil, fmt.Errorf("reading the key in %s: %w", path, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading the key in %s: a %T cannot sign", path, key)
	}
	return signer, nil
}
