package translate_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// A ResourceQuota of requests does not bound the bill: a limit counts where it is set.
func TestTheLimitOfEphemeralStorageIsBilled(t *testing.T) {
	translator, err := translate.New(translate.Config{Owner: identity.Owner{ClusterID: "c", Node: "n"}})
	require.NoError(t, err)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "b", UID: "c"},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("1Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceEphemeralStorage: resource.MustParse("130Gi")},
		}}}},
	}
	result, err := translator.Pod(pod, translate.Cluster{})
	require.NoError(t, err)
	assert.EqualValues(t, 100, result.Pod.Spec.ExtraEphemeralStorage.SizeInGiB)
}
