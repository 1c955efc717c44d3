package services

import (
	"context"
	"crypto/x509"
	"log/slog"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"
)

// withClient uses a client of a cluster in which the Secret is as given, nil if there is none.
func withClient(secret *corev1.Secret) (func(*Config), *fake.Clientset) {
	client := fake.NewClientset()
	if secret != nil {
		client = fake.NewClientset(secret)
	}
	return func(c *Config) { c.Client = client }, client
}

func emptySecret() *corev1.Secret {
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "spillway-system", Name: SecretName}}
}

func TestTheFirstServerCreatesTheKeysForAll(t *testing.T) {
	for name, secret := range map[string]*corev1.Secret{"no Secret": nil, "an empty Secret": emptySecret()} {
		t.Run(name, func(t *testing.T) {
			config, _ := withClient(secret)
			first, second := newCluster(t, config).server, newCluster(t, config).server
			require.NoError(t, first.readSecret(t.Context()))
			require.NoError(t, second.readSecret(t.Context()))
			token := first.secret.Load().key.Token(testPod)
			pod, err := second.secret.Load().key.Verify(token)
			require.NoError(t, err)
			assert.Equal(t, testPod, pod)
			authorities := x509.NewCertPool()
			authorities.AddCert(first.secret.Load().ca)
			made, err := second.certificate(nil)
			require.NoError(t, err)
			leaf, err := x509.ParseCertificate(made.Certificate[0])
			require.NoError(t, err)
			_, err = leaf.Verify(x509.VerifyOptions{Roots: authorities, DNSName: ServerName})
			require.NoError(t, err)
			assert.WithinDuration(t, time.Now().AddDate(10, 0, 0), first.secret.Load().ca.NotAfter, 10*24*time.Hour)
		})
	}
}

// Two servers find the Secret empty at the same time: one is refused, and uses what the other has written.
func TestAServerThatIsTooLateUsesTheKeysOfTheOther(t *testing.T) {
	for name, verb := range map[string]string{"both create it": "create", "both fill it": "update"} {
		t.Run(name, func(t *testing.T) {
			var secret *corev1.Secret
			if verb == "update" {
				secret = emptySecret()
			}
			config, client := withClient(secret)
			other, err := newContent()
			require.NoError(t, err)
			client.PrependReactor(verb, "secrets", func(kubetesting.Action) (bool, runtime.Object, error) {
				written := emptySecret()
				written.Data = other
				resource := schema.GroupVersionResource{Version: "v1", Resource: "secrets"}
				if verb == "create" {
					require.NoError(t, client.Tracker().Create(resource, written, written.Namespace))
					return true, nil, apierrors.NewAlreadyExists(resource.GroupResource(), SecretName)
				}
				require.NoError(t, client.Tracker().Update(resource, written, written.Namespace))
				return true, nil, apierrors.NewConflict(resource.GroupResource(), SecretName, nil)
			})
			server := newCluster(t, config).server
			require.NoError(t, server.readSecret(t.Context()))
			assert.Equal(t, Key(other[secretTokenKey]), server.secret.Load().key)
		})
	}
}

func TestASecretThatIsWrongIsNamed(t *testing.T) {
	good, err := newContent()
	require.NoError(t, err)
	another, err := newContent()
	require.NoError(t, err)
	for name, test := range map[string]struct {
		change func(map[string][]byte)
		want   string
	}{
		"no key of tokens": {func(c map[string][]byte) { delete(c, secretTokenKey) },
			"token.key has 0 bytes, must have 32"},
		"a short key of tokens": {func(c map[string][]byte) { c[secretTokenKey] = []byte("x") },
			"token.key has 1 bytes, must have 32"},
		"no authority": {func(c map[string][]byte) { c[secretCA] = []byte("x") }, "ca.crt: "},
		"no key":       {func(c map[string][]byte) { c[secretCAKey] = []byte("x") }, "ca.key: "},
		"the key of another authority": {func(c map[string][]byte) { c[secretCAKey] = another[secretCAKey] },
			"with ca.crt and ca.key"},
	} {
		t.Run(name, func(t *testing.T) {
			secret := emptySecret()
			secret.Data = maps.Clone(good)
			test.change(secret.Data)
			config, client := withClient(secret)
			server := newCluster(t, config).server
			err := server.readSecret(t.Context())
			require.ErrorContains(t, err, "reading Secret spillway-system/spillway-services: ")
			require.ErrorContains(t, err, test.want)
			assert.ErrorContains(t, err, "delete its data, and the servers write it again")
			assert.ErrorContains(t, server.Ready(), "see Secret spillway-services in namespace spillway-system")
			kept, err := client.CoreV1().Secrets("spillway-system").Get(t.Context(), SecretName, metav1.GetOptions{})
			require.NoError(t, err)
			assert.Equal(t, secret.Data, kept.Data, "only an administrator deletes it")
		})
	}
	_, err = parseSecret(good, time.Now().AddDate(11, 0, 0))
	assert.ErrorContains(t, err, "ca.crt has expired on ")
}

func TestAReplacedSecretIsUsed(t *testing.T) {
	config, client := withClient(nil)
	server := newCluster(t, config).server
	require.NoError(t, server.readSecret(t.Context()))
	before := server.secret.Load()
	require.NoError(t, server.readSecret(t.Context()))
	require.Same(t, before, server.secret.Load(), "nothing has changed")
	require.NoError(t, client.CoreV1().Secrets("spillway-system").Delete(t.Context(), SecretName, metav1.DeleteOptions{}))
	require.NoError(t, server.readSecret(t.Context()))
	_, err := server.secret.Load().key.Verify(before.key.Token(testPod))
	assert.ErrorIs(t, err, errToken)
}

func TestStreamsEndWhenTheKeysAreReplaced(t *testing.T) {
	w := newWorld(t)
	pod := w.pod("shop", "cart-0")
	former := w.client(pod)
	stream := open(t, former)
	secrets := w.server.config.Client.CoreV1().Secrets("spillway-system")
	require.NoError(t, secrets.Delete(t.Context(), SecretName, metav1.DeleteOptions{}))
	require.NoError(t, w.server.readSecret(t.Context()))
	ended(t, stream)
	require.Error(t, listServices(t, former))
	require.NoError(t, listServices(t, w.client(pod)))
}

func TestTheCertificateIsRenewed(t *testing.T) {
	clock := clocktesting.NewFakePassiveClock(time.Now())
	server := newCluster(t, func(c *Config) { c.Now = clock.Now }).server
	_, err := server.certificate(nil)
	require.Error(t, err, "it has no keys yet")
	require.NoError(t, server.readSecret(t.Context()))
	first, err := server.certificate(nil)
	require.NoError(t, err)
	clock.SetTime(clock.Now().Add(certificateLife / 2))
	same, err := server.certificate(nil)
	require.NoError(t, err)
	assert.Same(t, first, same)
	clock.SetTime(clock.Now().Add(certificateLife / 4))
	renewed, err := server.certificate(nil)
	require.NoError(t, err)
	assert.NotSame(t, first, renewed)
	clock.SetTime(server.secret.Load().ca.NotAfter.Add(-time.Hour))
	last, err := server.certificate(nil)
	require.NoError(t, err)
	leaf, err := x509.ParseCertificate(last.Certificate[0])
	require.NoError(t, err)
	assert.Equal(t, server.secret.Load().ca.NotAfter, leaf.NotAfter)
}

// A right that is missing is logged once, and tried again.
func TestASecretThatCannotBeReadIsTriedAgain(t *testing.T) {
	config, client := withClient(nil)
	client.PrependReactor("get", "secrets", func(kubetesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(schema.GroupResource{Resource: "secrets"}, SecretName, nil)
	})
	var logs strings.Builder
	server := newCluster(t, config, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&logs, nil)) }).server
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	server.keepSecret(ctx)
	err := server.readSecret(t.Context())
	require.True(t, apierrors.IsForbidden(err))
	assert.ErrorContains(t, err, "reading or creating Secret spillway-system/spillway-services")
	_, err = server.Kubeconfig(&corev1.Pod{})
	assert.ErrorContains(t, err, "the keys of the server are not known yet")
}
