package kubelet_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
	"k8s.io/client-go/util/keyutil"

	"github.com/spillway-k8s/spillway/vnode/kubelet"
)

const nodeName, nodeIP = "virtual", "10.0.0.9"

// signer is a CA that approves and signs every CertificateSigningRequest when it is created.
type signer struct {
	t        *testing.T
	key      *ecdsa.PrivateKey
	ca       *x509.Certificate
	requests atomic.Int64
}

func newSigner(t *testing.T) *signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "ca"}, key)
	require.NoError(t, err)
	return &signer{t: t, key: key, ca: ca}
}

// client returns a cluster with this signer.
func (s *signer) client() *fake.Clientset {
	client := fake.NewClientset()
	sign := func(a clienttesting.Action) (bool, runtime.Object, error) {
		request := a.(clienttesting.CreateAction).GetObject().(*certificatesv1.CertificateSigningRequest)
		n := s.requests.Add(1)
		request.Name = request.GenerateName + big.NewInt(n).String()
		block, _ := pem.Decode(request.Spec.Request)
		parsed, err := x509.ParseCertificateRequest(block.Bytes)
		assert.NoError(s.t, err)
		assert.Equal(s.t, certificatesv1.KubeletServingSignerName, request.Spec.SignerName)
		assert.Equal(s.t, "system:node:"+nodeName, parsed.Subject.CommonName)
		assert.Equal(s.t, []string{"system:nodes"}, parsed.Subject.Organization)
		from, until := time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
		request.Status.Certificate = s.sign(parsed.PublicKey, big.NewInt(n), from, until)
		request.Status.Conditions = []certificatesv1.CertificateSigningRequestCondition{
			{Type: certificatesv1.CertificateApproved, Status: corev1.ConditionTrue},
		}
		return false, nil, nil // The tracker stores the object.
	}
	client.PrependReactor("create", "certificatesigningrequests", sign)
	return client
}

// sign returns a certificate of the node as PEM.
func (s *signer) sign(publicKey any, serial *big.Int, from, until time.Time) []byte {
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: from, NotAfter: until,
		Subject:  pkix.Name{CommonName: "system:node:" + nodeName, Organization: []string{"system:nodes"}},
		DNSNames: []string{nodeName}, IPAddresses: []net.IP{net.ParseIP(nodeIP)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, s.ca, publicKey, s.key)
	assert.NoError(s.t, err)
	return pem.EncodeToMemory(&pem.Block{Type: cert.CertificateBlockType, Bytes: der})
}

// store writes a certificate of an earlier start to the directory.
func (s *signer) store(dir string, serial int64, from, until time.Time) {
	keyPEM, err := keyutil.MakeEllipticPrivateKeyPEM()
	require.NoError(s.t, err)
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	require.NoError(s.t, err)
	store, err := certificate.NewFileStore("kubelet-server", dir, dir, "", "")
	require.NoError(s.t, err)
	certPEM := s.sign(&key.(*ecdsa.PrivateKey).PublicKey, big.NewInt(serial), from, until)
	_, err = store.Update(certPEM, keyPEM)
	require.NoError(s.t, err)
}

// serial returns the serial number of the current certificate, 0 if there is none.
func serial(c *kubelet.Certificate) int64 {
	current, err := c.Get(nil)
	if err != nil {
		return 0
	}
	return current.Leaf.SerialNumber.Int64()
}

func newCertificate(t *testing.T, client *fake.Clientset, dir string, log *strings.Builder) *kubelet.Certificate {
	t.Helper()
	c, err := kubelet.NewCertificate(client, nodeName, nodeIP, dir, slog.New(slog.NewTextHandler(log, nil)))
	require.NoError(t, err)
	return c
}

// run runs the certificate until the returned function is called.
func run(t *testing.T, c *kubelet.Certificate) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	return func() {
		cancel()
		assert.NoError(t, <-ended)
	}
}

func TestCertificateIsRequestedAndKept(t *testing.T) {
	signer, dir, log := newSigner(t), filepath.Join(t.TempDir(), "certificates"), &strings.Builder{}
	client := signer.client()
	c := newCertificate(t, client, dir, log)
	_, err := c.Get(nil)
	assert.ErrorContains(t, err, "no certificate yet")
	assert.Empty(t, client.Actions(), "NewCertificate sends no requests")
	stop := run(t, c)
	require.Eventually(t, func() bool { return serial(c) == 1 }, timeout, 10*time.Millisecond)
	stop()
	assert.Contains(t, log.String(), "no certificate until its CertificateSigningRequest is approved")
	current, err := c.Get(nil)
	require.NoError(t, err)
	assert.NoError(t, current.Leaf.VerifyHostname(nodeName))
	assert.NoError(t, current.Leaf.VerifyHostname(nodeIP))

	again := newCertificate(t, signer.client(), dir, log)
	assert.Equal(t, int64(1), serial(again), "a restart reads the certificate from the directory")
	stop = run(t, again)
	time.Sleep(100 * time.Millisecond)
	stop()
	assert.Equal(t, int64(1), signer.requests.Load(), "a restart sends no further request")
}

// client-go renews a certificate after 70 to 90 % of its lifetime.
func TestCertificateIsRenewedBeforeItExpires(t *testing.T) {
	signer, dir := newSigner(t), t.TempDir()
	signer.store(dir, 4711, time.Now().Add(-95*time.Minute), time.Now().Add(5*time.Minute))
	c := newCertificate(t, signer.client(), dir, &strings.Builder{})
	assert.Equal(t, int64(4711), serial(c), "the old certificate is served until the new one is signed")
	stop := run(t, c)
	defer stop()
	require.Eventually(t, func() bool { return serial(c) == 1 }, timeout, 10*time.Millisecond)
}

func TestUnusableCertificateDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err := kubelet.NewCertificate(fake.NewClientset(), nodeName, nodeIP, file, slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "creating the directory of the kubelet port's certificate")

	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "kubelet-server-current.pem"), []byte("no certificate"), 0o600))
	_, err = kubelet.NewCertificate(fake.NewClientset(), nodeName, nodeIP, dir, slog.New(slog.DiscardHandler))
	assert.ErrorContains(t, err, "reading the kubelet port's certificate in "+dir)
}

func TestSelfSignedCertificate(t *testing.T) {
	pair, err := kubelet.SelfSigned(nodeName, nodeIP)
	require.NoError(t, err)
	assert.NoError(t, pair.Leaf.VerifyHostname(nodeName))
	assert.NoError(t, pair.Leaf.VerifyHostname(nodeIP))
	assert.Greater(t, time.Until(pair.Leaf.NotAfter), 24*time.Hour)
}
