package install

import (
	"bytes"
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

// upgrade changes values of the release. What is not given is as in testdata/values.yaml. Helm does not wait for the Pods of before, which admission answers
// from until they have ended: with the scheduler of before, where that has changed.
func (c *cluster) upgrade(t *testing.T, args ...string) {
	t.Helper()
	c.helm(t, append([]string{"upgrade", release, chart, "--values=testdata/values.yaml", "--wait", "--timeout=3m"}, args...)...)
	c.eventually(t, "the Pods of before to be gone", func(ctx context.Context) error {
		pods, err := c.own(ctx)
		if i := slices.IndexFunc(pods, func(pod corev1.Pod) bool { return pod.DeletionTimestamp != nil }); err == nil && i >= 0 {
			err = fmt.Errorf("%s is still there", pods[i].Name)
		}
		return err
	})
}

// playSecondNode also waits until the stories can count on both.
func (c *cluster) playSecondNode(t *testing.T) {
	c.upgrade(t, "--set=vnode.replicas=2")
	c.eventually(t, "two virtual nodes to be Ready", func(ctx context.Context) error {
		ready, err := c.virtualNodes(ctx)
		if err == nil && len(ready) != 2 {
			err = fmt.Errorf("%v are", ready)
		}
		return err
	})
}

var twoOfEverything = "--values=" + chart + "/values-ha.yaml"

// playPresets goes over from one of everything to two, under a Deployment that must not notice.
func (c *cluster) playPresets(t *testing.T, measured *figures) {
	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "one replica to run at home, three in the cloud", c.runs("burst", 1, 3))
	before := c.podsOf(t, "burst")
	c.upgrade(t, twoOfEverything)
	measured.footprints[highlyAvailable] = c.footprint(t)
	measured.checkSmaller(t, highlyAvailable)
	require.Equal(t, before, c.podsOf(t, "burst"), "Pods that ran before the upgrade")
	c.eventually(t, "the two of everything to be on two nodes", c.spread)
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=6")
	c.eventually(t, "the quota to hold after it", c.runs("burst", 1, 5))
}

// spread checks that no node has both of anything.
func (c *cluster) spread(ctx context.Context) error {
	pods, err := c.own(ctx)
	if err != nil {
		return err
	}
	nodes := map[string]string{}
	for _, pod := range pods {
		component := pod.Labels["app.kubernetes.io/component"]
		if pod.DeletionTimestamp == nil && nodes[component] == pod.Spec.NodeName {
			return fmt.Errorf("%s has both of %s", pod.Spec.NodeName, component)
		}
		nodes[component] = pod.Spec.NodeName
	}
	return nil
}

// podsOf are the Pods of an app that are there, by UID, with how often their containers were restarted.
func (c *cluster) podsOf(t *testing.T, app string) map[types.UID]int32 {
	t.Helper()
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
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

// playSwitch turns the global switch off and on by a value of the chart.
func (c *cluster) playSwitch(t *testing.T) {
	c.upgrade(t, twoOfEverything, "--set=eksConfig.autoScaleEKS=false")
	c.kubectl(t, "apply", "--filename=testdata/large.yaml")
	c.eventually(t, "the large Pod to wait, and an Event to say why", func(ctx context.Context) error {
		events, err := c.Client().CoreV1().Events(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=large,reason=SwitchOff"})
		if err == nil && len(events.Items) == 0 {
			err = fmt.Errorf("there is none")
		}
		return err
	})
	require.NoError(t, c.runs("large", 0, 0)(t.Context()))
	c.upgrade(t, twoOfEverything, "--set=eksConfig.autoScaleEKS=true")
	c.eventually(t, "it to run in the cloud", c.runs("large", 0, 1))
	c.kubectl(t, "delete", "--filename=testdata/large.yaml")
}

// playRotation gives the virtual nodes another key, and has the cloud forget the one before.
func (c *cluster) playRotation(t *testing.T) {
	former := ccisim.Credential{AccessKey: "simulated", SecretKey: "simulated"}
	next := ccisim.Credential{AccessKey: "rotated", SecretKey: "rotated-secret"}
	before := c.vnodes(t)
	c.setCredentials(t, former, next)
	patch, err := json.Marshal(map[string]any{"stringData": map[string]string{"accessKey": next.AccessKey, "secretKey": next.SecretKey}})
	require.NoError(t, err)
	c.kubectl(t, "patch", "secret", "spillway-cci-credentials", "--namespace", namespace, "--patch", string(patch))
	c.setCredentials(t, next)
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=8")
	c.eventually(t, "Pods to burst with the new key", c.runs("burst", 1, 7))
	require.Equal(t, before, c.vnodes(t), "the processes of the virtual nodes, which nobody restarted")
	c.setCredentials(t, former, next) // An upgrade brings back what the values say.
}

// vnodes are the Pods of the virtual nodes and how often they were restarted.
func (c *cluster) vnodes(t *testing.T) map[types.UID]int32 {
	t.Helper()
	list, err := c.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=vnode"})
	require.NoError(t, err)
	require.NotEmpty(t, list.Items)
	return restarts(list.Items)
}

// setCredentials tells the simulated cloud whose requests it takes.
func (c *cluster) setCredentials(t *testing.T, list ...ccisim.Credential) {
	t.Helper()
	body, err := json.Marshal(list)
	require.NoError(t, err)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, c.simulated(t).Endpoint+"/_sim/credentials", bytes.NewReader(body))
	require.NoError(t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusNoContent, response.StatusCode)
}

// playDrains empties the node of the local replica, one of Spillway's own, and a virtual one.
func (c *cluster) playDrains(t *testing.T) {
	c.kubectl(t, "scale", "deployment", "burst", "--replicas=8")
	c.eventually(t, "one replica to run at home, seven in the cloud", c.runs("burst", 1, 7))
	home := c.homeOf(t, "burst")
	c.drained(t, home, func() {
		c.eventually(t, "the local replica to have moved to another node", c.runs("burst", 1, 7))
		require.NotEqual(t, home, c.homeOf(t, "burst"))
	})
	c.drained(t, c.withoutSimulator(t), func() {
		c.kubectl(t, "scale", "deployment", "burst", "--replicas=9")
		c.eventually(t, "Pods to burst while half of Spillway is gone", c.runs("burst", 1, 8))
	})
	c.kubectl(t, "rollout", "status", "--namespace", namespace, "statefulset/virtual-node-cci", "--timeout=2m")
	virtual := system.VirtualNode(1)
	c.drained(t, virtual, func() {
		c.eventually(t, "its Pods to run on the other virtual node", func(ctx context.Context) error {
			list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(ctx, metav1.ListOptions{FieldSelector: "spec.nodeName=" + virtual})
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

// withoutSimulator is the node of Spillway's own that the cloud does not run on.
func (c *cluster) withoutSimulator(t *testing.T) string {
	t.Helper()
	list, err := c.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=simulator"})
	require.NoError(t, err)
	require.Len(t, list.Items, 1)
	return systemNodes[(slices.Index(systemNodes, list.Items[0].Spec.NodeName)+1)%len(systemNodes)]
}

// drained drains a node, does something and opens the node again.
func (c *cluster) drained(t *testing.T, node string, do func()) {
	t.Helper()
	c.kubectl(t, "drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=2m")
	do()
	c.kubectl(t, "uncordon", node)
}

// homeOf is the node of the one Pod of an app that is at home.
func (c *cluster) homeOf(t *testing.T, app string) string {
	t.Helper()
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), metav1.ListOptions{LabelSelector: "app=" + app})
	require.NoError(t, err)
	virtual, err := c.virtualNodes(t.Context())
	require.NoError(t, err)
	var homes []string
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil && !slices.Contains(virtual, pod.Spec.NodeName) {
			homes = append(homes, pod.Spec.NodeName)
		}
	}
	require.Len(t, homes, 1)
	return homes[0]
}
