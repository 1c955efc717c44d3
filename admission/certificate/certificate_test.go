package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/client-go/tools/cache"
)

const registration = "spillway"

var config = Config{Namespace: "spillway-system", Secret: "tls", Names: names, Registration: registration}

func mutating(bundles ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: registration}}
	for i, bundle := range bundles {
		c.Webhooks = append(c.Webhooks, admissionregistrationv1.MutatingWebhook{
			Name:         string(rune('a' + i)),
			ClientConfig: admissionregistrationv1.WebhookClientConfig{CABundle: []byte(bundle)},
		})
	}
	return c
}

func validating() *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: registration},
		Webhooks:   []admissionregistrationv1.ValidatingWebhook{{Name: "a"}},
	}
}

// clock is a clock that a test sets.
type clock struct{ time time.Time }

func (c *clock) now() time.Time { return c.time }

// cached returns a Source whose caches hold the objects of the client. The caches do not follow the client: sync
// reads it again.
func cached(t *testing.T, client *fake.Clientset, clock *clock) (s *Source, sync func()) {
	t.Helper()
	s, err := New(client, config, clock.now, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	replace := func(informer cache.SharedIndexInformer, object any, err error) {
		if apierrors.IsNotFound(err) {
			require.NoError(t, informer.GetStore().Replace(nil, ""))
			return
		}
		require.NoError(t, err)
		require.NoError(t, informer.GetStore().Replace([]any{object}, ""))
	}
	sync = func() {
		ctx, get := t.Context(), metav1.GetOptions{}
		secret, err := client.CoreV1().Secrets(config.Namespace).Get(ctx, config.Secret, get)
		replace(s.secrets, secret, err)
		m, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Get(ctx, registration, get)
		replace(s.mutating, m, err)
		v, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(ctx, registration, get)
		replace(s.validating, v, err)
	}
	sync()
	return s, sync
}

// bundles returns the CA bundles of all webhooks.
func bundles(t *testing.T, client *fake.Clientset) []string {
	t.Helper()
	var found []string
	m, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().
		Get(t.Context(), registration, metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range m.Webhooks {
		found = append(found, string(w.ClientConfig.CABundle))
	}
	v, err := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().
		Get(t.Context(), registration, metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range v.Webhooks {
		found = append(found, string(w.ClientConfig.CABundle))
	}
	return found
}

func TestReconcileCreatesTheSecretThenSetsTheBundlesAndServes(t *testing.T) {
	client, clock := fake.NewClientset(mutating("", "other"), validating()), &clock{time.Now()}
	s, sync := cached(t, client, clock)
	_, err := s.GetCertificate(nil)
	require.EqualError(t, err, "the webhook has no certificate yet")

	require.NoError(t, s.reconcile(t.Context()))
	assert.False(t, s.Ready(), "the first step only writes the Secret")
	assert.Equal(t, []string{"", "other", ""}, bundles(t, client))

	sync()
	require.NoError(t, s.reconcile(t.Context()))
	require.True(t, s.Ready())
	secret, err := client.CoreV1().Secrets(config.Namespace).Get(t.Context(), config.Secret, metav1.GetOptions{})
	require.NoError(t, err)
	authority := string(secret.Data[authoritiesKey])
	assert.Equal(t, []string{authority, authority, authority}, bundles(t, client))
	served, err := s.GetCertificate(nil)
	require.NoError(t, err)
	pair, err := tls.X509KeyPair(secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey])
	require.NoError(t, err)
	assert.Equal(t, pair.Certificate[0], served.Certificate[0])

	sync()
	client.ClearActions()
	require.NoError(t, s.reconcile(t.Context()))
	assert.Empty(t, client.Actions(), "nothing is left to do")
}

func TestReconcileRenewsACertificateThatExpiresSoon(t *testing.T) {
	data, birth := created(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.Secret, UID: "u1"}, Data: data,
	}
	client, clock := fake.NewClientset(mutating(""), validating(), secret), &clock{birth}
	s, sync := cached(t, client, clock)
	require.NoError(t, s.reconcile(t.Context()))
	before, err := s.GetCertificate(nil)
	require.NoError(t, err)

	clock.time = birth.Add(lifetime * 7 / 10)
	sync()
	require.NoError(t, s.reconcile(t.Context()))
	clock.time = birth // The new certificate is valid from the real time on.
	sync()
	require.NoError(t, s.reconcile(t.Context()))

	after, err := s.GetCertificate(nil)
	require.NoError(t, err)
	assert.False(t, bytes.Equal(before.Certificate[0], after.Certificate[0]))
	for _, bundle := range bundles(t, client) {
		assert.Contains(t, bundle, string(data[authoritiesKey]), "the former authority is still trusted")
	}
}

func TestReconcileServesOnlyAfterTheBundlesAreSet(t *testing.T) {
	data, birth := created(t)
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: config.Namespace, Name: config.Secret, UID: "u1"}, Data: data,
	}
	client := fake.NewClientset(mutating(""), validating(), secret)
	client.PrependReactor("patch", "mutatingwebhookconfigurations",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, errors.New("connection refused")
		})
	s, _ := cached(t, client, &clock{birth})
	assert.EqualError(t, s.reconcile(t.Context()),
		"updating the CA bundle of MutatingWebhookConfiguration spillway: connection refused")
	assert.False(t, s.Ready())
}

func TestRunServesACertificateAndReplacesALostSecret(t *testing.T) {
	client := fake.NewClientset(mutating(""), validating())
	registry := prometheus.NewRegistry()
	s, err := New(client, config, time.Now, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.Eventually(t, s.Ready, 30*time.Second, time.Millisecond)
	before, err := s.GetCertificate(nil)
	require.NoError(t, err)
	assert.InDelta(t, before.Leaf.NotAfter.Unix(), metric(t, registry, "expiry_timestamp_seconds"), 0)
	assert.Zero(t, metric(t, registry, "failures_total"))

	secrets := client.CoreV1().Secrets(config.Namespace)
	require.NoError(t, secrets.Delete(t.Context(), config.Secret, metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		after, err := s.GetCertificate(nil)
		return err == nil && !bytes.Equal(after.Certificate[0], before.Certificate[0])
	}, 30*time.Second, time.Millisecond)
	cancel()
	assert.NoError(t, <-ended)
}

// metric returns the value of a metric of the certificate.
func metric(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	require.NoError(t, err)
	for _, family := range families {
		if family.GetName() == "spillway_admission_certificate_"+name {
			one := family.GetMetric()[0]
			return one.GetGauge().GetValue() + one.GetCounter().GetValue()
		}
	}
	require.Fail(t, "there is no such metric", name)
	return 0
}

func TestRunCountsFailuresAndRetries(t *testing.T) {
	client := fake.NewClientset(mutating(""), validating())
	refuse := true
	client.PrependReactor("patch", "mutatingwebhookconfigurations",
		func(clienttesting.Action) (bool, runtime.Object, error) {
			refused := refuse
			refuse = false
			return refused, nil, errors.New("connection refused")
		})
	registry := prometheus.NewRegistry()
	s, err := New(client, config, time.Now, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.Zero(t, metric(t, registry, "expiry_timestamp_seconds"))
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	require.Eventually(t, s.Ready, 30*time.Second, time.Millisecond)
	assert.InDelta(t, 1, metric(t, registry, "failures_total"), 0)
	cancel()
	assert.NoError(t, <-ended)
}

func TestTheBundlePatchAppliesOnlyToTheVersionThatWasRead(t *testing.T) {
	meta := metav1.ObjectMeta{UID: "u1", ResourceVersion: "7"}
	entries := []entry{{"a", []byte("new")}, {"b", []byte("old")}}
	assert.JSONEq(t, `{
		"metadata": {"uid": "u1", "resourceVersion": "7"},
		"webhooks": [{"name": "b", "clientConfig": {"caBundle": "bmV3"}}]
	}`, string(bundlePatch(meta, entries, []byte("new"))))
	assert.Nil(t, bundlePatch(meta, entries[:1], []byte("new")))
}
