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

// denyDeletion refuses what admission refuses while Pods run in the cloud. Admission itself does not run here.
const denyDeletion = `apiVersion: admissionregistration.k8s.io/v1
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

// Helm records that a release is being uninstalled before it creates the first hook. It cannot upgrade a release in
// that state.
func TestARefusedUninstallChangesNothing(t *testing.T) {
	install(t, simulated()...)
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	require.NoError(t, os.WriteFile(policy, []byte(denyDeletion), 0o600))
	onCluster(t, "kubectl", "apply", "-f", policy)
	onRelease := func(program string, args ...string) error {
		_, err := run(program, append([]string{"--kubeconfig", trial.Kubeconfig(), "--namespace", namespace}, args...)...)
		return err
	}
	awaitRefusal := func(refused bool) {
		require.Eventually(t, func() bool {
			err := onRelease("kubectl", "delete", "configmap", "spillway-uninstall-guard", "--dry-run=server")
			return refused == (err != nil)
		}, programtest.Timeout, 100*time.Millisecond, "the API server applies the policy: %t", refused)
	}
	awaitRefusal(true)
	t.Cleanup(func() {
		onCluster(t, "kubectl", "delete", "-f", policy)
		awaitRefusal(false)
	})
	before := onCluster(t, "helm", "get", "all", "spillway", "--namespace", namespace)

	require.ErrorContains(t, onRelease("helm", "uninstall", "spillway"), "5 Pods run in the cloud")
	after := onCluster(t, "helm", "get", "all", "spillway", "--namespace", namespace)
	assert.Equal(t, before, after, "the release is still deployed and unchanged")
	require.NoError(t, onRelease("helm", "upgrade", "spillway", spillway, "--set",
		"simulator.enabled=true,vnode.replicas=2"))
	require.ErrorContains(t, onRelease("helm", "uninstall", "spillway"), "5 Pods run in the cloud",
		"the guard still works")
}

// Upgrades keep what programs have written into objects that the chart creates.
func TestUpgradesKeepWhatProgramsWrite(t *testing.T) {
	install(t, simulated()...)
	in := func(args ...string) string {
		return onCluster(t, "kubectl", append([]string{"--namespace", namespace}, args...)...)
	}
	in("patch", "secret", "spillway-admission-tls", "--patch", `{"data": {"tls.crt": "YQ=="}}`)
	in("patch", "lease", "spillway-admission", "--type", "merge", "--patch", `{"spec": {"holderIdentity": "a replica"}}`)
	upgrade(t, simulated("--set", "admission.replicas=2")...)
	assert.Equal(t, "YQ==", in("get", "secret", "spillway-admission-tls", "-o", `jsonpath={.data.tls\.crt}`))
	assert.Equal(t, "a replica", in("get", "lease", "spillway-admission", "-o", "jsonpath={.spec.holderIdentity}"))
}
