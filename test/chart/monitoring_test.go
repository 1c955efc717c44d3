package chart

import (
	"os"
	"path/filepath"
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

func TestTheConfigMapHasTheDashboards(t *testing.T) {
	list := objects(t, spillway, values("--set", "metrics.dashboard.enabled=true")...)
	data, _, err := unstructured.NestedStringMap(named(t, list, "ConfigMap", "spillway-dashboard").Object, "data")
	require.NoError(t, err)
	assert.Equal(t, "1", named(t, list, "ConfigMap", "spillway-dashboard").GetLabels()["grafana_dashboard"])
	files, err := filepath.Glob(spillway + "/dashboards/*.json")
	require.NoError(t, err)
	assert.Len(t, data, len(files))
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.JSONEq(t, string(content), data[filepath.Base(file)])
	}
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
