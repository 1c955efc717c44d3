package install

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
)

// upgrade changes values of the release. Other values are those of testdata/values.yaml, with two virtual nodes. Helm
// does not wait for the end of the old Pods. Until then the old admission answers too, with the old scheduler name if
// that has changed.
func (c *cluster) upgrade(t *testing.T, args ...string) {
	t.Helper()
	c.helm(t, append([]string{
		"upgrade", release, chart, "--values=testdata/values.yaml", "--set-json=vnode.nodes=[{},{}]", "--wait",
		"--timeout=3m",
	}, args...)...)
	c.eventually(t, "the old Pods to be gone", func(ctx context.Context) error {
		pods, err := c.own(ctx)
		if i := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil }); err == nil &&
			i >= 0 {
			err = fmt.Errorf("%s still exists", pods[i].Name)
		}
		return err
	})
}

// playSecondNode adds a second virtual node and waits until the stories can use both.
func (c *cluster) playSecondNode(t *testing.T) {
	c.upgrade(t)
	c.eventually(t, "two virtual nodes to be Ready", func(ctx context.Context) error {
		ready, err := c.virtualNodes(ctx)
		if err == nil && len(ready) != 2 {
			err = fmt.Errorf("%v are Ready", ready)
		}
		return err
	})
}

var twoReplicas = "--values=" + chart + "/values-ha.yaml"

// playPresets changes from one replica of every program to two. A Deployment must not be affected.
func (c *cluster) playPresets(t *testing.T, measured *figures) {
	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "one replica to run on a local node, three in the cloud", c.runs("burst", 1, 3))
	before := c.podsOf(t, "burst")
	c.upgrade(t, twoReplicas)
	measured.footprints[highlyAvailable] = c.footprint(t)
	measured.checkSmaller(t, highlyAvailable)
	require.Equal(t, before, c.podsOf(t, "burst"), "Pods that ran before the upgrade")
	c.eventually(t, "the two replicas of every program to be on two nodes", c.spread)
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=6")
	c.eventually(t, "the quota to hold after the upgrade", c.runs("burst", 1, 5))
}

// spread checks that no node runs both replicas of a component.
func (c *cluster) spread(ctx context.Context) error {
	pods, err := c.own(ctx)
	if err != nil {
		return err
	}
	nodes := map[string]string{}
	for _, pod := range pods {
		component := pod.Labels["app.kubernetes.io/component"]
		if pod.DeletionTimestamp == nil && nodes[component] == pod.Spec.NodeName {
			return fmt.Errorf("%s runs both replicas of %s", pod.Spec.NodeName, component)
		}
		nodes[component] = pod.Spec.NodeName
	}
	return nil
}

// podsOf returns the UIDs of the Pods of an app, with the numbers of restarts of their containers.
func (c *cluster) podsOf(t *testing.T, app string) map[types.UID]int32 {
	t.Helper()
	ofApp := metav1.ListOptions{LabelSelector: "app=" + app}
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), ofApp)
	require.NoError(t, err)
	return restarts(list.Items)
}

func restarts(pods []corev1.Pod) map[types.UID]int32 {
	restarts := map[types.UID]int32{}
	for _, pod := range pods {
		for _, container := range pod.Status.ContainerStatuses {
			restarts[pod.UID] += container.RestartCount
		}
	}
	return restarts
}

// playSwitch turns the global switch off and on with a value of the chart.
func (c *cluster) playSwitch(t *testing.T) {
	c.upgrade(t, twoReplicas, "--set=eksConfig.autoScaleEKS=false")
	c.kubectl(t, "apply", "--filename=testdata/large.yaml")
	c.eventually(t, "the large Pod to wait with an Event", func(ctx context.Context) error {
		reason := metav1.ListOptions{FieldSelector: "involvedObject.name=large,reason=SwitchOff"}
		events, err := c.Client().CoreV1().Events(metav1.NamespaceDefault).List(ctx, reason)
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("there is no Event")
		}
		return err
	})
	require.NoError(t, c.runs("large", 0, 0)(t.Context()))
	c.upgrade(t, twoReplicas, "--set=eksConfig.autoScaleEKS=true")
	c.eventually(t, "the large Pod to run in the cloud", c.runs("large", 0, 1))
	c.kubectl(t, "delete", "--filename=testdata/large.yaml")
}

// playRotation gives the virtual nodes a new access key, and then makes the cloud refuse the old one.
func (c *cluster) playRotation(t *testing.T) {
	cloud := c.simulated(t)
	former := ccisim.Credential{AccessKey: cloud.AccessKey, SecretKey: cloud.SecretKey}
	next := ccisim.Credential{AccessKey: "rotated", SecretKey: "rotated-secret"}
	before := c.vnodes(t)
	c.setCredentials(t, former, next)
	patch, err := json.Marshal(map[string]any{
		"stringData": map[string]string{"accessKey": next.AccessKey, "secretKey": next.SecretKey},
	})
	require.NoError(t, err)
	c.kubectl(t, "patch", "secret", "spillway-simulator", "--namespace", namespace, "--patch", string(patch))
	c.setCredentials(t, next)
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=8")
	c.eventually(t, "Pods to burst with the new key", c.runs("burst", 1, 7))
	require.Equal(t, before, c.vnodes(t), "the virtual nodes have not been restarted")
	c.setCredentials(t, former, next)
}

// vnodes returns the UIDs of the virtual nodes' Pods, with the numbers of their restarts.
func (c *cluster) vnodes(t *testing.T) map[types.UID]int32 {
	t.Helper()
	ofVnode := metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=vnode"}
	list, err := c.Client().CoreV1().Pods(namespace).List(t.Context(), ofVnode)
	require.NoError(t, err)
	require.NotEmpty(t, list.Items)
	return restarts(list.Items)
}

// setCredentials sets the access keys that the simulated cloud accepts.
func (c *cluster) setCredentials(t *testing.T, list ...ccisim.Credential) {
	t.Helper()
	require.NoError(t, c.simulated(t).Simulate(t.Context(), http.MethodPut, "credentials", list, nil))
}

// playDrains drains the node of the local replica, one of Spillway's nodes, and a virtual node.
func (c *cluster) playDrains(t *testing.T) {
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=8")
	c.eventually(t, "one replica to run on a local node, seven in the cloud", c.runs("burst", 1, 7))
	local := c.localNodeOf(t, "burst")
	c.drained(t, local, func() {
		c.eventually(t, "the local replica to run on another node", c.runs("burst", 1, 7))
		require.NotEqual(t, local, c.localNodeOf(t, "burst"))
	})
	c.drained(t, c.withoutSimulator(t), func() {
		c.kubectl(t, "scale", "deployment", "burst", "--replicas=9")
		c.eventually(t, "Pods to burst while half of Spillway is down", c.runs("burst", 1, 8))
	})
	c.kubectl(t, "rollout", "status", "--namespace", namespace, "statefulset/virtual-node-cci", "--timeout=2m")
	virtual := system.VirtualNode(1)
	c.drained(t, virtual, func() {
		c.eventually(t, "its Pods to run on the other virtual node", func(ctx context.Context) error {
			onNode := metav1.ListOptions{FieldSelector: "spec.nodeName=" + virtual}
			list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(ctx, onNode)
			if err == nil && len(list.Items) > 0 {
				err = fmt.Errorf("%d Pods are still on %s", len(list.Items), virtual)
			}
			if err != nil {
				return err
			}
			return c.runs("burst", 1, 8)(ctx)
		})
	})
	c.kubectl(t, "delete", "--filename=testdata/burst.yaml", "--cascade=foreground")
}

// withoutSimulator returns the node of Spillway that does not run the simulator.
func (c *cluster) withoutSimulator(t *testing.T) string {
	t.Helper()
	ofSimulator := metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=simulator"}
	list, err := c.Client().CoreV1().Pods(namespace).List(t.Context(), ofSimulator)
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	return systemNodes[(slices.Index(systemNodes, list.Items[0].Spec.NodeName)+1)%len(systemNodes)]
}

// drained drains a node, calls do and uncordons the node.
func (c *cluster) drained(t *testing.T, node string, do func()) {
	t.Helper()
	c.kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=2m")
	do()
	c.kubectl(t, "uncordon", node)
}

// localNodeOf returns the node of the only local Pod of an app.
func (c *cluster) localNodeOf(t *testing.T, app string) string {
	t.Helper()
	ofApp := metav1.ListOptions{LabelSelector: "app=" + app}
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), ofApp)
	require.NoError(t, err)
	virtual, err := c.virtualNodes(t.Context())
	require.NoError(t, err)
	var nodes []string
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil && !slices.Contains(virtual, pod.Spec.NodeName) {
			nodes = append(nodes, pod.Spec.NodeName)
		}
	}
	require.Len(t, nodes, 1)
	return nodes[0]
}
