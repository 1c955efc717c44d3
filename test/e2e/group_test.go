package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// TestSchedulingGroups creates gangs of three Pods on a control plane with the feature gate and the API of groups,
// which Kubernetes 1.37 does not enable by default.
func TestSchedulingGroups(t *testing.T) {
	t.Parallel()
	const gates = "--feature-gates=GenericWorkload=true"
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	config := system.Config{
		Dir: t.TempDir(), BinDir: binDir, Shape: system.DefaultShape(), DieWithParent: true, Progress: t.Output(),
		Args: map[string][]string{
			system.APIServer:         {gates, "--runtime-config=scheduling.k8s.io/v1beta1=true"},
			system.ControllerManager: {gates},
			system.Scheduler:         {gates},
		},
	}
	s, err := system.Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, system.Stop(context.Background(), config.Dir)) })

	large := func(p *corev1.Pod) { // Larger than a local node.
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("5")}
	}
	quota := func(p *corev1.Pod) {
		p.Annotations = map[string]string{policy.SwitchKey: "true", policy.LocalReplicasAnnotation: "1"}
	}
	labeled := func(mode policy.Mode) func(*corev1.Pod) {
		return func(p *corev1.Pod) { p.Labels = map[string]string{policy.BurstLabel: string(mode)} }
	}
	for name, tc := range map[string]struct {
		changes []func(*corev1.Pod)
		want    string
	}{
		"quota":        {[]func(*corev1.Pod){quota}, "local local local"},
		"quota-waits":  {[]func(*corev1.Pod){quota, large}, "SchedulingGroup SchedulingGroup SchedulingGroup"},
		"prefer":       {[]func(*corev1.Pod){labeled(policy.ModeLocalPrefer)}, "local local local"},
		"prefer-burst": {[]func(*corev1.Pod){labeled(policy.ModeLocalPrefer), large}, "cloud cloud cloud"},
		"enforce":      {[]func(*corev1.Pod){labeled(policy.ModeEnforce)}, "cloud cloud cloud"},
	} {
		t.Run(name, func(t *testing.T) {
			gang := schedulingv1beta1.PodGroupSchedulingPolicy{
				Gang: &schedulingv1beta1.GangSchedulingPolicy{MinCount: 3},
			}
			group := &schedulingv1beta1.PodGroup{
				ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: schedulingv1beta1.PodGroupSpec{SchedulingPolicy: gang},
			}
			groups := s.Client().SchedulingV1beta1().PodGroups("default")
			_, err := groups.Create(t.Context(), group, metav1.CreateOptions{})
			require.NoError(t, err)
			for i := range 3 {
				pod := &corev1.Pod{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", name, i)},
					Spec: corev1.PodSpec{
						SchedulingGroup: &corev1.PodSchedulingGroup{PodGroupName: &name},
						Containers:      []corev1.Container{{Name: "main", Image: "nginx"}},
					},
				}
				for _, change := range tc.changes {
					change(pod)
				}
				_, err := s.Client().CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
				require.NoError(t, err)
			}
			var got string
			placed := func() bool { got = placesOf(t, s, name); return got == tc.want }
			assert.Eventually(t, placed, timeout, 100*time.Millisecond)
			require.Equal(t, tc.want, got)
			if strings.HasPrefix(name, "quota") {
				requireConditionWhileQuota(t, s, name)
			}
		})
	}
}

// requireConditionWhileQuota checks the condition of the Pods. It exists while the annotation does, on every node.
func requireConditionWhileQuota(t *testing.T, s *system.System, group string) {
	t.Helper()
	pods := s.Client().CoreV1().Pods("default")
	for i := range 3 {
		name := fmt.Sprintf("%s-%d", group, i)
		condition := func() string {
			pod, err := pods.Get(t.Context(), name, metav1.GetOptions{})
			require.NoError(t, err)
			require.NotEmpty(t, pod.Status.Conditions, "the scheduler's condition remains")
			if c := policy.PodCondition(pod, policy.LocalReplicasCondition); c != nil {
				return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
			}
			return ""
		}
		var got string
		assert.Eventually(t, func() bool { got = condition(); return got != "" }, timeout, 100*time.Millisecond)
		require.Equal(t, "False SchedulingGroup: "+policy.GroupQuota, got)
		withoutQuota := []byte(`{"metadata":{"annotations":{"` + policy.LocalReplicasAnnotation + `":null}}}`)
		_, err := pods.Patch(t.Context(), name, types.MergePatchType, withoutQuota, metav1.PatchOptions{})
		require.NoError(t, err)
		assert.Eventually(t, func() bool { got = condition(); return got == "" }, timeout, 100*time.Millisecond)
		require.Empty(t, got, "a Pod without a quota has no such condition")
	}
}

// placesOf returns for each of the three Pods of a group where it runs, or why it waits.
func placesOf(t *testing.T, s *system.System, group string) string {
	t.Helper()
	var places []string
	for i := range 3 {
		name := fmt.Sprintf("%s-%d", group, i)
		pod, err := s.Client().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		require.NotNil(t, pod.Spec.SchedulingGroup, "the Pod belongs to a group")
		places = append(places, placeOf(t, s, pod))
	}
	return strings.Join(places, " ")
}

func placeOf(t *testing.T, s *system.System, pod *corev1.Pod) string {
	t.Helper()
	if strings.HasPrefix(pod.Spec.NodeName, "virtual") {
		return "cloud"
	}
	if pod.Spec.NodeName != "" {
		return "local"
	}
	ofPod := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(pod.UID)}
	events, err := s.Client().CoreV1().Events("default").List(t.Context(), ofPod)
	require.NoError(t, err)
	for _, event := range events.Items {
		if event.Reason == string(policy.ReasonSchedulingGroup) {
			return event.Reason
		}
	}
	return "waits"
}
