package chart

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// upgrade upgrades the release.
func upgrade(t *testing.T, args ...string) {
	t.Helper()
	onCluster(t, "helm", append([]string{"upgrade", "spillway", spillway, "--namespace", namespace}, args...)...)
}

// globalSwitch returns the value of the global switch in its ConfigMap.
func globalSwitch(t *testing.T) string {
	t.Helper()
	return onCluster(t, "kubectl", "--namespace", "kube-system", "get", "configmap", "eks-config",
		"-o", "jsonpath={.data.AUTO_SCALE_EKS}")
}

func TestTheGlobalSwitch(t *testing.T) {
	turn := func(t *testing.T, to string) {
		t.Helper()
		onCluster(t, "kubectl", "--namespace", "kube-system", "patch", "configmap", "eks-config",
			"--patch", `{"data": {"AUTO_SCALE_EKS": "`+to+`"}}`)
	}
	t.Run("is left to kubectl", func(t *testing.T) {
		install(t, simulated()...)
		assert.Empty(t, globalSwitch(t))
		turn(t, "false")
		upgrade(t, simulated("--set", "admission.replicas=2")...)
		assert.Equal(t, "false", globalSwitch(t), "an upgrade does not turn on a switch that incurs costs")
	})
	t.Run("is a value", func(t *testing.T) {
		install(t, simulated("--set", "eksConfig.autoScaleEKS=false")...)
		assert.Equal(t, "false", globalSwitch(t))
		upgrade(t, simulated("--set", "eksConfig.autoScaleEKS=true")...)
		assert.Equal(t, "true", globalSwitch(t))
	})
	t.Run("exists before the release", func(t *testing.T) {
		onCluster(t, "kubectl", "--namespace", "kube-system", "create", "configmap", "eks-config",
			"--from-literal=AUTO_SCALE_EKS=false")
		t.Cleanup(func() {
			assert.Equal(t, "false", globalSwitch(t), "it remains when Spillway is uninstalled")
			onCluster(t, "kubectl", "--namespace", "kube-system", "delete", "configmap", "eks-config")
		})
		install(t, simulated("--set", "eksConfig.autoScaleEKS=true")...)
		upgrade(t, simulated("--set", "eksConfig.autoScaleEKS=true,admission.replicas=2")...)
		assert.Equal(t, "false", globalSwitch(t))
	})
}

func TestPodsRestartWhenTheirConfigurationChanges(t *testing.T) {
	install(t, simulated()...)
	generations := func() map[string]int64 {
		found := map[string]int64{}
		deployments, err := trial.Client().AppsV1().Deployments(namespace).List(t.Context(), metav1.ListOptions{})
		assert.NoError(t, err)
		for _, deployment := range deployments.Items {
			found[strings.TrimPrefix(deployment.Name, "spillway-")] = deployment.Generation
		}
		set, err := trial.Client().AppsV1().StatefulSets(namespace).Get(t.Context(), "virtual-node-cci", metav1.GetOptions{})
		assert.NoError(t, err)
		found["vnode"] = set.Generation
		return found
	}
	upgrade(t, simulated()...)
	unchanged := map[string]int64{"admission": 1, "scheduler": 1, "simulator": 1, "vnode": 1}
	assert.Equal(t, unchanged, generations(), "the configuration has not changed")
	upgrade(t, simulated("--set", "vnode.soldOut.lock=10m")...)
	assert.Equal(t, map[string]int64{"admission": 1, "scheduler": 1, "simulator": 1, "vnode": 2}, generations())
	upgrade(t, simulated("--set", "vnode.soldOut.lock=10m,policy.localFalseForbids=true")...)
	all := map[string]int64{"admission": 2, "scheduler": 2, "simulator": 1, "vnode": 3}
	assert.Equal(t, all, generations(), "the policy is part of every program's configuration")
}
