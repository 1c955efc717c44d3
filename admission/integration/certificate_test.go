package integration

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// ownCertificate makes the program create its certificate.
func ownCertificate(c *config.Config) {
	c.TLSCertFile, c.TLSPrivateKeyFile = "", ""
	c.TLSNames = []string{"127.0.0.1"}
}

// setBundle sets the CA bundles of both registrations.
func setBundle(t *testing.T, bundle []byte) {
	t.Helper()
	client := trial.Client().AdmissionregistrationV1()
	mutating, err := client.MutatingWebhookConfigurations().Get(context.Background(), webhook.Name, metav1.GetOptions{})
	require.NoError(t, err)
	for i := range mutating.Webhooks {
		mutating.Webhooks[i].ClientConfig.CABundle = bundle
	}
	_, err = client.MutatingWebhookConfigurations().Update(context.Background(), mutating, metav1.UpdateOptions{})
	require.NoError(t, err)
	validating, err := client.ValidatingWebhookConfigurations().
		Get(context.Background(), webhook.Name, metav1.GetOptions{})
	require.NoError(t, err)
	for i := range validating.Webhooks {
		validating.Webhooks[i].ClientConfig.CABundle = bundle
	}
	_, err = client.ValidatingWebhookConfigurations().Update(context.Background(), validating, metav1.UpdateOptions{})
	require.NoError(t, err)
}

// called waits until the API server calls the webhook.
func called(t *testing.T) {
	t.Helper()
	eventually(t, func() error {
		prepared, err := dryRun(t, probe("1"))
		if err == nil && !policy.NeedsPlacement(&prepared.Spec) {
			err = errors.New("the webhook is not called")
		}
		return err
	})
}

// Two processes, of which the API server calls one, use the same certificate. They replace what is lost without a
// restart.
func TestTheProgramCreatesItsCertificate(t *testing.T) {
	given, err := os.ReadFile(pki("ca.crt"))
	require.NoError(t, err)
	t.Cleanup(func() { setBundle(t, given) })
	secrets := trial.Client().CoreV1().Secrets(system.ProgramNamespace)
	second := launch(t, func(c *config.Config) {
		ownCertificate(c)
		c.HealthListen = programtest.FreeAddress(t)
	})
	first := start(t, ownCertificate) // It returns when the API server calls the webhook, so the CA bundle is set.
	before, err := secrets.Get(t.Context(), "spillway-admission-tls", metav1.GetOptions{})
	require.NoError(t, err)

	setBundle(t, given) // As an upgrade of the chart does.
	eventually(t, func() error { return bundleIs(t, before.Data["ca.crt"]) })
	called(t)

	emptied := before.DeepCopy() // The program may not create the Secret: the chart does, empty.
	emptied.Data = map[string][]byte{corev1.TLSCertKey: nil, corev1.TLSPrivateKeyKey: nil}
	_, err = secrets.Update(t.Context(), emptied, metav1.UpdateOptions{})
	require.NoError(t, err)
	var after *corev1.Secret
	eventually(t, func() error {
		if after, err = secrets.Get(t.Context(), before.Name, metav1.GetOptions{}); err != nil {
			return err
		}
		if len(after.Data[corev1.TLSCertKey]) == 0 {
			return errors.New("there is no new certificate yet")
		}
		return bundleIs(t, after.Data["ca.crt"])
	})
	assert.NotEqual(t, before.Data["ca.crt"], after.Data["ca.crt"])
	eventually(t, func() error {
		for _, p := range []*process{first, second} {
			if strings.Count(p.logs.String(), "serving a certificate") < 2 {
				return errors.New("a process does not serve the new certificate yet")
			}
		}
		return nil
	})
	called(t)
}

// bundleIs returns an error unless both registrations have the CA bundle.
func bundleIs(t *testing.T, bundle []byte) error {
	t.Helper()
	client := trial.Client().AdmissionregistrationV1()
	mutating, err := client.MutatingWebhookConfigurations().Get(t.Context(), webhook.Name, metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range mutating.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, bundle) {
			return errors.New(w.Name + " has another CA bundle")
		}
	}
	validating, err := client.ValidatingWebhookConfigurations().Get(t.Context(), webhook.Name, metav1.GetOptions{})
	require.NoError(t, err)
	for _, w := range validating.Webhooks {
		if !bytes.Equal(w.ClientConfig.CABundle, bundle) {
			return errors.New(w.Name + " has another CA bundle")
		}
	}
	return nil
}
