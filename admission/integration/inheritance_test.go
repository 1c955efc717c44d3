package integration

import (
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
)

// inherits waits until every Pod of a namespace has the annotations and lists them as inherited.
func inherits(t *testing.T, ns string, count int, want map[string]string) {
	t.Helper()
	eventually(t, func() error {
		for _, pod := range pods(t, ns, count) {
			got := map[string]string{}
			for _, key := range append(policy.InheritedAnnotations(), policy.InheritedAnnotation) {
				if value, ok := pod.Annotations[key]; ok {
					got[key] = value
				}
			}
			if !maps.Equal(want, got) {
				return fmt.Errorf("Pod %s has %v instead of %v", pod.Name, got, want)
			}
		}
		return nil
	})
}

// The Deployment controller copies annotations to the ReplicaSet and does not remove them there.
func TestPodsFollowTheAnnotationsOfTheirDeployment(t *testing.T) {
	// Changes must be followed by events, not by the resync.
	p := start(t, func(c *config.Config) { c.Resync.Duration = time.Hour })
	ns := namespace(t, nil)
	text := `apiVersion: apps/v1
kind: Deployment
metadata: {name: x, annotations: {LOCAL_REPLICAS: "30%%", spillway.io/burst-after: 5s}}
spec: {replicas: 3, selector: {matchLabels: {app: x}}, %s}`
	apply(t, ns, fmt.Sprintf(text, template("")))
	before := pods(t, ns, 3)
	inherits(t, ns, 3, map[string]string{
		policy.LocalReplicasAnnotation: "30%", policy.BurstAfterAnnotation: "5s",
		policy.InheritedAnnotation: "LOCAL_REPLICAS,spillway.io/burst-after",
	})
	assert.Zero(t, p.metric(t, "spillway_admission_inherited_updates_total"), "the webhook has written them")
	for _, pod := range before {
		assert.True(t, policy.NeedsPlacement(&pod.Spec), "a Pod with shares is managed")
	}
	change := func(patch string) {
		t.Helper()
		_, err := trial.Client().AppsV1().Deployments(ns).Patch(t.Context(), "x", types.MergePatchType,
			[]byte(`{"metadata":{"annotations":`+patch+`}}`), metav1.PatchOptions{})
		require.NoError(t, err)
	}
	change(`{"LOCAL_REPLICAS":"2","spillway.io/burst-after":null,"spillway.io/way-home":"true"}`)
	inherits(t, ns, 3, map[string]string{
		policy.LocalReplicasAnnotation: "2", policy.WayHomeAnnotation: "true",
		policy.InheritedAnnotation: "LOCAL_REPLICAS,spillway.io/way-home",
	})
	change(`{"LOCAL_REPLICAS":null,"spillway.io/way-home":null}`)
	inherits(t, ns, 3, map[string]string{})
	sets, err := trial.Client().AppsV1().ReplicaSets(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	require.Len(t, sets.Items, 1, "nothing was rolled out")
	assert.Contains(t, sets.Items[0].Annotations, policy.LocalReplicasAnnotation,
		"the stale copy is what the test is about")
	after := map[types.UID]bool{}
	for _, pod := range pods(t, ns, 3) {
		after[pod.UID] = true
	}
	for _, pod := range before {
		assert.True(t, after[pod.UID], "no Pod was replaced")
	}
	change(`{"spillway.io/local-min":"1"}`)
	inherits(t, ns, 3, map[string]string{
		policy.LocalMinAnnotation: "1", policy.InheritedAnnotation: policy.LocalMinAnnotation,
	})
	assert.InDelta(t, 9, p.metric(t, "spillway_admission_inherited_updates_total"), 0,
		"each change has changed each Pod once")
}

// A Pod without keys that fits on no local node gets the toleration at its deadline, and its Event names that time.
func TestAPodWaitsForRoomBeforeItBursts(t *testing.T) {
	start(t, func(c *config.Config) { c.Resync.Duration = time.Hour })
	ns := namespace(t, nil)
	patch := []byte(`{"metadata":{"annotations":{"spillway.io/burst-after":"4s"}}}`)
	_, err := trial.Client().CoreV1().Namespaces().Patch(
		t.Context(), ns, types.MergePatchType, patch, metav1.PatchOptions{})
	require.NoError(t, err)
	// The webhook must know the namespace as it is now.
	eventually(t, func() error {
		pod := create(t, ns, big("x"))
		deadline := pod.CreationTimestamp.Add(4 * time.Second)
		var node string
		for node == "" {
			node = get(t, ns, "x").Spec.NodeName
			if node != "" && time.Now().Before(deadline) {
				require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), "x",
					metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}))
				return fmt.Errorf("the Pod was bound to %s before its deadline", node)
			}
			time.Sleep(20 * time.Millisecond)
		}
		require.Equal(t, virtualNode, node)
		assert.Less(t, time.Since(deadline), programtest.Timeout)
		event := eventOf(t, ns, "x", "BurstAfter")
		assert.Equal(t, corev1.EventTypeNormal, event.Type)
		assert.Contains(t, event.Message, deadline.UTC().Format(time.RFC3339))
		assert.EqualValues(t, 1, event.Count)
		return nil
	})
}
