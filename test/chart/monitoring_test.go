package chart

import (
	"os"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// named returns the object of a kind.
func named(t *testing.T, list []*unstructured.Unstructured, kind, name string) *unstructured.Unstructured {
	t.Helper()
	for _, object := range list {
		if object.GetKind() == kind && object.GetName() == name {
			return object
		}
	}
	require.Fail(t, "there is no such object", "%s %s", kind, name)
	return nil
}

func TestThePrometheusRuleIsTheFileOfTheAlerts(t *testing.T) {
	list := objects(t, spillway, values("--set",
		"metrics.prometheusRule.enabled=true,metrics.prometheusRule.labels.release=prometheus")...)
	rule := named(t, list, "PrometheusRule", "spillway")
	assert.Equal(t, "prometheus", rule.GetLabels()["release"])
	content, err := os.ReadFile(spillway + "/rules/spillway.yaml")
	require.NoError(t, err)
	var want map[string]any
	require.NoError(t, yaml.Unmarshal(content, &want))
	assert.Equal(t, want, rule.Object["spec"])
}
