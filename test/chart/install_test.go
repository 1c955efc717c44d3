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
		// The Job of a hook would wait for a node.
		onCluster(t, "helm", "uninstall", "spillway", "--namespace", namespace, "--wait", "--no-hooks")
		onCluster(t, "kubectl", "delete", "pods", "--all", "--namespace", namespace, "--force")
	})
	assert.NotContains(t, out, "Warning", "the API server warns of Pods that are not restricted, and of fields that it does not know")
}

// pods counts the Pods of each component. The namespace takes restricted ones only.
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

func TestAClusterThatDemandsRestrictedPodsTakesAllOfIt(t *testing.T) {
	preset := []string{"-f", spillway + "/values-ha.yaml"}
	cases := map[string]struct {
		args []string
		want map[string]int
	}{
		"with the simulator":         {simulated(), map[string]int{"scheduler": 1, "admission": 1, "vnode": 1, "simulator": 1}},
		"a single one of everything": {values(), map[string]int{"scheduler": 1, "admission": 1, "vnode": 1}},
		"two of everything":          {values(preset...), map[string]int{"scheduler": 2, "admission": 2, "vnode": 2}},
		"with a scheduler that is there already": {
			values(append(preset, "--set", "scheduler.mode=service")...), map[string]int{"extender": 2, "admission": 2, "vnode": 2},
		},
		"with what is off by default": {
			simulated("--set", "networkPolicies.enabled=true,vnode.certificate=cluster,vnode.clientCA=BEGIN CERTIFICATE"),
			map[string]int{"scheduler": 1, "admission": 1, "vnode": 1, "simulator": 1},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			install(t, tc.args...)
			require.Eventually(t, func() bool { return fmt.Sprint(tc.want) == fmt.Sprint(pods(t)) }, programtest.Patience, 100*time.Millisecond, "%v", tc.want)
		})
	}
}
