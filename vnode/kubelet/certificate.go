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

	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// Certificate is a serving certificate of the kubelet port that the cluster signs. It is requested by a
// CertificateSigningRequest of the signer kubernetes.io/kubelet-serving. kube-controller-manager signs the request
// once it is approved. The certificate is renewed before it expires.
type Certificate struct {
	manager certificate.Manager
	logger  *slog.Logger
}

// NewCertificate reads the certificate of an earlier start from dir. It creates dir if it is missing. It sends no
// requests.
func NewCertificate(
	client kubernetes.Interface, nodeName, nodeIP, dir string, logger *slog.Logger,
) (*Certificate, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("creating the directory of the kubelet port's certificate: %w", err)
	}
	store, err := certificate.NewFileStore("kubelet-server", dir, dir, "", "")
	if err != nil {
		return nil, fmt.Errorf("reading the directory of the kubelet port's certificate: %w", err)
	}
	manager, err := certificate.NewManager(&certificate.Config{
		ClientsetFn: func(*tls.Certificate) (kubernetes.Interface, error) { return client, nil },
		// The signer requires this subject, these names and these usages. Source: Kubernetes documentation, "Certificates and
		// Certificate Signing Requests", "Kubernetes signers".
		Template: &x509.CertificateRequest{
			Subject:     pkix.Name{CommonName: nodeuser.Name(nodeName), Organization: []string{nodeuser.Group}},
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

// SelfSigned returns a new self-signed certificate, as a kubelet uses by default. An API server accepts it unless it
// has --kubelet-certificate-authority. kubeadm does not set that flag.
func SelfSigned(nodeName, nodeIP string) (*tls.Certificate, error) {
	certificate, key, err := cert.GenerateSelfSignedCertKey(nodeName, []net.IP{net.ParseIP(nodeIP)}, nil)
	if err != nil {
		return nil, fmt.Errorf("creating a certificate of the kubelet port: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("parsing the new certificate of the kubelet port: %w", err)
	}
	return &pair, nil
}

// Run requests the certificate and renews it before it expires. It blocks until ctx ends.
func (c *Certificate) Run(ctx context.Context) error {
	if c.manager.Current() == nil {
		c.logger.Warn("the kubelet port has no certificate until its CertificateSigningRequest is approved",
			"signer", certificatesv1.KubeletServingSignerName)
	}
	c.manager.Start()
	<-ctx.Done()
	c.manager.Stop()
	return nil
}

// Get returns the newest certificate. It implements GetCertificate of tls.Config. It does not block.
func (c *Certificate) Get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	current := c.manager.Current()
	if current == nil {
		return nil, errors.New("no certificate yet: the CertificateSigningRequest of this node is not approved")
	}
	return current, nil
}
