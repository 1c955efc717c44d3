package policy_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/policy"
)

func TestNoKeyOfSpillwayIsMistyped(t *testing.T) {
	for name, value := range constants(t, "names.go") {
		key := strings.HasSuffix(name, "Annotation") || strings.HasSuffix(name, "Label") ||
			strings.HasSuffix(name, "Key") || strings.HasPrefix(value, policy.Prefix)
		if name == "Prefix" || !key {
			continue
		}
		if name == "CloudFileAnnotation" {
			value += "17"
		} else {
			assert.Contains(t, policy.Keys(), value, name)
		}
		_, mistyped := policy.Mistyped(value)
		assert.False(t, mistyped, name)
	}
}

func TestMistyped(t *testing.T) {
	may := regexp.MustCompile(policy.MaybeMistyped)
	for key, want := range map[string]string{
		"spillway.io/cloud-limit":                  "spillway.io/cloud-limits",
		"spillway.io/cloudLimits":                  "spillway.io/cloud-limits",
		"spillway.io/allow-oversized":              "spillway.io/allow-oversize",
		"spillway.io/soldout":                      "spillway.io/on-sold-out",
		"spillway.io/service":                      "spillway.io/services",
		"spillway.io/anything-else":                "spillway.io/services",
		"LOCAL_REPLICA":                            "LOCAL_REPLICAS",
		"LOACL_REPLICAS":                           "LOCAL_REPLICAS",
		"local-replicas":                           "LOCAL_REPLICAS",
		"AUTOSCALE_EKS":                            "AUTO_SCALE_EKS",
		"auto_scale_eks":                           "AUTO_SCALE_EKS",
		"virtual-kubelet.io/burst-to-cc":           "virtual-kubelet.io/burst-to-cci",
		"virtual-kubelet.io/burst_to_cci":          "virtual-kubelet.io/burst-to-cci",
		"bursting.cci.io/burst-to-cce":             "bursting.cci.io/burst-to-cci",
		"coordinator.cci.io/hostpath-replacements": "coordinator.cci.io/hostpath-replacement",
		"virtual-node-affinity-injections":         "virtual-node-affinity-injection",
	} {
		similar, mistyped := policy.Mistyped(key)
		assert.True(t, mistyped, key)
		assert.Equal(t, want, similar, key)
		assert.True(t, may.MatchString(key), key)
	}
	for _, key := range []string{
		"", "app", "TOTAL_REPLICAS", "REPLICAS", "virtual-kubelet.io/provider", "virtual-kubelet.io/pod-cache",
		"bursting.cci.io/other", "ccisim.spillway.io/run-seconds", "kubectl.kubernetes.io/last-applied-configuration",
	} {
		_, mistyped := policy.Mistyped(key)
		assert.False(t, mistyped, key)
	}
}

func FuzzMistyped(f *testing.F) {
	may := regexp.MustCompile(policy.MaybeMistyped)
	for _, key := range policy.Keys() {
		f.Add(key)
	}
	f.Fuzz(func(t *testing.T, key string) {
		similar, mistyped := policy.Mistyped(key)
		if !mistyped {
			return
		}
		assert.Contains(t, policy.Keys(), similar)
		_, again := policy.Mistyped(similar)
		assert.False(t, again)
		if strings.HasPrefix(key, policy.Prefix) {
			assert.True(t, may.MatchString(key))
		}
	})
}
