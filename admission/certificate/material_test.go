package certificate

import (
	"crypto/x509"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/util/cert"
)

var names = []string{"spillway-admission.spillway-system.svc", "127.0.0.1", "admission.example"}

// created returns the data of a new Secret and the time of its creation. All tests share one certificate, because the
// race detector slows the generation of RSA keys down.
func created(t testing.TB) (data map[string][]byte, birth time.Time) {
	t.Helper()
	first, err := firstSecret()
	require.NoError(t, err)
	require.True(t, first.changed)
	return maps.Clone(first.data), first.birth
}

type newSecret struct {
	data    map[string][]byte
	changed bool
	birth   time.Time
}

var firstSecret = sync.OnceValues(func() (newSecret, error) {
	birth := time.Now()
	data, changed, err := renew(nil, names, birth)
	return newSecret{data, changed, birth}, err
})

// verify checks the serving certificate as the API server does.
func verify(t *testing.T, data map[string][]byte, now time.Time) error {
	t.Helper()
	pair, err := readCertificate(data)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(data[authoritiesKey]))
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			return err
		}
	}
	return nil
}

func TestANewCertificateIsTrusted(t *testing.T) {
	data, birth := created(t)
	require.NoError(t, verify(t, data, birth))
	require.NoError(t, verify(t, data, birth.Add(-30*time.Minute)), "a clock that is behind trusts it too")
	require.NoError(t, verify(t, data, birth.Add(lifetime-2*time.Hour)))
	pair, err := readCertificate(data)
	require.NoError(t, err)
	assert.Equal(t, []string{names[0], names[2]}, pair.Leaf.DNSNames)
	assert.Equal(t, names[1], pair.Leaf.IPAddresses[0].String())
	assert.False(t, pair.Leaf.IsCA)
	assert.Len(t, data, 3, "the private key of the authority is not kept")
}

func TestAValidCertificateStays(t *testing.T) {
	data, birth := created(t)
	for name, now := range map[string]time.Time{
		"now": birth, "with more than a third left": birth.Add(lifetime * 6 / 10),
	} {
		same, changed, err := renew(data, names, now)
		require.NoError(t, err)
		assert.False(t, changed, name)
		assert.Equal(t, data, same)
	}
}

func TestACertificateIsRenewed(t *testing.T) {
	set := func(key string) func(map[string][]byte) {
		return func(d map[string][]byte) { d[key] = []byte("malformed") }
	}
	for name, test := range map[string]struct {
		after  time.Duration
		names  []string
		damage func(map[string][]byte)
		// former is how many authorities are trusted in addition to the new one.
		former int
	}{
		"when a third of its lifetime is left": {after: lifetime * 7 / 10, former: 1},
		"after it has expired":                 {after: lifetime * 2},
		"when the clock was wrong":             {after: -2 * time.Hour, former: 1},
		"when it has other names":              {names: append(names, "another.example"), former: 1},
		"when it is missing":                   {damage: func(d map[string][]byte) { delete(d, "tls.crt") }, former: 1},
		"when it is malformed":                 {damage: set("tls.crt"), former: 1},
		"when its key is missing":              {damage: func(d map[string][]byte) { delete(d, "tls.key") }, former: 1},
		"when its authority is missing":        {damage: func(d map[string][]byte) { delete(d, authoritiesKey) }},
		"when its authority is malformed":      {damage: set(authoritiesKey)},
	} {
		t.Run(name, func(t *testing.T) {
			data, birth := created(t)
			before := data[authoritiesKey]
			if test.damage != nil {
				test.damage(data)
			}
			if test.names == nil {
				test.names = names
			}
			renewed, changed, err := renew(data, test.names, birth.Add(test.after))
			require.NoError(t, err)
			assert.True(t, changed)
			require.NoError(t, verify(t, renewed, birth))
			trusted, err := cert.ParseCertsPEM(renewed[authoritiesKey])
			require.NoError(t, err)
			require.Len(t, trusted, 1+test.former)
			if test.former == 0 {
				return
			}
			encoded, err := cert.EncodeCertificates(trusted[1])
			require.NoError(t, err)
			assert.Equal(t, before, encoded, "a process may still serve a certificate of the former authority")
		})
	}
}

func FuzzReadCertificate(f *testing.F) {
	data, _ := created(f)
	f.Add(data["tls.crt"], data["tls.key"])
	f.Fuzz(func(t *testing.T, certificate, key []byte) {
		got, err := readCertificate(map[string][]byte{"tls.crt": certificate, "tls.key": key})
		assert.Equal(t, err == nil, got != nil)
	})
}
