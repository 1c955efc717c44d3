package placement_test

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	kubetesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/extender/placement"
)

func TestASlotIsWrittenToItsPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "uid-a"}}
	client := fake.NewClientset(pod)
	notWritten, err := placement.PodSlots{Client: client}.Write(t.Context(), pod, "spillway.io/local-slot", "uid-a")
	require.NoError(t, err)
	assert.False(t, notWritten)
	patch := client.Actions()[0].(kubetesting.PatchAction)
	want := `{"metadata": {"uid": "uid-a", "annotations": {"spillway.io/local-slot": "uid-a"}}}`
	assert.JSONEq(t, want, string(patch.GetPatch()))
}

func TestOnlyARefusalProvesThatASlotIsNotWritten(t *testing.T) {
	pods, kind := corev1.Resource("pods"), corev1.SchemeGroupVersion.WithKind("Pod").GroupKind()
	for name, tc := range map[string]struct {
		err            error
		wantNotWritten bool
	}{
		"the Pod is deleted":             {apierrors.NewNotFound(pods, "a"), true},
		"the Pod was replaced":           {apierrors.NewConflict(pods, "a", errors.New("uid")), true},
		"the patch is forbidden":         {apierrors.NewForbidden(pods, "a", errors.New("no")), true},
		"the patch is invalid":           {apierrors.NewInvalid(kind, "a", nil), true},
		"the API server timed out":       {apierrors.NewServerTimeout(pods, "patch", 1), false},
		"the API server failed":          {apierrors.NewInternalError(errors.New("etcd")), false},
		"the connection was interrupted": {errors.New("EOF"), false},
	} {
		t.Run(name, func(t *testing.T) {
			client := &fake.Clientset{}
			client.AddReactor("patch", "pods", func(kubetesting.Action) (bool, runtime.Object, error) {
				return true, nil, tc.err
			})
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "uid-a"}}
			notWritten, err := placement.PodSlots{Client: client}.Write(t.Context(), pod, "spillway.io/local-slot", "uid-a")
			require.ErrorIs(t, err, tc.err)
			require.ErrorContains(t, err, "writing the slot of pod default/a")
			assert.Equal(t, tc.wantNotWritten, notWritten)
		})
	}
}
