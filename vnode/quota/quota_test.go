package quota

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// list returns resources from pairs of a name and a quantity.
func list(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func text(l corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, quantity := range l {
		out[string(name)] = quantity.String()
	}
	return out
}

func TestTheCapacityIsWithinTheQuotas(t *testing.T) {
	for name, test := range map[string]struct {
		hard, used, own       corev1.ResourceList
		capacity, allocatable corev1.ResourceList
	}{
		"no quota": {nil, nil, nil, list("cpu", "100", "memory", "400Gi", "pods", "50"),
			list("cpu", "100", "memory", "400Gi", "pods", "50")},
		"a larger quota": {list("cpu", "500", "pods", "100"), list("cpu", "0", "pods", "0"), nil,
			list("cpu", "100", "memory", "400Gi", "pods", "50"), list("cpu", "100", "memory", "400Gi", "pods", "50")},
		"a smaller quota that only this node uses": {list("limits.cpu", "40", "pods", "20"),
			list("limits.cpu", "10", "pods", "5"), list("cpu", "10", "pods", "5"),
			list("cpu", "40", "memory", "400Gi", "pods", "20"), list("cpu", "40", "memory", "400Gi", "pods", "20")},
		"a quota that others use": {list("requests.memory", "100Gi"), list("requests.memory", "70Gi"), list("memory", "30Gi"),
			list("cpu", "100", "memory", "100Gi", "pods", "50"), list("cpu", "100", "memory", "60Gi", "pods", "50")},
		"a quota that others use up": {list("pods", "10"), list("pods", "12"), nil,
			list("cpu", "100", "memory", "400Gi", "pods", "10"), list("cpu", "100", "memory", "400Gi", "pods", "0")},
		"a figure that is older than the Pods of the node": {list("pods", "10"), list("pods", "3"), list("pods", "5"),
			list("cpu", "100", "memory", "400Gi", "pods", "10"), list("cpu", "100", "memory", "400Gi", "pods", "10")},
	} {
		t.Run(name, func(t *testing.T) {
			configured := list("cpu", "100", "memory", "400Gi", "pods", "50")
			capacity, allocatable := within(configured, []corev1.ResourceQuota{{
				Status: corev1.ResourceQuotaStatus{Hard: test.hard, Used: test.used},
			}}, test.own)
			assert.Equal(t, text(test.capacity), text(capacity))
			assert.Equal(t, text(test.allocatable), text(allocatable))
			assert.Equal(t, "100", configured.Cpu().String(), "the configuration is not changed")
		})
	}
}

func TestEndedPodsUseNothing(t *testing.T) {
	pod := func(phase corev1.PodPhase) *cci.Pod {
		return &cci.Pod{
			ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{policy.CloudSizeAnnotation: "2.00_4.0"}},
			Status:     corev1.PodStatus{Phase: phase},
		}
	}
	assert.Equal(t, map[string]string{"pods": "2", "cpu": "4", "memory": "8Gi"}, text(use(map[identity.Key]*cci.Pod{
		{Name: "a"}: pod(corev1.PodRunning), {Name: "b"}: pod(corev1.PodPending), {Name: "c"}: pod(corev1.PodSucceeded),
	})))
}

// fakeAPI answers with quotas or an error.
type fakeAPI struct {
	quotas []corev1.ResourceQuota
	err    error
}

func (f *fakeAPI) NamespaceQuotas(context.Context, string) ([]corev1.ResourceQuota, error) {
	return f.quotas, f.err
}

func TestAQuotaThatCannotBeReadChangesNothingAndIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	api, set := &fakeAPI{err: &cci.Error{Kind: cci.NotOffered, Status: 404, Message: "no such API"}}, 0
	reads := make(chan struct{})
	follower, err := New(Config{
		API: readsOf{api, reads}, Namespace: "ns", Node: "virtual-node-cci-0", Configured: list("cpu", "100"),
		CloudPods: func() map[identity.Key]*cci.Pod { return nil },
		Set:       func(_, _ corev1.ResourceList) { set++ },
		Interval:  time.Millisecond, Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- follower.Run(ctx) }()
	for range 3 {
		<-reads
	}
	cancel()
	require.NoError(t, <-ended)
	assert.Zero(t, set)
	assert.Equal(t, 1, strings.Count(log.String(), "no such API"))
}

// readsOf tells a test of each read.
type readsOf struct {
	API
	reads chan<- struct{}
}

func (r readsOf) NamespaceQuotas(ctx context.Context, namespace string) ([]corev1.ResourceQuota, error) {
	select {
	case r.reads <- struct{}{}:
	case <-ctx.Done():
	}
	return r.API.NamespaceQuotas(ctx, namespace)
}

func TestAFollowerNeedsAllFields(t *testing.T) {
	_, err := New(Config{})
	assert.ErrorContains(t, err, "a required field is missing")
}
