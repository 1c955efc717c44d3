package serve

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// authority signs certificates of clients.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "clients"},
		IsCA:                  true,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageCertSign,
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return authority{certificate, key}
}

func (a authority) write(t *testing.T, file string) {
	t.Helper()
	require.NoError(
		t,
		os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}), 0o600),
	)
}

// client is a certificate for the usage that ends when it does.
func (a authority) client(t *testing.T, usage x509.ExtKeyUsage, end time.Time) []tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "client"}, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	return []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}
}

// ask is what one client on a connection of its own gets: the protocol, or the error.
func ask(t *testing.T, address string, certificates []tls.Certificate) (string, error) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true, Certificates: certificates},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}}
	response, err := client.Get("https://" + address)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	require.NoError(t, err)
	return response.Proto, nil
}

func TestClientsOfTheAuthorityAloneAreLetIn(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := issue(t, dir, 1)
	caFile := filepath.Join(dir, "clients.crt")
	first, second := newAuthority(t), newAuthority(t)
	first.write(t, caFile)
	asked := make(chan string, 100)
	address, end, ended := start(t, Server{
		CertFile: certFile, KeyFile: keyFile, ClientCAFile: caFile, TLS: &tls.Config{NextProtos: []string{"http/1.1"}},
		Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked <- r.URL.Path }),
	})
	soon := time.Now().Add(time.Hour)
	cases := map[string]struct {
		certificates []tls.Certificate
		want         string
	}{
		"one of the authority is let in": {
			first.client(t, x509.ExtKeyUsageClientAuth, soon),
			"",
		},
		"one without a certificate is not": {nil, "tls: certificate required"},
		"one of another authority is not": {
			second.client(t, x509.ExtKeyUsageClientAuth, soon),
			"tls: unknown certificate authority",
		},
		"one whose time is over is not": {
			first.client(t, x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Minute)),
			"tls: expired certificate",
		},
		"a server of the authority is no client": {
			first.client(t, x509.ExtKeyUsageServerAuth, soon),
			"tls: bad certificate",
		},
		"one of an authority with another name does not even show its certificate": {
			selfSigned(t),
			"tls: certificate required",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			protocol, err := ask(t, address, tc.certificates)
			if tc.want != "" {
				require.ErrorContains(t, err, tc.want)
				assert.Empty(t, asked, "the handler is not called")
				return
			}
			require.NoError(t, err)
			assert.Equal(t, "/", <-asked)
			assert.Equal(t, "HTTP/1.1", protocol, "the base says which protocols there are")
		})
	}

	second.write(t, caFile)
	require.Eventually(t, func() bool {
		_, err := ask(t, address, second.client(t, x509.ExtKeyUsageClientAuth, soon))
		return err == nil
	}, timeout, 10*time.Millisecond, "a new authority counts without a restart")
	_, err := ask(t, address, first.client(t, x509.ExtKeyUsageClientAuth, soon))
	require.ErrorContains(t, err, "tls: unknown certificate authority", "the old one no longer")
	end()
	requireEnds(t, ended)
}

// selfSigned is a certificate that no authority knows.
func selfSigned(t *testing.T) []tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(issue(t, t.TempDir(), 7))
	require.NoError(t, err)
	return []tls.Certificate{pair}
}
