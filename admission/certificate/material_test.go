package certificate

import (
	"crypto/x509"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	names = []string{"spillway-admission.spillway-system.svc", "127.0.0.1"}
	birth = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
)

// made is a Secret's data as the first two steps make it.
func made(t *testing.T) map[string][]byte {
	t.Helper()
	data, changed, err := renewAuthority(nil, birth)
	require.NoError(t, err)
	require.True(t, changed)
	data, changed, err = renewCertificate(data, names, birth)
	require.NoError(t, err)
	require.True(t, changed)
	return data
}

// verify checks what is served as the API server does.
func verify(t *testing.T, data map[string][]byte, now time.Time) error {
	t.Helper()
	pair, err := readCertificate(data)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(data[authorityKey]))
	for _, name := range names {
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{DNSName: name, Roots: roots, CurrentTime: now}); err != nil {
			return err
		}
	}
	return nil
}

func TestWhatIsMadeIsTrusted(t *testing.T) {
	data := made(t)
	require.NoError(t, verify(t, data, birth))
	require.NoError(t, verify(t, data, birth.Add(-skew+time.Second)), "by a clock that is behind")
	pair, err := readCertificate(data)
	require.NoError(t, err)
	assert.Equal(t, []string{names[0]}, pair.Leaf.DNSNames)
	assert.Equal(t, names[1], net.IP(pair.Leaf.IPAddresses[0]).String())
	assert.False(t, pair.Leaf.IsCA)
}

func TestWhatIsGoodStays(t *testing.T) {
	data := made(t)
	for name, now := range map[string]time.Time{"now": birth, "with more than a third left": birth.Add(certificateLifetime * 6 / 10)} {
		same, changed, err := renewAuthority(data, now)
		require.NoError(t, err)
		assert.False(t, changed, name)
		same, changed, err = renewCertificate(same, names, now)
		require.NoError(t, err)
		assert.False(t, changed, name)
		assert.Equal(t, data, same)
	}
}

func TestACertificateIsRenewed(t *testing.T) {
	for name, test := range map[string]struct {
		now   time.Time
		names []string
		spoil func(map[string][]byte)
	}{
		"when a third of its life is left": {now: birth.Add(certificateLifetime * 7 / 10)},
		"after it has run out":             {now: birth.Add(certificateLifetime * 2)},
		"when it has other names":          {now: birth, names: append(names, "another.example")},
		"when it is gone":                  {now: birth, spoil: func(d map[string][]byte) { delete(d, "tls.crt") }},
		"when it is junk":                  {now: birth, spoil: func(d map[string][]byte) { d["tls.crt"] = []byte("junk") }},
		"when its key is another's":        {now: birth, spoil: func(d map[string][]byte) { d["tls.key"] = d[authorityPrivateKey] }},
	} {
		t.Run(name, func(t *testing.T) {
			data := made(t)
			if test.spoil != nil {
				test.spoil(data)
			}
			if test.names == nil {
				test.names = names
			}
			same, changed, err := renewAuthority(data, test.now)
			require.NoError(t, err)
			require.False(t, changed, "the authority is still good")
			renewed, changed, err := renewCertificate(same, test.names, test.now)
			require.NoError(t, err)
			assert.True(t, changed)
			assert.Equal(t, data[authorityKey], renewed[authorityKey])
			assert.NoError(t, verify(t, renewed, test.now))
		})
	}
}

// The API server has to learn of a new authority before a certificate of its is served, and processes may serve the old one still.
func TestAnAuthorityIsReplacedInTwoSteps(t *testing.T) {
	data, now := made(t), birth.Add(authorityLifetime*7/10)
	data, _, err := renewCertificate(data, names, now.Add(-time.Hour)) // Its certificate is a young one.
	require.NoError(t, err)

	first, changed, err := renewAuthority(data, now)
	require.NoError(t, err)
	require.True(t, changed)
	assert.Equal(t, data["tls.crt"], first["tls.crt"], "the certificate stays")
	require.NoError(t, verify(t, first, now), "and stays trusted")

	second, changed, err := renewCertificate(first, names, now)
	require.NoError(t, err)
	require.True(t, changed, "one of the former authority is replaced")
	require.NoError(t, verify(t, second, now))
	_, olderOnes, err := readAuthority(second)
	require.NoError(t, err)
	assert.Len(t, olderOnes, 1)

	later := birth.Add(authorityLifetime + authorityLifetime/2) // The first one has run out, the second is due.
	third, changed, err := renewAuthority(second, later)
	require.NoError(t, err)
	require.True(t, changed)
	_, olderOnes, err = readAuthority(third)
	require.NoError(t, err)
	require.Len(t, olderOnes, 1, "what has run out is forgotten")
	assert.True(t, olderOnes[0].NotAfter.After(later))
}

func TestAnAuthorityThatCannotBeReadIsReplaced(t *testing.T) {
	for name, spoil := range map[string]func(map[string][]byte){
		"no certificate":     func(d map[string][]byte) { delete(d, authorityKey) },
		"junk":               func(d map[string][]byte) { d[authorityKey] = []byte("junk") },
		"no key":             func(d map[string][]byte) { delete(d, authorityPrivateKey) },
		"the key of another": func(d map[string][]byte) { d[authorityPrivateKey] = d["tls.key"] },
	} {
		t.Run(name, func(t *testing.T) {
			data := made(t)
			spoil(data)
			_, _, err := renewCertificate(data, names, birth)
			require.Error(t, err, "nobody could sign")
			data, changed, err := renewAuthority(data, birth)
			require.NoError(t, err)
			require.True(t, changed)
			data, changed, err = renewCertificate(data, names, birth)
			require.NoError(t, err)
			assert.True(t, changed)
			assert.NoError(t, verify(t, data, birth))
		})
	}
}

func FuzzReadAuthority(f *testing.F) {
	data, _, err := renewAuthority(nil, birth)
	require.NoError(f, err)
	f.Add(data[authorityKey], data[authorityPrivateKey])
	f.Fuzz(func(t *testing.T, certs, key []byte) {
		got, _, err := readAuthority(map[string][]byte{authorityKey: certs, authorityPrivateKey: key})
		assert.Equal(t, err == nil, got != nil)
	})
}
