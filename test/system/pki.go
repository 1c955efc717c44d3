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

// lifetime of the certificates and tokens of a system, longer than anyone keeps one.
const lifetime = 5 * 365 * 24 * time.Hour

// kubeletClientUser is who the API server is towards the virtual nodes; a ClusterRoleBinding lets it read logs there.
const kubeletClientUser = "kube-apiserver-kubelet-client"

// SchedulerUser is who the scheduler is towards the extenders behind the Forwarder, and in kubeadm's clusters towards the API server.
const SchedulerUser = "system:kube-scheduler"

// pki is the directory of a system's keys and certificates, all signed by one authority and made at the first start.
type pki string

// CertificateFiles are where the certificate of a process of the system in dir and its key stand, once the system has been started.
// That of the APIServer serves a proxy too that stands before it: it is good for loopback.
func CertificateFiles(dir, process string) (certFile, keyFile string) {
	p := pki(filepath.Join(dir, "data", "pki"))
	return p.certFile(process), p.keyFile(process)
}

func (p pki) certFile(name string) string { return filepath.Join(string(p), name+".crt") }
func (p pki) keyFile(name string) string  { return filepath.Join(string(p), name+".key") }

// make makes what is missing.
func (p pki) make() error {
	authority, key, err := p.authority()
	if err != nil {
		return err
	}
	if _, _, err := keyutil.LoadOrGenerateKeyFile(p.keyFile("service-accounts")); err != nil {
		return fmt.Errorf("making the key that signs ServiceAccount tokens: %w", err)
	}
	loopback := []net.IP{net.IPv4(127, 0, 0, 1)}
	apiServer := append(slices.Clone(loopback), net.IPv4(10, 96, 0, 1)) // The Service of the API server, for Pods.
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
			return fmt.Errorf("making the certificate of %s: %w", name, err)
		}
	}
	return nil
}

func server(ips []net.IP, names ...string) x509.Certificate {
	return x509.Certificate{IPAddresses: ips, DNSNames: names, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
}

// authority returns the certificate authority, made if it is missing.
func (p pki) authority() (*x509.Certificate, crypto.Signer, error) {
	key, err := loadOrMakeKey(p.keyFile("ca"))
	if err != nil {
		return nil, nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	if certs, err := cert.CertsFromFile(p.certFile("ca")); err == nil {
		return certs[0], key, nil
	} else if !errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("reading the certificate authority: %w", err)
	}
	authority, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "spillway-trial"}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("making the certificate authority: %w", err)
	}
	encoded, err := cert.EncodeCertificates(authority)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the certificate authority: %w", err)
	}
	return authority, key, cert.WriteCert(p.certFile("ca"), encoded)
}

// sign completes the template into a certificate signed by the authority and writes it, unless it is there.
func (p pki) sign(name string, template x509.Certificate, authority *x509.Certificate, authorityKey crypto.Signer) error {
	if _, err := os.Stat(p.certFile(name)); err == nil {
		return nil
	}
	key, err := loadOrMakeKey(p.keyFile(name))
	if err != nil {
		return err
	}
	template.SerialNumber, err = rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return fmt.Errorf("choosing a serial number: %w", err)
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
		return fmt.Errorf("reading back what was signed: %w", err)
	}
	encoded, err := cert.EncodeCertificates(signed)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	return cert.WriteCert(p.certFile(name), encoded)
}

func loadOrMakeKey(path string) (crypto.Signer, error) {
	content, _, err := keyutil.LoadOrGenerateKeyFile(path)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
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
