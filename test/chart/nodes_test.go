package chart

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// A release whose virtual nodes were its replicas lost all but the first without this.
func TestTheNotesWarnAboutAVirtualNodeThatNoProcessRuns(t *testing.T) {
	install(t, values("--set", "vnode.replicas=2", "--set-json", virtualNodes(2))...)
	second := system.VirtualNode(1)
	_, err := trial.Client().CoreV1().Nodes().Create(t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: second, Labels: policy.VirtualNodeLabels()},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { onCluster(t, "kubectl", "delete", "node", second) })
	notes := func(args ...string) string {
		return onCluster(t, "helm", append([]string{
			"upgrade", "spillway", spillway, "--namespace", namespace,
		}, values(args...)...)...)
	}
	warning := "WARNING: no process runs Node " + second
	assert.NotContains(t, notes("--set-json", virtualNodes(2)), warning)
	assert.Contains(t, notes("--set", "vnode.replicas=2"), warning)
}
