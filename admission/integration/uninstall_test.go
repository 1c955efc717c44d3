package integration

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// guarded has the name of the guard and its label.
const guarded = `apiVersion: v1
kind: ConfigMap
metadata: {name: spillway-uninstall-guard, labels: {spillway.io/uninstall: guarded}}
data: {notice: "A Job cleans up.\nIf it fails, see docs/uninstall.md."}`

// runsOn creates a Pod whose status says that it runs on a node.
func runsOn(t *testing.T, ns, name, node string) {
	t.Helper()
	pod := small(name)
	pod.Spec.NodeName = node
	create(t, ns, pod)
	patch := []byte(`{"status":{"phase":"Running"}}`)
	_, err := trial.Client().CoreV1().Pods(ns).
		Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
}

// helm uninstall deletes the guard first.
func TestUninstallationIsRejectedWhilePodsRunInTheCloud(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	others := virtual()
	others.Name, others.Labels = "bursting-node", map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}
	_, err := trial.Client().CoreV1().Nodes().Create(t.Context(), others, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = trial.Client().CoreV1().Nodes().Delete(t.Context(), others.Name, metav1.DeleteOptions{})
	})
	runsOn(t, ns, "elsewhere", others.Name)
	apply(t, system.ProgramNamespace, guarded)
	deleteIn := func(namespace string, flags ...string) (string, error) {
		return kubectl(t, namespace, "", append([]string{"delete", "configmap", webhook.GuardName}, flags...)...)
	}
	deleteGuard := func(flags ...string) (string, error) { return deleteIn(system.ProgramNamespace, flags...) }

	eventually(t, func() error {
		printed, err := deleteGuard("--dry-run=server")
		const notice = "Warning: A Job cleans up.\nWarning: If it fails, see docs/uninstall.md.\n"
		if err == nil && !strings.Contains(printed, notice) {
			err = errors.New("the webhook is not called yet: " + printed)
		}
		return err
	})
	runsOn(t, ns, "serves", virtualNode)
	eventually(t, func() error {
		if _, err := deleteGuard("--dry-run=server"); err == nil {
			return errors.New("the webhook has not seen the Pod yet")
		}
		return nil
	})
	printed, err := deleteGuard()
	require.Error(t, err)
	assert.Equal(t, `Error from server (Forbidden): admission webhook "uninstall.spillway.io" denied the request: `+
		`1 Pods run in the cloud. Drain the virtual nodes first, or let the uninstallation delete these Pods: kubectl `+
		"--namespace spillway-system label --overwrite configmap spillway-uninstall-guard spillway.io/uninstall=forced\n",
		printed)
	printedRefusal := printed

	// A ConfigMap of a tenant is no guard. It delays neither its own deletion nor that of its namespace.
	apply(t, ns, guarded)
	printed, err = deleteIn(ns)
	require.NoError(t, err, printed)
	assert.NotContains(t, printed, "Warning")
	apply(t, ns, guarded)
	require.NoError(t, trial.Client().CoreV1().ConfigMaps(ns).
		DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))

	// The command in the message works.
	_, command, _ := strings.Cut(strings.TrimSpace(printedRefusal), "kubectl --namespace "+system.ProgramNamespace+" ")
	printed, err = kubectl(t, system.ProgramNamespace, "", strings.Fields(command)...)
	require.NoError(t, err, printed)
	printed, err = deleteGuard()
	require.NoError(t, err, printed)

	// Without the webhook, the guard can be deleted.
	apply(t, system.ProgramNamespace, guarded)
	p.stop(t)
	printed, err = deleteGuard()
	require.NoError(t, err, printed)
	pod, err := trial.Client().CoreV1().Pods(ns).Get(t.Context(), "serves", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
}
