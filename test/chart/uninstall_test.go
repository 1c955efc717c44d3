package chart

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/programtest"
)

// refuses does what admission does while Pods run in the cloud: there is nobody here to ask.
const refuses = `apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: guard}
spec:
  matchConstraints:
    objectSelector: {matchLabels: {spillway.io/uninstall: guarded}}
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [DELETE], resources: [configmaps]}]
  validations: [{expression: "false", message: 5 Pods run in the cloud}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: guard}
spec: {policyName: guard, validationActions: [Deny]}
`

// Helm notes a release as being uninstalled before it makes the first hook, and never upgrades one again that stays so.
func TestARefusedUninstallChangesNothing(t *testing.T) {
	install(t, simulated()...)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	require.NoError(t, os.WriteFile(policy, []byte(refuses), 0o600))
	onCluster(t, "kubectl", "apply", "-f", policy)
	try := func(program string, args ...string) error {
		_, err := run(program, append([]string{"--kubeconfig", trial.Kubeconfig(), "--namespace", namespace}, args...)...)
		return err
	}
	awaitRefusal := func(refused bool) {
		require.Eventually(t, func() bool {
			return refused == (try("kubectl", "delete", "configmap", "spillway-uninstall-guard", "--dry-run=server") != nil)
		}, programtest.Patience, 100*time.Millisecond, "the API server heeds the policy: %t", refused)
	}
	awaitRefusal(true)
	t.Cleanup(func() {
		onCluster(t, "kubectl", "delete", "-f", policy)
		awaitRefusal(false)
	})
	before := onCluster(t, "helm", "get", "all", "spillway", "--namespace", namespace)

	require.ErrorContains(t, try("helm", "uninstall", "spillway"), "5 Pods run in the cloud")
	assert.Equal(t, before, onCluster(t, "helm", "get", "all", "spillway", "--namespace", namespace), "the release is deployed as it was")
	require.NoError(t, try("helm", "upgrade", "spillway", spillway, "--set", "simulator.enabled=true,vnode.replicas=2"))
	require.ErrorContains(t, try("helm", "uninstall", "spillway"), "5 Pods run in the cloud", "and guarded as it was")
}

// What programs have written into objects of the chart's making outlives an upgrade.
func TestUpgradesLeaveAloneWhatProgramsWrite(t *testing.T) {
	install(t, simulated()...)
	in := func(args ...string) string {
		return onCluster(t, "kubectl", append([]string{"--namespace", namespace}, args...)...)
	}
	in("patch", "secret", "spillway-admission-tls", "--patch", `{"data": {"tls.crt": "YQ=="}}`)
	in("patch", "lease", "spillway-admission", "--type", "merge", "--patch", `{"spec": {"holderIdentity": "somebody"}}`)
	onCluster(t, "helm", "upgrade", "spillway", spillway, "--namespace", namespace, "--set", "simulator.enabled=true,admission.replicas=2")
	assert.Equal(t, "YQ==", in("get", "secret", "spillway-admission-tls", "-o", `jsonpath={.data.tls\.crt}`))
	assert.Equal(t, "somebody", in("get", "lease", "spillway-admission", "-o", "jsonpath={.spec.holderIdentity}"))
}
