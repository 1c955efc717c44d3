package webhook

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

func namespaceReview(t *testing.T, kind, limits string) []byte {
	t.Helper()
	return encode(t, &admissionv1.AdmissionRequest{
		UID: "c1", Operation: admissionv1.Update, Name: "shop",
		Kind:     metav1.GroupVersionKind{Version: "v1", Kind: kind},
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "namespaces"},
		Object: runtime.RawExtension{Raw: fmt.Appendf(nil,
			`{"metadata":{"name":"shop","annotations":{"spillway.io/cloud-limits":%q}}}`, limits)},
	})
}

func TestANamespaceWithMalformedLimitsIsRejected(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	for limits, want := range map[string]string{
		"pods=50,cpu=200,memory=400Gi": "",
		"":                             "",
		"pods=many": `Namespace "shop" is invalid: metadata.annotations[spillway.io/cloud-limits]: Invalid value: ` +
			`"pods=many": must be a list such as "pods=50,cpu=200,memory=400Gi", each of pods, cpu and memory once at most`,
		strings.Repeat("x", 250000): "must be a list such as",
	} {
		recorder := post(h, NamespacePath, namespaceReview(t, "Namespace", limits))
		require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
		var review admissionv1.AdmissionReview
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
		assert.Equal(t, want == "", review.Response.Allowed, "%.40s", limits)
		if want != "" {
			assert.Contains(t, review.Response.Result.Message, want)
			assert.Less(t, len(review.Response.Result.Message), 1000)
		}
	}
}

func TestAReviewOfSomethingElseThanANamespaceIsMalformed(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	recorder := post(h, NamespacePath, namespaceReview(t, "Pod", "pods=1"))
	assert.Equal(t, http.StatusBadRequest, recorder.Code)
	assert.Contains(t, recorder.Body.String(), "must be CREATE or UPDATE of a Namespace")
}
