package policy_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

func TestNamespaceSettings(t *testing.T) {
	config := policy.DefaultConfig()
	config.AllowOversize = true
	p, err := policy.New(config)
	require.NoError(t, err)

	settings, err := p.NamespaceSettings(nil)
	require.NoError(t, err)
	assert.True(t, settings.AllowOversize, "the configuration decides")
	assert.Empty(t, settings.CloudAnnotations)

	settings, err = p.NamespaceSettings(map[string]string{
		policy.AllowOversizeAnnotation:         "false",
		policy.AllowCloudAnnotationsAnnotation: "yangtse.io/pod-with-eip, yangtse.io/eip-charge-mode=traffic, sim.example/*",
	})
	require.NoError(t, err)
	assert.False(t, settings.AllowOversize, "the annotation overrides the configuration")
	for _, test := range []struct {
		key, value string
		want       bool
	}{
		{"yangtse.io/pod-with-eip", "true", true},
		{"yangtse.io/pod-with-eip", "", true},
		{"yangtse.io/eip-charge-mode", "traffic", true},
		{"yangtse.io/eip-charge-mode", "bandwidth", false},
		{"yangtse.io/pod-with-ei", "true", false},
		{"yangtse.io/pod-with-eip2", "true", false},
		{"cci.io/insecure-registries", "registry.example", false},
		{"sim.example/exit-code", "3", true},
		{"sim.example", "3", false},
		{"other.sim.example/exit-code", "3", false},
	} {
		assert.Equal(t, test.want, settings.CloudAnnotations.Allow(test.key, test.value), "%s=%s", test.key, test.value)
	}
}

func TestMalformedSettingsOfANamespace(t *testing.T) {
	p, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	_, err = p.NamespaceSettings(map[string]string{
		policy.CloudLimitsAnnotation: "pods=x", policy.AllowOversizeAnnotation: "yes",
		policy.AllowCloudAnnotationsAnnotation: "a b",
	})
	found := policy.KeyErrors(err)
	require.Len(t, found, 3, "every one is reported")
	for i, key := range []string{
		policy.CloudLimitsAnnotation, policy.AllowOversizeAnnotation, policy.AllowCloudAnnotationsAnnotation,
	} {
		assert.Equal(t, key, found[i].Key)
		assert.NotEmpty(t, found[i].Right)
	}
	for _, text := range []string{
		",", "a,", "=x", "/", "yangtse.io/", "*", "/*", "yangtse.io/a*", "spillway.io/*", "spillway.io/pod-uid",
		"spillway.io/pod-uid=forged",
		strings.Repeat("a,", 1023) + "aaa",
	} {
		_, err := p.NamespaceSettings(map[string]string{policy.AllowCloudAnnotationsAnnotation: text})
		assert.ErrorContains(t, err, policy.AllowCloudAnnotationsAnnotation+": invalid value", "%.20s", text)
		assert.Less(t, len(err.Error()), 600)
	}
}

func TestWithoutARule(t *testing.T) {
	p, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	other := p.Without(policy.ReasonPersistentVolume)
	assert.True(t, p.Has(policy.ReasonPersistentVolume))
	assert.False(t, other.Has(policy.ReasonPersistentVolume))
	assert.True(t, other.Has(policy.ReasonHostPath))
}
