package owners

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/policy"
)

// buffer is a log that several goroutines write.
type buffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// A kind that cannot be read costs one message, and one request now and then. Pods are created all the same.
func TestOwnersThatCannotBeReadHaveNoLabels(t *testing.T) {
	var logs buffer
	client, _ := source(t, object("argoproj.io/v1alpha1", "Rollout", "web", "auto"))
	s := newSource(t, client, timeout, &logs)
	now := time.Now()
	s.further[further].now = func() time.Time { return now }
	forbidden := true
	client.PrependReactor("get", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		return forbidden, nil, apierrors.NewForbidden(further.GroupResource(), "web", errors.New("no right"))
	})
	label := func() string {
		t.Helper()
		workload, err := s.Workload(t.Context(), podOf(toRollout))
		require.NoError(t, err)
		return workload.Labels[policy.BurstLabel]
	}
	for range 100 {
		assert.Empty(t, label())
	}
	assert.Len(t, client.Actions(), 1, "the API server is not asked again at once")
	assert.Equal(t, 1, strings.Count(logs.String(), "have no effect"), logs.String())
	assert.Contains(t, logs.String(), "resource=rollouts.argoproj.io")
	assert.Contains(t, logs.String(), "admission.ownerKinds")

	forbidden = false
	assert.Empty(t, label())
	now = now.Add(denied)
	assert.Equal(t, "auto", label(), "it is asked again later")
	forbidden = true
	assert.Empty(t, label())
	assert.Equal(t, 2, strings.Count(logs.String(), "have no effect"), "the right was lost again")
}

func TestAFurtherKindThatCannotBeListedDelaysNothing(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"without the right": {
			apierrors.NewForbidden(further.GroupResource(), "", errors.New("no right")), "ServiceAccount",
		},
		"without the CustomResourceDefinition": {
			apierrors.NewNotFound(further.GroupResource(), ""), "install the CustomResourceDefinition",
		},
	} {
		t.Run(name, func(t *testing.T) {
			var logs buffer
			client, _ := source(t, object("apps/v1", "StatefulSet", "db", "auto"))
			client.PrependReactor("list", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, test.err
			})
			s := newSource(t, client, timeout, &logs)
			run(t, s) // It returns when the Source is ready.
			workload, err := s.Workload(t.Context(), podOf(toStatefulSet))
			require.NoError(t, err)
			assert.Equal(t, "auto", workload.Labels[policy.BurstLabel])
			logged := func() bool { return strings.Contains(logs.String(), test.want) }
			require.Eventually(t, logged, timeout, time.Millisecond)
		})
	}
}

func TestKindsOfKubernetesAreNoFurtherKinds(t *testing.T) {
	_, err := New(Config{
		Kinds: map[schema.GroupKind]schema.GroupVersionResource{
			{Group: "apps", Kind: "Deployment"}: {Group: "apps", Version: "v1", Resource: "deployments"},
		},
		Logger: slog.New(slog.DiscardHandler),
	})
	assert.ErrorContains(t, err, "kind Deployment.apps is known already")
}

func TestAnotherErrorThanAMissingRightFailsALookUp(t *testing.T) {
	client, s := source(t, object("argoproj.io/v1alpha1", "Rollout", "web", "auto"))
	client.PrependReactor("get", "rollouts", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("connection refused")
	})
	_, err := s.Workload(t.Context(), podOf(toRollout))
	require.ErrorContains(t, err, "connection refused")
	assert.Equal(t, metav1.StatusReasonUnknown, apierrors.ReasonForError(err))
}
