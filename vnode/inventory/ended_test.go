package inventory

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
)

// An attack: a Job of a tenant leaves thousands of ended Pods, whose containers wrote the longest messages that the
// cloud takes. They cost almost nothing, and the watch of all other Pods of the node must not fail.
func TestThousandsOfEndedPodsWithLongMessagesAreKept(t *testing.T) {
	const pods, containers = 12_500, 20 // The control plane keeps 12,500 ended Pods.
	all := newCopies()
	for n := range pods {
		pod := cloudPod(fmt.Sprintf("job-%d", n), "1")
		pod.Status.Phase = corev1.PodSucceeded
		for i := range containers {
			ended := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: int32(i), Message: strings.Repeat("x", 4096),
			}}
			pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: fmt.Sprintf("c%d", i), Image: strings.Repeat("i", 500), State: ended, LastTerminationState: ended,
			})
		}
		key, ok := testOwner.Owns(pod)
		require.True(t, ok)
		all.set(key, newCopy(pod))
		require.NoError(t, all.check(), "after %d Pods", n)
		require.EqualValues(t, 7, all.get(key).Status.ContainerStatuses[7].State.Terminated.ExitCode)
	}
}
