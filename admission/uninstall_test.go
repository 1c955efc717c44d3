package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

const guard = `apiVersion: v1
kind: ConfigMap
metadata: {name: guard, labels: {spillway.io/uninstall: guarded}}
data: {farewell: "A Job cleans up.\nIf it fails, see docs/uninstall.md."}`

// runsOn has a Pod run on a node, as far as the API server knows.
func runsOn(t *testing.T, ns, name, node string) {
	t.Helper()
	pod := small(name)
	pod.Spec.NodeName = node
	create(t, ns, pod)
	patch := []byte(`{"status":{"phase":"Running"}}`)
	_, err := trial.Client().CoreV1().Pods(ns).Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{}, "status")
	require.NoError(t, err)
}

// What helm uninstall meets first.
func TestSpillwayDoesNotGoWhilePodsRunInTheCloud(t *testing.T) {
	p := start(t)
	ns := namespace(t, nil)
	others := virtual()
	others.Name, others.Labels = "bursting-node", map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}
	_, err := trial.Client().CoreV1().Nodes().Create(t.Context(), others, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { _ = trial.Client().CoreV1().Nodes().Delete(t.Context(), others.Name, metav1.DeleteOptions{}) })
	runsOn(t, ns, "elsewhere", others.Name)
	apply(t, ns, guard)
	letGo := func(flags ...string) (string, error) {
		return kubectl(t, ns, "", append([]string{"delete", "configmap", "guard"}, flags...)...)
	}

	eventually(t, func() error {
		printed, err := letGo("--dry-run=server")
		if err == nil && !strings.Contains(printed, "Warning: A Job cleans up.\nWarning: If it fails, see docs/uninstall.md.\n") {
			err = errors.New("the webhook is not called yet: " + printed)
		}
		return err
	})
	runsOn(t, ns, "serves", virtualNode)
	eventually(t, func() error {
		if _, err := letGo("--dry-run=server"); err == nil {
			return errors.New("the Pod was not seen yet")
		}
		return nil
	})
	printed, err := letGo()
	require.Error(t, err)
	assert.Equal(t, `Error from server (Forbidden): admission webhook "uninstall.spillway.io" denied the request: 1 Pods run in the cloud (`+ns+`/serves). `+
		"Drain the virtual nodes first, or have these Pods ended: kubectl --namespace "+ns+" label --overwrite configmap guard spillway.io/uninstall=forced\n", printed)

	// What the refusal says is what helps.
	_, command, _ := strings.Cut(strings.TrimSpace(printed), "kubectl --namespace "+ns+" ")
	printed, err = kubectl(t, ns, "", strings.Fields(command)...)
	require.NoError(t, err, printed)
	printed, err = letGo()
	require.NoError(t, err, printed)

	// What cannot be asked does not hold anybody.
	apply(t, ns, guard)
	p.stop(t)
	printed, err = letGo()
	require.NoError(t, err, printed)
	pod, err := trial.Client().CoreV1().Pods(ns).Get(t.Context(), "serves", metav1.GetOptions{})
	require.NoError(t, err)
	assert.Equal(t, corev1.PodRunning, pod.Status.Phase)
}
