package services

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	testKey = Key(bytes.Repeat([]byte{7}, keyLength))
	testPod = Pod{Namespace: "shop", Name: "cart-0", UID: "3f1c", Node: "virtual-node-cci-0"}
)

func TestATokenStandsForItsPod(t *testing.T) {
	token := testKey.Token(PodOf(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "cart-0", UID: "3f1c"},
		Spec:       corev1.PodSpec{NodeName: "virtual-node-cci-0"},
	}))
	assert.Regexp(t, `^v1\.[\w-]+\.[\w-]{43}$`, token)
	assert.Equal(t, token, testKey.Token(testPod), "it needs no renewal")
	pod, err := testKey.Verify(token)
	require.NoError(t, err)
	assert.Equal(t, testPod, pod)
}

func TestOnlyTokensOfThisKeyAreAccepted(t *testing.T) {
	token := testKey.Token(testPod)
	payload, signature := token[:strings.LastIndexByte(token, '.')], token[strings.LastIndexByte(token, '.')+1:]
	other := testPod
	other.Name = "cart-1"
	otherToken := testKey.Token(other)
	for name, forged := range map[string]string{
		"no token":                    "",
		"no signature":                payload,
		"an empty signature":          payload + ".",
		"a shorter signature":         payload + "." + signature[:42],
		"a signature of another Pod":  otherToken[:strings.LastIndexByte(otherToken, '.')+1] + signature,
		"a signature of another key":  Key(bytes.Repeat([]byte{8}, keyLength)).Token(testPod),
		"other bits behind the end":   payload + "." + signature[:42] + nextOf(signature[42]),
		"another version":             "v2" + payload[2:] + "." + signature,
		"padding":                     token + "=",
		"a line break":                token + "\n",
		"a part more":                 token + "." + signature,
		"more than any token is long": token + strings.Repeat("A", maxToken),
	} {
		t.Run(name, func(t *testing.T) {
			_, err := testKey.Verify(forged)
			assert.ErrorIs(t, err, errToken)
		})
	}
}

// nextOf returns a character whose bits differ from those of c only where base64 does not use them.
func nextOf(c byte) string {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	return string(alphabet[strings.IndexByte(alphabet, c)^1])
}

// What this key has signed but is no Pod, such as a token of an older version, is no token either.
func TestASignatureAloneIsNoToken(t *testing.T) {
	for _, text := range []string{"v1", "v1.", "v1.!", "v1." + encoding.EncodeToString([]byte("shop/cart-0/3f1c")), ""} {
		_, err := testKey.Verify(text + "." + testKey.sign(text))
		assert.ErrorIs(t, err, errToken, text)
	}
}

func FuzzVerify(f *testing.F) {
	f.Add(testKey.Token(testPod))
	f.Add("v1.c2hvcC9jYXJ0.AAAA")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		pod, err := testKey.Verify(token)
		if err != nil {
			assert.Equal(t, Pod{}, pod)
			return
		}
		assert.Equal(t, token, testKey.Token(pod), "a token has one form only")
	})
}

func FuzzTokensOfAnyPod(f *testing.F) {
	f.Add("shop", "cart-0", "virtual-node-cci-0")
	f.Fuzz(func(t *testing.T, namespace, name, node string) {
		if strings.ContainsRune(namespace+name+node, '/') || len(namespace+name+node) > 1000 {
			return // No names of objects are like that.
		}
		want := Pod{Namespace: namespace, Name: name, UID: "3f1c", Node: node}
		got, err := testKey.Verify(testKey.Token(want))
		require.NoError(t, err)
		assert.Equal(t, want, got)
	})
}
