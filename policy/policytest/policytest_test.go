package policytest_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/policytest"
)

// deployment is a case with a workload, a namespace and a disabled rule.
const deployment = `
deployment:
  metadata: {name: web, namespace: shop, labels: {virtual-kubelet.io/burst-to-cci: localPrefer}}
  spec:
    template:
      metadata: {annotations: {LOCAL_REPLICAS: "1"}}
      spec: {hostNetwork: true, containers: [{name: web}]}
configMap: {AUTO_SCALE_EKS: "false"}
namespaceLabels: {team: shop}
disabledRules: [HostNamespace]
`

func TestACaseHasThePodThatTheWorkloadCreates(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.input.yaml"), []byte(deployment), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "web.output.yaml"), nil, 0o600))

	files := policytest.Files(t, dir)
	require.Len(t, files, 1, "outputs are not cases")
	assert.Equal(t, "web", policytest.Name(files[0]))
	c := policytest.Read(t, files[0])
	in := c.Input(t)
	assert.Equal(t, "shop", in.Pod.Namespace)
	assert.Equal(t, "ReplicaSet", in.Pod.OwnerReferences[0].Kind)
	assert.Equal(t, policy.SwitchOff, in.Global)
	assert.Equal(t, map[string]string{policy.BurstLabel: "localPrefer"}, in.WorkloadLabels)
	assert.Equal(t, map[string]string{"team": "shop"}, in.NamespaceLabels)

	decision := c.Decide(t)
	assert.Equal(t, policy.PlacementLocalFirst, decision.Placement, "the rule is disabled")
	assert.Equal(t, policy.Shares{LocalReplicas: policy.Amount{Set: true, Value: 1}}, decision.Shares)
}

func TestSizesAreReadFromTheTableOfTheManual(t *testing.T) {
	sizes := policytest.Sizes(t)
	assert.Len(t, sizes, 100)
	assert.Equal(t, policytest.Size{VCPU: 0.25, GiB: 0.5}, sizes[0])
	assert.Equal(t, policytest.Size{VCPU: 64, GiB: 512}, sizes[len(sizes)-1])
	assert.Contains(t, sizes, policytest.Size{VCPU: 8, GiB: 36}, "a step of a range")
}
