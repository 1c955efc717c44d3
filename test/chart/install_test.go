package chart

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/programtest"
)

// install installs the chart until the test ends.
func install(t *testing.T, args ...string) {
	t.Helper()
	out := onCluster(t, "helm", append([]string{"install", "spillway", spillway, "--namespace", namespace}, args...)...)
	t.Cleanup(func() {
		// With hooks, helm would wait for the Job, which never gets a node.
		onCluster(t, "helm", "uninstall", "spillway", "--namespace", namespace, "--wait", "--no-hooks")
		onCluster(t, "kubectl", "delete", "pods", "--all", "--namespace", namespace, "--force")
	})
	assert.NotContains(t, out, "Warning", "no Pod violates the restricted profile, and every field is known")
}

// pods returns the number of Pods of each component. The namespace accepts only restricted Pods.
func pods(t *testing.T) map[string]int {
	t.Helper()
	list, err := trial.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	counts := map[string]int{}
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			counts[pod.Labels["app.kubernetes.io/component"]]++
		}
	}
	return counts
}

func TestANamespaceOfRestrictedPodsAcceptsTheChart(t *testing.T) {
	preset := []string{"-f", spillway + "/values-ha.yaml"}
	cases := map[string]struct {
		args []string
		want map[string]int
	}{
		"with the simulator": {
			simulated(), map[string]int{"scheduler": 1, "admission": 1, "vnode": 1, "simulator": 1},
		},
		"one replica of every program":  {values(), map[string]int{"scheduler": 1, "admission": 1, "vnode": 1}},
		"two replicas of every program": {values(preset...), map[string]int{"scheduler": 2, "admission": 2, "vnode": 2}},
		"with an existing scheduler": {
			values(append(preset, "--set", "scheduler.mode=service")...),
			map[string]int{"extender": 2, "admission": 2, "vnode": 2},
		},
		"with options that are off by default": {
			simulated("--set", "networkPolicies.enabled=false,vnode.certificate=cluster,vnode.clientCA=BEGIN CERTIFICATE"),
			map[string]int{"scheduler": 1, "admission": 1, "vnode": 1, "simulator": 1},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			install(t, tc.args...)
			require.Eventually(t, func() bool { return fmt.Sprint(tc.want) == fmt.Sprint(pods(t)) },
				programtest.Timeout, 100*time.Millisecond, "%v", tc.want)
		})
	}
}
