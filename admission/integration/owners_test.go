package integration

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/owners"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
)

// noPods is an empty cache.
type noPods struct{}

func (noPods) Get(cache.ObjectName) *corev1.Pod { return nil }

func newSource(t *testing.T, client metadata.Interface) *owners.Source {
	t.Helper()
	source, err := owners.New(owners.Config{
		Client: client, Pods: noPods{}, Timeout: programtest.Timeout, Now: time.Now,
		Logger: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return source
}

// A Source with empty caches stands for one that has not yet seen owners that were created milliseconds ago.
func TestOwnersAreFoundWithEmptyAndFilledCaches(t *testing.T) {
	ns := namespace(t, map[string]string{"team": "shop"})
	apply(t, ns, manifest("apps/v1", "Deployment", "auto", selectorAnd(template(""))))
	pod := pods(t, ns, 1)[0]
	client, err := metadata.NewForConfig(trial.RESTConfig())
	require.NoError(t, err)
	watching := newSource(t, client)
	runPart(t, watching.Run)
	eventually(t, func() error { return ready(watching.Ready()) })

	for name, source := range map[string]*owners.Source{
		"empty caches": newSource(t, client), "filled caches": watching,
	} {
		t.Run(name, func(t *testing.T) {
			workload, err := source.Workload(t.Context(), &pod)
			require.NoError(t, err)
			assert.Equal(t, "auto", workload.Labels[policy.BurstLabel])

			labels, _, err := source.Namespace(t.Context(), ns)
			require.NoError(t, err)
			assert.Equal(t, "shop", labels["team"])

			another := pod.DeepCopy()
			another.OwnerReferences[0].UID = "of-an-earlier-object-with-the-same-name"
			workload, err = source.Workload(t.Context(), another)
			require.NoError(t, err)
			assert.Nil(t, workload.Labels)

			gone := pod.DeepCopy()
			gone.OwnerReferences[0].Name = "gone"
			workload, err = source.Workload(t.Context(), gone)
			require.NoError(t, err)
			assert.Nil(t, workload.Labels)

			_, _, err = source.Namespace(t.Context(), "no-such-namespace")
			require.ErrorContains(t, err, "looking up namespace no-such-namespace")
		})
	}
}

// Only the caches count, and the label of the Pod overrides that of its owner, valid or malformed.
func TestTheMalformedLabelOfAnOwnerIsInherited(t *testing.T) {
	ns, right := namespace(t, nil), namespace(t, nil)
	apply(t, ns, deployment("enfroce", ""))
	apply(t, right, deployment("auto", ""))
	pod, fine := pods(t, ns, 1)[0], pods(t, right, 1)[0]
	client, err := metadata.NewForConfig(trial.RESTConfig())
	require.NoError(t, err)
	source := newSource(t, client)
	assert.False(t, source.InheritsMalformed(&pod), "the caches are empty")
	runPart(t, source.Run)
	eventually(t, func() error { return ready(source.Ready()) })

	assert.True(t, source.InheritsMalformed(&pod))
	assert.False(t, source.InheritsMalformed(&fine))
	own := pod.DeepCopy()
	own.Labels = map[string]string{policy.BurstLabel: "auto"}
	assert.False(t, source.InheritsMalformed(own))
	own.OwnerReferences = nil
	own.Labels = nil
	assert.False(t, source.InheritsMalformed(own))
}

func TestALookUpOfOwnersThatFormACycleEnds(t *testing.T) {
	ns := namespace(t, nil)
	apply(t, ns, manifest("batch/v1", "Job", "", "suspend: true, "+jobTemplate))
	jobs := trial.Client().BatchV1().Jobs(ns)
	job, err := jobs.Get(t.Context(), "x", metav1.GetOptions{})
	require.NoError(t, err)
	itself := fmt.Appendf(nil, `{"metadata":{"ownerReferences":[`+
		`{"apiVersion":"batch/v1","kind":"Job","name":"x","uid":%q,"controller":true}]}}`, job.UID)
	job, err = jobs.Patch(t.Context(), "x", types.MergePatchType, itself, metav1.PatchOptions{})
	require.NoError(t, err)
	client, err := metadata.NewForConfig(trial.RESTConfig())
	require.NoError(t, err)
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: ns, OwnerReferences: job.OwnerReferences}}

	workload, err := newSource(t, client).Workload(t.Context(), pod)

	require.NoError(t, err)
	assert.Nil(t, workload.Labels)
}
