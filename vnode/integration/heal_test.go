package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	virtualnode "github.com/spillway-k8s/spillway/vnode/node"
)

// What other controllers do to the Node is corrected when it happens. The regular writes are five minutes apart, longer
// than this test waits.
func TestANodeThatOthersHaveChangedHealsAtOnce(t *testing.T) {
	t.Parallel()
	config := settings(t, cloudtest.New(t), nodeName(t))
	spare := corev1.Taint{Key: "example.com/spare", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	config.Node.Zone, config.Node.Taints = "north-a", []corev1.Taint{spare}
	config.Node.Labels = map[string]string{"example.com/team": "web", "node-role.kubernetes.io/spare": ""}
	start(t, config)
	nodes := trial.Client().CoreV1().Nodes()
	name := config.Node.Name
	whole := func() error {
		node, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		network := virtualnode.FindCondition(node, corev1.NodeNetworkUnavailable)
		if network == nil || network.Status != corev1.ConditionFalse {
			return fmt.Errorf("the network is unavailable: %v", network)
		}
		for key, value := range map[string]string{
			"topology.kubernetes.io/zone": "north-a", "topology.kubernetes.io/region": "sim-1",
			"example.com/team": "web", "node-role.kubernetes.io/spare": "",
			policy.NodeTypeLabel:    policy.NodeTypeVirtual,
			policy.TrustedNodeLabel: policy.TrustedNodeValue,
		} {
			if has, ok := node.Labels[key]; !ok || has != value {
				return fmt.Errorf("label %s is %q", key, has)
			}
		}
		if len(node.Status.Addresses) == 0 || node.Status.Addresses[0].Address != config.Node.IP {
			return fmt.Errorf("the addresses are %v", node.Status.Addresses)
		}
		taints := map[corev1.Taint]bool{}
		for _, taint := range node.Spec.Taints {
			taints[taint] = true
		}
		if !taints[spare] || !taints[policy.ProviderTaint()] {
			return fmt.Errorf("the taints are %v", node.Spec.Taints)
		}
		return nil
	}
	eventually(t, whole)
	patch := func(patch string, subresources ...string) func() error {
		return func() error {
			_, err := nodes.Patch(t.Context(), name, types.StrategicMergePatchType, []byte(patch),
				metav1.PatchOptions{},
				subresources...)
			return err
		}
	}
	for what, change := range map[string]func() error{
		"a controller of routes reports that its network is unavailable": patch(
			`{"status":{"conditions":[{"type":"NetworkUnavailable","status":"True","reason":"NoRouteCreated"}]}}`,
			"status"),
		"a cloud-controller-manager deletes it": func() error {
			return nodes.Delete(t.Context(), name, metav1.DeleteOptions{})
		},
		"its taints are removed": patch(`{"spec":{"taints":null}}`),
		"its taint is changed": patch(
			`{"spec":{"taints":[{"key":"example.com/spare","value":"no","effect":"NoSchedule"}]}}`),
		"its zone is changed":         patch(`{"metadata":{"labels":{"topology.kubernetes.io/zone":"elsewhere"}}}`),
		"a label is removed":          patch(`{"metadata":{"labels":{"example.com/team":null}}}`),
		"a reserved label is removed": patch(`{"metadata":{"labels":{"node-role.kubernetes.io/spare":null}}}`),
		"another process has written its address": patch(
			`{"status":{"addresses":[{"type":"InternalIP","address":"10.9.9.9"}]}}`, "status"),
	} {
		t.Run(what, func(t *testing.T) {
			before, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
			require.NoError(t, err)
			require.NoError(t, change())
			eventually(t, func() error {
				after, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
				if err == nil && after.ResourceVersion == before.ResourceVersion {
					err = errors.New("nothing has changed")
				}
				return errors.Join(err, whole())
			})
		})
	}
	node, err := nodes.Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	assert.Len(t, node.Spec.Taints, 2)
}
