package install

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// playBuffer installs the buffer where each node has 1 CPU left. Nine of its ten placeholders fit; the tenth waits and
// never bursts. Six of the eight Pods of TKE placeholder (docs/sources.md) must preempt them before the other two may
// burst.
func (c *cluster) playBuffer(t *testing.T) {
	c.kubectl(t, "apply", "--filename=testdata/filler.yaml")
	c.eventually(t, "the filler to run on each node", c.runs("filler", storyNodes, 0))
	c.helm(t, "install", "buffer", buffer)
	c.eventually(t, "nine placeholders to run", c.placeholders(9, 1))
	c.kubectl(t, "apply", "--filename=testdata/nginx.yaml")
	c.eventually(t, "six Pods to run on local nodes, two in the cloud", c.runs("nginx", 6, 2))
	c.eventually(t, "no placeholder to run and none to burst", c.placeholders(0, 10))

	c.kubectl(t, "delete", "--filename=testdata/nginx.yaml", "--cascade=foreground")
	c.eventually(t, "the buffer to be back", c.placeholders(9, 1))
	c.helm(t, "uninstall", "buffer", "--wait")
	c.kubectl(t, "delete", "--filename=testdata/filler.yaml", "--cascade=foreground")
	ofBuffer := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=buffer"}
	classes, err := c.Client().SchedulingV1().PriorityClasses().List(t.Context(), ofBuffer)
	require.NoError(t, err)
	require.Empty(t, classes.Items, "PriorityClasses that the chart leaves behind")
}

// placeholders checks how many placeholders run on local nodes and how many wait. There must be no others.
func (c *cluster) placeholders(wantLocal, wantWaiting int) func(context.Context) error {
	return func(ctx context.Context) error {
		ofBuffer := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=buffer"}
		list, err := c.Client().CoreV1().Pods(namespace).List(ctx, ofBuffer)
		if err != nil {
			return fmt.Errorf("listing the placeholders: %w", err)
		}
		virtual, err := c.virtualNodes(ctx)
		if err != nil {
			return err
		}
		local, waiting := 0, 0
		for _, pod := range list.Items {
			switch {
			case pod.Status.Phase == corev1.PodRunning && !slices.Contains(virtual, pod.Spec.NodeName):
				local++
			case pod.Spec.NodeName == "":
				waiting++
			default:
				return fmt.Errorf("placeholder %s is %s on %s", pod.Name, pod.Status.Phase, pod.Spec.NodeName)
			}
		}
		if local != wantLocal || waiting != wantWaiting {
			return fmt.Errorf("%d placeholders run on local nodes and %d wait: want %d and %d",
				local, waiting, wantLocal, wantWaiting)
		}
		return nil
	}
}
