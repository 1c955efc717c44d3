package webhook

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/spillway-k8s/spillway/policy"
)

// namespaceReview returns a review of an update that sets annotations.
func namespaceReview(t *testing.T, kind string, annotations, old map[string]string) []byte {
	t.Helper()
	namespace := func(annotations map[string]string) runtime.RawExtension {
		raw, err := json.Marshal(corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: annotations},
		})
		require.NoError(t, err)
		return runtime.RawExtension{Raw: raw}
	}
	return encode(t, &admissionv1.AdmissionRequest{
		UID: "c1", Operation: admissionv1.Update, Name: "shop",
		Kind:     metav1.GroupVersionKind{Version: "v1", Kind: kind},
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"},
		Object:   namespace(annotations), OldObject: namespace(old),
	})
}

func TestANamespaceWithMalformedSettingsIsRejected(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	limits := func(text string) map[string]string { return map[string]string{policy.CloudLimitsAnnotation: text} }
	for name, test := range map[string]struct {
		annotations, old map[string]string
		want, warning    string
	}{
		"limits":       {annotations: limits("pods=50,cpu=200,memory=400Gi")},
		"empty limits": {annotations: limits("")},
		"malformed limits": {annotations: limits("pods=many"), want: `Namespace "shop" is invalid: ` +
			`metadata.annotations[spillway.io/cloud-limits]: Invalid value: "pods=many": must be a list such as ` +
			`"pods=50,cpu=200,memory=400Gi", each of pods, cpu and memory once at most`},
		"long limits": {annotations: limits(strings.Repeat("x", 250000)), want: "must be a list such as"},
		"settings": {annotations: map[string]string{
			policy.AllowOversizeAnnotation: "true", policy.AllowCloudAnnotationsAnnotation: "yangtse.io/pod-with-eip",
		}},
		"a malformed switch of sizes": {annotations: map[string]string{policy.AllowOversizeAnnotation: "yes"},
			want: `metadata.annotations[spillway.io/allow-oversize]: Invalid value: "yes": must be "true" or "false"`},
		"shares": {annotations: map[string]string{
			policy.LocalReplicasAnnotation: "30%", policy.LocalMinAnnotation: "2", policy.BurstAfterAnnotation: "90s",
			policy.WayHomeAnnotation: "true",
		}},
		"shares that contradict each other": {
			annotations: map[string]string{policy.LocalMinAnnotation: "5", policy.LocalMaxAnnotation: "3"},
			want: `metadata.annotations[spillway.io/local-min]: Invalid value: "5": must be at most ` +
				`spillway.io/local-max, which is "3"`,
		},
		"a malformed time to wait": {annotations: map[string]string{policy.BurstAfterAnnotation: "soon"},
			want: `metadata.annotations[spillway.io/burst-after]: Invalid value: "soon": must be a duration`},
		"a malformed list of annotations": {
			annotations: map[string]string{policy.AllowCloudAnnotationsAnnotation: "yangtse.io/pod-with-eip,,"},
			want: `metadata.annotations[spillway.io/allow-cloud-annotations]: Invalid value: "": ` +
				`must be the key`,
		},
		"malformed settings that were there before": {
			annotations: map[string]string{
				policy.AllowOversizeAnnotation: "yes", policy.CloudLimitsAnnotation: "pods=1",
			},
			old:     map[string]string{policy.AllowOversizeAnnotation: "yes"},
			warning: "this error existed before the update",
		},
		"a mistyped key": {
			annotations: map[string]string{"spillway.io/cloud-limit": "pods=50"},
			warning: "metadata.annotations[spillway.io/cloud-limit]: has no effect, because Spillway has no such " +
				"key: the most similar one is spillway.io/cloud-limits",
		},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := post(h, NamespacePath, namespaceReview(t, "Namespace", test.annotations, test.old))
			require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
			var review admissionv1.AdmissionReview
			require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
			assert.Equal(t, test.want == "", review.Response.Allowed)
			assert.Equal(t, test.warning != "", len(review.Response.Warnings) == 1, review.Response.Warnings)
			for _, warning := range review.Response.Warnings {
				assert.Contains(t, warning, test.warning)
			}
			if test.want != "" {
				assert.Contains(t, review.Response.Result.Message, test.want)
				assert.Less(t, len(review.Response.Result.Message), 1500)
			}
		})
	}
}

func TestAReviewOfSomethingElseThanANamespaceIsMalformed(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	recorder := post(h, NamespacePath, namespaceReview(t, "Pod", nil, nil))
	assert.Equal(t, http.StatusBadRequest, recorder.Code)
	assert.Contains(t, recorder.Body.String(), "must be CREATE or UPDATE of a Namespace")
}
