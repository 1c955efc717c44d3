package integration

import (
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	certificatesv1 "k8s.io/api/certificates/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/certificate"
	"k8s.io/client-go/util/keyutil"

	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// signedByTheCluster configures a certificate of the kubelet port that the cluster signs.
func signedByTheCluster(t *testing.T) func(*Config) {
	dir := filepath.Join(t.TempDir(), "certificate")
	return func(c *Config) { c.TLSCertFile, c.TLSPrivateKeyFile, c.CertificateDir = "", "", dir }
}

// requestsFor returns the CertificateSigningRequests for a node.
func requestsFor(t testing.TB, node string) (found []certificatesv1.CertificateSigningRequest) {
	t.Helper()
	list, err := trial.Client().CertificatesV1().CertificateSigningRequests().List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	for _, request := range list.Items {
		block, _ := pem.Decode(request.Spec.Request)
		require.NotNil(t, block)
		asked, err := x509.ParseCertificateRequest(block.Bytes)
		require.NoError(t, err)
		if asked.Subject.CommonName == "system:node:"+node {
			found = append(found, request)
		}
	}
	return found
}

// approve waits for the one request for a node and approves it, as an administrator.
func approve(t *testing.T, node string) {
	t.Helper()
	eventually(t, func() error {
		if n := len(requestsFor(t, node)); n != 1 {
			return fmt.Errorf("there should be one request, not %d", n)
		}
		return nil
	})
	assert.Zero(t, ask(t, "default", "", "certificate", "approve", requestsFor(t, node)[0].Name).code)
}

// awaitLogs waits until kubectl reads the log of a Pod. The API server verifies the certificate: it has
// --kubelet-certificate-authority.
func awaitLogs(t *testing.T, namespace, pod string) {
	t.Helper()
	eventually(t, func() error {
		if got := ask(t, namespace, "", "logs", pod); got.code != 0 {
			return errors.New(got.errs)
		}
		return nil
	})
}

func TestTheClusterSignsTheCertificateOfTheKubeletPort(t *testing.T) {
	t.Parallel()
	v, ns := startOn(t, cloudtest.New(t, cloudtest.EveryAPI), signedByTheCluster(t))
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	assert.NotZero(t, ask(t, ns, "", "logs", "web").code, "nothing has approved it yet")
	approve(t, v.name())
	awaitLogs(t, ns, "web")

	v.stop(t)
	start(t, v.config)
	awaitLogs(t, ns, "web")
	assert.Len(t, requestsFor(t, v.name()), 1, "a restart needs no other approval")
}

// A certificate near its expiry is replaced. It is served until the new one is approved. Then the new one is served
// without a restart.
func TestTheCertificateOfTheKubeletPortIsRenewed(t *testing.T) {
	t.Parallel()
	aged := big.NewInt(4711)
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud, signedByTheCluster(t), func(c *Config) { keepAged(t, c, aged) })
	create(t, ns, podOn(v.name(), "web"))
	await(t, ns, "web", isReady)
	assert.Equal(t, aged, served(t, v.config.Listen).SerialNumber)
	awaitLogs(t, ns, "web")
	approve(t, v.name())
	eventually(t, func() error {
		if served(t, v.config.Listen).SerialNumber.Cmp(aged) == 0 {
			return errors.New("the old certificate is still served")
		}
		return nil
	})
	assert.Greater(t, time.Until(served(t, v.config.Listen).NotAfter), 24*time.Hour)
	awaitLogs(t, ns, "web")
	assert.Len(t, requestsFor(t, v.name()), 1)
}

// served returns the certificate of a port.
func served(t *testing.T, address string) *x509.Certificate {
	t.Helper()
	connection, err := tls.Dial("tcp", address, &tls.Config{InsecureSkipVerify: true})
	require.NoError(t, err)
	defer connection.Close()
	return connection.ConnectionState().PeerCertificates[0]
}

// keepAged writes an old certificate of the cluster, which expires soon, into the node's directory.
func keepAged(t *testing.T, config *Config, number *big.Int) {
	t.Helper()
	authority, err := tls.LoadX509KeyPair(trialFile("pki", "ca.crt"), trialFile("pki", "ca.key"))
	require.NoError(t, err)
	keyPEM, err := keyutil.MakeEllipticPrivateKeyPEM()
	require.NoError(t, err)
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	require.NoError(t, err)
	signer, ok := key.(crypto.Signer)
	require.True(t, ok)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: number, NotBefore: time.Now().Add(-9 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		Subject:  pkix.Name{CommonName: "system:node:" + config.Node.Name, Organization: []string{"system:nodes"}},
		DNSNames: []string{config.Node.Name}, IPAddresses: []net.IP{net.ParseIP(config.Node.IP)},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, authority.Leaf, signer.Public(), authority.PrivateKey)
	require.NoError(t, err)
	signed, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	certPEM, err := cert.EncodeCertificates(signed)
	require.NoError(t, err)
	require.NoError(t, os.MkdirAll(config.CertificateDir, 0o700))
	store, err := certificate.NewFileStore("kubelet-server", config.CertificateDir, config.CertificateDir, "", "")
	require.NoError(t, err)
	_, err = store.Update(certPEM, keyPEM)
	require.NoError(t, err)
}
