package services

import (
	"context"
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
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// SecretName is the name of the Secret that all servers of a cluster share, in the namespace of the programs.
const SecretName = "spillway-services"

// The keys of the Secret: the authority of the servers' certificates, in PEM, and the key of the tokens.
const (
	secretCA       = "ca.crt"
	secretCAKey    = "ca.key"
	secretTokenKey = "token.key"
)

const (
	// secretRefresh is how often the Secret is read, in case that an administrator replaces it. secretRetry is how soon it
	// is read again after an error.
	secretRefresh = time.Minute
	secretRetry   = 5 * time.Second
	// secretTimeout bounds each request.
	secretTimeout = 10 * time.Second
	// certificateLife is how long a certificate of a server is valid. It is replaced after two thirds. clockSkew is how
	// far the clock of a client may be behind.
	certificateLife = 90 * 24 * time.Hour
	clockSkew       = time.Hour
)

// secret is the content of the Secret. Each server makes its certificate with it.
type secret struct {
	content map[string][]byte
	key     Key
	ca      *x509.Certificate
	caKey   crypto.Signer

	mu      sync.Mutex
	current *tls.Certificate
	renew   time.Time
}

// keepSecret reads the Secret again and again until ctx ends. The first server creates its content.
func (s *Server) keepSecret(ctx context.Context) {
	var last string
	for ctx.Err() == nil {
		wait := secretRefresh
		if err := s.readSecret(ctx); err != nil {
			wait = secretRetry
			if ctx.Err() == nil && err.Error() != last {
				s.config.Logger.Error("the keys of the server of Services are not known, or no longer read", "err", err)
			}
			last = err.Error()
		} else {
			last = ""
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// readSecret reads the Secret. If it has no content, readSecret writes it.
func (s *Server) readSecret(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, secretTimeout)
	defer cancel()
	secrets := s.config.Client.CoreV1().Secrets(s.config.Namespace)
	found, err := secrets.Get(ctx, SecretName, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		var content map[string][]byte
		if content, err = newContent(); err != nil {
			return err
		}
		found, err = secrets.Create(ctx, &corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Name: SecretName}, Type: corev1.SecretTypeOpaque, Data: content,
		}, metav1.CreateOptions{})
	case err == nil && len(found.Data) == 0:
		if found.Data, err = newContent(); err != nil {
			return err
		}
		// If another server was faster, this one is refused: the resource version has changed.
		found, err = secrets.Update(ctx, found, metav1.UpdateOptions{})
	}
	if apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err) {
		found, err = secrets.Get(ctx, SecretName, metav1.GetOptions{})
	}
	if err != nil {
		return fmt.Errorf("reading or creating Secret %s/%s: %w", s.config.Namespace, SecretName, err)
	}
	return s.useSecret(found.Data)
}

// useSecret uses the content of the Secret from now on, if it is new.
func (s *Server) useSecret(content map[string][]byte) error {
	if current := s.secret.Load(); current != nil && current.equals(content) {
		return nil
	}
	parsed, err := parseSecret(content, s.config.Now())
	if err != nil {
		return fmt.Errorf("reading Secret %s/%s: %w: delete its data, and the servers write it again",
			s.config.Namespace, SecretName, err)
	}
	if s.secret.Swap(parsed) != nil {
		s.config.Logger.Info("the keys of the server of Services were replaced: proxies need new kubeconfigs")
		s.eachNode((*node).endStreams)
	}
	return nil
}

func (c *secret) equals(content map[string][]byte) bool {
	for _, key := range []string{secretCA, secretCAKey, secretTokenKey} {
		if string(c.content[key]) != string(content[key]) {
			return false
		}
	}
	return true
}

// newContent creates an authority and a key.
func newContent() (map[string][]byte, error) {
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("creating the key of the authority of the servers of Services: %w", err)
	}
	ca, err := cert.NewSelfSignedCACert(cert.Config{CommonName: ServerName}, caKey) // It is valid for ten years.
	if err != nil {
		return nil, fmt.Errorf("creating the authority of the servers of Services: %w", err)
	}
	caPEM, err := cert.EncodeCertificates(ca)
	if err != nil {
		return nil, fmt.Errorf("encoding the authority of the servers of Services: %w", err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(caKey)
	if err != nil {
		return nil, fmt.Errorf("encoding the key of the authority of the servers of Services: %w", err)
	}
	tokenKey := make([]byte, keyLength)
	if _, err := rand.Read(tokenKey); err != nil {
		return nil, fmt.Errorf("creating the key of tokens: %w", err)
	}
	return map[string][]byte{secretCA: caPEM, secretCAKey: keyPEM, secretTokenKey: tokenKey}, nil
}

// parseSecret returns the content of the Secret, or an error that names the key that is wrong.
func parseSecret(content map[string][]byte, now time.Time) (*secret, error) {
	parsed := &secret{content: content, key: content[secretTokenKey]}
	if len(parsed.key) != keyLength {
		return nil, fmt.Errorf("%s has %d bytes, must have %d", secretTokenKey, len(parsed.key), keyLength)
	}
	certificates, err := cert.ParseCertsPEM(content[secretCA])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", secretCA, err)
	}
	parsed.ca = certificates[0]
	if now.After(parsed.ca.NotAfter) {
		return nil, fmt.Errorf("%s has expired on %s", secretCA, parsed.ca.NotAfter.Format(time.DateOnly))
	}
	key, err := keyutil.ParsePrivateKeyPEM(content[secretCAKey])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", secretCAKey, err)
	}
	var ok bool
	if parsed.caKey, ok = key.(crypto.Signer); !ok {
		return nil, fmt.Errorf("%s: a key of type %T cannot sign", secretCAKey, key)
	}
	// It fails unless the key is that of the authority.
	if _, err := parsed.newCertificate(now); err != nil {
		return nil, err
	}
	return parsed, nil
}

// certificate returns the certificate of this server. It implements GetCertificate of tls.Config.
func (s *Server) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	keys := s.secret.Load()
	if keys == nil {
		return nil, errors.New("the server of Services has no certificate yet")
	}
	keys.mu.Lock()
	defer keys.mu.Unlock()
	if now := s.config.Now(); keys.current == nil || now.After(keys.renew) {
		made, err := keys.newCertificate(now)
		if err != nil {
			return nil, err
		}
		keys.current, keys.renew = made, now.Add(certificateLife*2/3)
	}
	return keys.current, nil
}

// newCertificate creates a certificate of a server.
func (c *secret) newCertificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("creating a key of the server of Services: %w", err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("creating a serial number: %w", err)
	}
	end := now.Add(certificateLife)
	if end.After(c.ca.NotAfter) {
		end = c.ca.NotAfter
	}
	made, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: ServerName}, DNSNames: []string{ServerName},
		NotBefore: now.Add(-clockSkew), NotAfter: end, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}, c.ca, key.Public(), c.caKey)
	if err != nil {
		return nil, fmt.Errorf("creating a certificate of the server of Services with %s and %s: %w",
			secretCA, secretCAKey, err)
	}
	return &tls.Certificate{Certificate: [][]byte{made}, PrivateKey: key}, nil
}
