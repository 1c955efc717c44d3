package wayhome

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/policy"
)

// classes says of which class a node is, by its name.
type classes struct{}

func (classes) IsLocal(node string) bool   { return strings.HasPrefix(node, "local-") }
func (classes) IsVirtual(node string) bool { return strings.HasPrefix(node, "virtual-") }

// evictedFirst returns a Controller that has evicted the Pod web of a StatefulSet whose other Pod is "other", so long
// ago, and caches with these Pods.
func evictedFirst(t *testing.T, elapsed time.Duration, pods ...*corev1.Pod) (*Controller, *caches) {
	t.Helper()
	c, err := New(DefaultConfig(), Deps{
		Nodes: classes{}, Recorder: record.NewFakeRecorder(10), Now: func() time.Time { return began.Add(elapsed) },
		Logger: slog.New(slog.DiscardHandler),
	}, prometheus.NewRegistry())
	require.NoError(t, err)
	c.history = newHistory(c.config)
	c.replacing = map[types.UID]replacement{"rs": {
		pod: replica("web", -time.Hour, "virtual-0", true), start: began,
		others: map[types.UID]bool{"web": true, "other": true},
	}}
	store := cache.NewIndexer(cache.MetaNamespaceKeyFunc,
		cache.Indexers{byController: indexController, byMove: indexMove})
	for _, pod := range pods {
		require.NoError(t, store.Add(pod))
	}
	return c, &caches{pods: store}
}

func TestAnEvictedPodHoldsAPlaceUntilItsSuccessorIsReadyOrDoesNotCome(t *testing.T) {
	web, other := replica("web", -time.Hour, "virtual-0", true), replica("other", -time.Hour, "local-0", true)
	again := func(node string, ready bool) *corev1.Pod {
		pod := replica("web", time.Second, node, ready)
		pod.UID = "successor"
		return pod
	}
	for name, test := range map[string]struct {
		elapsed time.Duration
		pods    []*corev1.Pod
		over    bool
		event   string
	}{
		"it terminates": {elapsed: 9 * time.Minute, pods: []*corev1.Pod{web, other}},
		"it terminates for too long": {
			elapsed: 11 * time.Minute, pods: []*corev1.Pod{web, other}, over: true, event: becauseSlow,
		},
		"no successor yet": {elapsed: 59 * time.Second, pods: []*corev1.Pod{other}},
		"scaled in": {
			elapsed: 61 * time.Second, pods: []*corev1.Pod{other}, over: true, event: becauseMissing,
		},
		"its workload was deleted":   {elapsed: time.Second, over: true},
		"the successor has no node":  {elapsed: 9 * time.Minute, pods: []*corev1.Pod{other, again("", false)}},
		"the successor is not Ready": {elapsed: 9 * time.Minute, pods: []*corev1.Pod{other, again("local-1", false)}},
		"the successor is never Ready": {
			elapsed: 11 * time.Minute, pods: []*corev1.Pod{other, again("local-1", false)}, over: true, event: becauseSlow,
		},
		"the successor is in the cloud": {
			elapsed: time.Second, pods: []*corev1.Pod{other, again("virtual-0", false)}, over: true, event: becauseCloud,
		},
		"the successor is Ready": {
			elapsed: time.Second, pods: []*corev1.Pod{other, again("local-1", true)}, over: true, event: becauseHome,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c, caches := evictedFirst(t, test.elapsed, test.pods...)
			c.followReplacements(caches)
			assert.Equal(t, test.over, len(c.replacing) == 0, "the place of the move is free")
			events := c.Recorder.(*record.FakeRecorder).Events
			if test.event == "" {
				assert.Empty(t, events)
				return
			}
			reason := policy.ReasonStaysInCloud
			if test.event == becauseHome {
				reason = policy.ReasonMovedHome
			}
			require.NotEmpty(t, events)
			event := <-events
			assert.Contains(t, event, string(reason))
			assert.Contains(t, event, test.event)
		})
	}
}
