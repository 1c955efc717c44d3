package certificate

import (
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/client-go/util/cert"
)

var names = []string{"spillway-admission.spillway-system.svc", "127.0.0.1", "admission.example"}

// made is a Secret's data as the first step makes it, and when that was.
func made(t *testing.T) (data map[string][]byte, birth time.Time) {
	t.Helper()
	birth = time.Now()
	data, changed, err := renew(nil, names, birth)
	require.NoError(t, err)
	require.True(t, changed)
	return data, birth
}

// verify checks what is served as the API server does.
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

func TestWhatIsMadeIsTrusted(t *testing.T) {
	data, birth := made(t)
	require.NoError(t, verify(t, data, birth))
	require.NoError(t, verify(t, data, birth.Add(-30*time.Minute)), "by a clock that is behind")
	require.NoError(t, verify(t, data, birth.Add(lifetime-2*time.Hour)))
	pair, err := readCertificate(data)
	require.NoError(t, err)
	assert.Equal(t, []string{names[0], names[2]}, pair.Leaf.DNSNames)
	assert.Equal(t, names[1], net.IP(pair.Leaf.IPAddresses[0]).String())
	assert.False(t, pair.Leaf.IsCA)
	assert.Len(t, data, 3, "the key of the authority is not kept")
}

func TestWhatIsGoodStays(t *testing.T) {
	data, birth := made(t)
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
	for name, test := range map[string]struct {
		after time.Duration
		names []string
		spoil func(map[string][]byte)
		// former is how many authorities are trusted beside the new one.
		former int
	}{
		"when a third of its life is left": {after: lifetime * 7 / 10, former: 1},
		"after it has run out":             {after: lifetime * 2},
		"when the clock was wrong":         {after: -2 * time.Hour, former: 1},
		"when it has other names":          {names: append(names, "another.example"), former: 1},
		"when it is gone":                  {spoil: func(d map[string][]byte) { delete(d, "tls.crt") }, former: 1},
		"when it is junk":                  {spoil: func(d map[string][]byte) { d["tls.crt"] = []byte("junk") }, former: 1},
		"when its key is gone":             {spoil: func(d map[string][]byte) { delete(d, "tls.key") }, former: 1},
		"when its authority is gone":       {spoil: func(d map[string][]byte) { delete(d, authoritiesKey) }},
		"when its authority is junk":       {spoil: func(d map[string][]byte) { d[authoritiesKey] = []byte("junk") }},
	} {
		t.Run(name, func(t *testing.T) {
			data, birth := made(t)
			before := data[authoritiesKey]
			if test.spoil != nil {
				test.spoil(data)
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
			assert.Equal(t, before, encoded, "certificates of the authority before may be served still")
		})
	}
}

func FuzzReadCertificate(f *testing.F) {
	data, _, err := renew(nil, names, time.Now())
	require.NoError(f, err)
	f.Add(data["tls.crt"], data["tls.key"])
	f.Fuzz(func(t *testing.T, certificate, key []byte) {
		got, err := readCertificate(map[string][]byte{"tls.crt": certificate, "tls.key": key})
		assert.Equal(t, err == nil, got != nil)
	})
}
