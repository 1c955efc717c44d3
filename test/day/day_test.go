package day

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

func TestTheCurveReachesEveryPeakAndDependsOnTheSeedAlone(t *testing.T) {
	list := workloads()
	changes := curve(list, 7)
	assert.Equal(t, changes, curve(list, 7))
	assert.NotEqual(t, changes, curve(list, 8))
	most, cores := make([]int, len(list)), make([]int64, len(list))
	var highest int64
	for i, c := range changes {
		if i > 0 {
			assert.GreaterOrEqual(t, c.at, changes[i-1].at)
		}
		w := list[c.workload]
		assert.GreaterOrEqual(t, c.replicas, w.least)
		assert.LessOrEqual(t, c.replicas, w.most)
		most[c.workload] = max(most[c.workload], c.replicas)
		cores[c.workload] = int64(c.replicas) * w.milliCPU
		var sum int64
		for _, milliCPU := range cores {
			sum += milliCPU
		}
		highest = max(highest, sum)
	}
	for i, w := range list {
		assert.GreaterOrEqual(t, most[i], w.most-2, w.name)
	}
	local := resource.MustParse(localCPU)
	assert.Greater(t, highest, localNodes*local.MilliValue(), "the local nodes must not be enough for the peak")
}

// story tells a meter about the Pods of one workload, second by second.
type story struct {
	t *testing.T
	*meter
	now  time.Time
	pods map[string]*corev1.Pod
}

func newStory(t *testing.T, replicas int) *story {
	t.Helper()
	rules, err := policy.New(policy.Config{})
	require.NoError(t, err)
	s := &story{t: t, meter: newMeter(rules, 10*time.Second), now: time.Unix(0, 0), pods: map[string]*corev1.Pod{}}
	s.scaled("web", replicas)
	s.budget(s.now.Add(-lag), &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Status:     policyv1.PodDisruptionBudgetStatus{DesiredHealthy: int32(replicas - maxUnavailable)},
	})
	return s
}

func (s *story) ready(name, node string) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, UID: types.UID(name), Labels: map[string]string{appLabel: "web"},
			Annotations: map[string]string{},
		},
		Spec: workload{name: "web", milliCPU: 500}.template().Spec,
	}
	pod.Spec.NodeName = node
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	s.pods[name] = pod
	s.see(name)
}

func (s *story) see(name string) { s.pod(s.now, s.pods[name].DeepCopy(), false) }

func (s *story) wait(seconds int) { s.now = s.now.Add(time.Duration(seconds) * time.Second) }

func (s *story) annotate(name string, moving bool) {
	delete(s.pods[name].Annotations, movingHome)
	if moving {
		s.pods[name].Annotations[movingHome] = "{}"
	}
	s.see(name)
}

func (s *story) evict(name string) {
	pod := s.pods[name]
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "EvictionByEvictionAPI",
	})
	s.see(name)
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &metav1.Time{Time: s.now}, new(int64(grace))
	s.see(name)
	s.pod(s.now, pod, true)
}

const cloudNode = "virtual-node-cci-0"

func TestTheCloudIsBilledFromTheBindingToTheEnd(t *testing.T) {
	s := newStory(t, 2)
	s.ready("a", cloudNode)
	s.ready("b", "local-0")
	s.wait(8)
	s.evict("a")
	s.wait(8)
	s.ready("c", cloudNode)
	s.wait(2)
	f := s.result(s.now)
	assert.InDelta(t, 5, f.CloudSeconds, 1e-9, "8 s and 2 s of half a CPU")
	assert.Equal(t, 2, f.CloudPods)
}

func TestASurgingMoveKeepsEveryReplica(t *testing.T) {
	s := newStory(t, 2)
	s.ready("a", "local-0")
	s.ready("b", cloudNode)
	s.annotate("b", true)
	s.ready("c", "local-0")
	s.evict("b")
	f := s.result(s.now)
	assert.Equal(t, map[string]int{"web": 1}, f.Moved)
	assert.Equal(t, 1, f.AfterEviction)
	assert.Equal(t, 1, f.Settled)
	assert.Zero(t, f.Early+f.Undone)
}

func TestTooManyEvictionsAreSeen(t *testing.T) {
	s := newStory(t, 3)
	for _, name := range []string{"a", "b", "c"} {
		s.ready(name, cloudNode)
	}
	s.evict("a")
	assert.Zero(t, s.result(s.now).AfterEviction)
	s.wait(9)
	s.evict("b")
	f := s.result(s.now)
	assert.Equal(t, -1, f.AfterEviction)
	assert.Equal(t, -1, f.Settled)
	assert.Equal(t, 1, f.Early, "the pause is 10 s")
}

func TestAMoveThatIsUndoneIsCounted(t *testing.T) {
	s := newStory(t, 1)
	s.ready("a", cloudNode)
	s.annotate("a", true)
	s.annotate("a", false)
	s.wait(11)
	s.annotate("a", true)
	f := s.result(s.now)
	assert.Equal(t, 1, f.Undone)
	assert.Empty(t, f.Moved)
	assert.Zero(t, f.Early)
}

func TestAScaleOutIsNoLackOfAvailability(t *testing.T) {
	s := newStory(t, 1)
	s.ready("a", "local-0")
	s.scaled("web", 5)
	s.ready("b", "local-0")
	assert.Equal(t, 1, s.result(s.now).Settled)
}

func TestRequestsFailAsTheyWouldOnRealNodes(t *testing.T) {
	s := newStory(t, 2)
	s.ready("a", "local-0")
	s.ready("b", "local-0")
	failures := func(pod types.UID) int {
		before := len(s.result(s.now).Failed)
		s.request(s.now, pod)
		return len(s.result(s.now).Failed) - before
	}
	assert.Zero(t, failures("a"))
	s.evict("a")
	s.wait(4)
	assert.Zero(t, failures("a"), "it serves for its grace period")
	s.wait(2)
	assert.Equal(t, 1, failures("a"))
	s.pods["b"].Status.Conditions = nil
	s.see("b")
	s.wait(1)
	assert.Zero(t, failures("b"), "EndpointSlices follow")
	s.wait(1)
	assert.Equal(t, 1, failures("b"))
	assert.Equal(t, 1, failures(""))
	assert.Equal(t, 6, s.result(s.now).Requests)
}

func TestTheTableSaysWhatWasSaved(t *testing.T) {
	r := Result{Length: 4 * time.Minute, Seed: 3}
	r.Without = Figures{CloudSeconds: 200, AfterEviction: unknownMargin, Settled: 1}
	r.With = Figures{
		CloudSeconds: 50, Moved: map[string]int{"shop": 3, "cart": 1}, Failed: map[string]int{noEndpoint: 2},
	}
	table := r.Table()
	assert.Contains(t, table, "| CPU hours in the cloud | 20.0 | 5.0 |")
	assert.Contains(t, table, "| Pods moved home | 0 | 4 (cart 1, shop 3) |")
	assert.Contains(t, table, "| requests that failed | 0 | 2: no Ready endpoint |")
	assert.Contains(t, table, "billed 25 % of the CPU hours")
}
