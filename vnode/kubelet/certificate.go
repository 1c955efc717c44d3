package kubelet

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
)

// Certificate is the kubelet port's certificate as the cluster signs it: by a CertificateSigningRequest of the signer
// kubernetes.io/kubelet-serving, which kube-controller-manager signs once somebody has approved it, and again before it runs out.
type Certificate struct {
	manager certificate.Manager
	logger  *slog.Logger
}

// NewCertificate reads what dir holds of an earlier start; the directory is made if it is missing. It asks nobody yet.
func NewCertificate(client kubernetes.Interface, nodeName, nodeIP, dir string, logger *slog.Logger) (*Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of the kubelet port's certificate: %w", err)
	}
	store, err := certificate.NewFileStore("kubelet-server", dir, dir, "", "")
	if err != nil {
		return nil, fmt.Errorf("reading the directory of the kubelet port's certificate: %w", err)
	}
	manager, err := certificate.NewManager(&certificate.Config{
		ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return client, nil },
		// What the signer demands. Source: Kubernetes documentation, "Certificates and Certificate Signing Requests".
		Template: &x509.CertificateRequest{
			Subject:     pkix.Name{CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
			DNSNames:    []string{nodeName},
			IPAddresses: []net.IP{net.ParseIP(nodeIP)},
		},
		SignerName:       certificatesv1.KubeletServingSignerName,
		GetUsages:        certificate.DefaultKubeletServingGetUsages,
		CertificateStore: store,
	})
	if err != nil {
		return nil, fmt.Errorf("reading the kubelet port's certificate in %s: %w", dir, err)
	}
	return &Certificate{manager, logger}, nil
}

// SelfSigned makes a certificate as kubelets have by default, new at each start: good for an API server that does not look at it, as kubeadm's do not.
func SelfSigned(nodeName, nodeIP string) (*tls.Certificate, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey(nodeName, []net.IP{net.ParseIP(nodeIP)}, nil)
	if err != nil {
		return nil, fmt.Errorf("making a certificate of the kubelet port: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the kubelet port that was made: %w", err)
	}
	return &pair, nil
}

// Run has the certificate signed, and again before it runs out, until ctx ends. It blocks.
func (c *Certificate) Run(ctx context.Context) error {
	if c.manager.Current() == nil {
		c.logger.Warn("the kubelet port has no certificate until somebody approves its CertificateSigningRequest",
			"signer", certificatesv1.KubeletServingSignerName)
	}
	c.manager.Start()
	<-ctx.Done()
	c.manager.Stop()
	return nil
}

// Get returns the newest certificate, for crypto/tls. It does not block.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	current := c.manager.Current()
	if current == nil {
		return nil, errors.New("no certificate yet: the CertificateSigningRequest of this node waits for approval")
	}
	return current, nil
}
