package webhook

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
)

// nothing counts the Pods in an empty cloud.
func nothing() int { return 0 }

var guard = types.NamespacedName{Namespace: "system", Name: "guard"}

// deletionReview returns the request body of a review of the deletion of the guard.
func deletionReview(t *testing.T, object string, change ...func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "c1", Operation: admissionv1.Delete, Namespace: "system", Name: "guard",
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
		Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		OldObject: runtime.RawExtension{Raw: []byte(object)},
	}
	for _, f := range change {
		f(request)
	}
	return encode(t, request)
}

const (
	guarded = `{"metadata":{"name":"guard","labels":{"spillway.io/uninstall":"guarded"}},` +
		`"data":{"notice":"A Job cleans up.\n\nIf it fails: vnode gc\n"}}`
	forced = `{"metadata":{"name":"guard","labels":{"spillway.io/uninstall":"forced"}}}`
)

func TestUninstallationIsRejectedWhilePodsRunInTheCloud(t *testing.T) {
	const message = "3 Pods run in the cloud. Drain the virtual nodes first, or let the uninstallation delete these " +
		"Pods: kubectl --namespace system label --overwrite configmap guard spillway.io/uninstall=forced"
	for name, test := range map[string]struct {
		guard    string
		running  int
		message  string
		warnings []string
	}{
		"rejected with the number of Pods": {guarded, 3, message, nil},
		"an unknown value of the label": {
			`{"metadata":{"name":"guard","labels":{"spillway.io/uninstall":"yes"}}}`, 3, message, nil,
		},
		"allowed if it is forced": {forced, 3, "", nil},
		"allowed with the notice if no Pods run": {
			guarded, 0, "", []string{"A Job cleans up.", "If it fails: vnode gc"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			h, err := New(Config{
				Evaluator: world{}.evaluator(t), Validator: validatorOf(t),
				InCloud: func() int { return test.running }, Guard: guard,
			}, registry, slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			recorder := post(h, UninstallPath, deletionReview(t, test.guard))
			require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
			var review admissionv1.AdmissionReview
			require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
			assert.Equal(t, test.message == "", review.Response.Allowed)
			assert.Equal(t, test.warnings, review.Response.Warnings)
			if test.message != "" {
				assert.Equal(t, test.message, review.Response.Result.Message)
				assert.InDelta(t, 1, metric(t, registry, outcomeRefused), 0)
			}
		})
	}
}

// Anyone can label a ConfigMap. Its deletion must neither be rejected nor say anything about the cloud.
func TestOtherConfigMapsAreNoGuard(t *testing.T) {
	h, err := New(Config{
		Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: func() int { return 3 }, Guard: guard,
	}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for name, change := range map[string]func(*admissionv1.AdmissionRequest){
		"in another namespace": func(r *admissionv1.AdmissionRequest) { r.Namespace = "shop" },
		"of another name": func(r *admissionv1.AdmissionRequest) {
			r.OldObject.Raw = []byte(`{"metadata":{"name":"mine","labels":{"spillway.io/uninstall":"guarded"}}}`)
		},
		"in a collection that is deleted": func(r *admissionv1.AdmissionRequest) { r.Namespace, r.Name = "shop", "" },
	} {
		t.Run(name, func(t *testing.T) {
			recorder := post(h, UninstallPath, deletionReview(t, guarded, change))
			require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
			var review admissionv1.AdmissionReview
			require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
			assert.Equal(t, &admissionv1.AdmissionResponse{UID: "c1", Allowed: true}, review.Response)
		})
	}
}

func TestMalformedReviewsOfTheGuardGetStatus400AndAMessage(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	for name, test := range map[string]struct {
		change func(*admissionv1.AdmissionRequest)
		want   string
	}{
		"a creation": {func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Create
		}, "CREATE of configmaps: must be DELETE of configmaps"},
		"another kind": {func(r *admissionv1.AdmissionRequest) {
			r.Resource.Resource = "secrets"
		}, "DELETE of secrets: must be DELETE of configmaps"},
		"no object": {func(r *admissionv1.AdmissionRequest) {
			r.OldObject.Raw = nil
		}, "request.oldObject: decoding a ConfigMap"},
		"another shape": {func(r *admissionv1.AdmissionRequest) {
			r.OldObject.Raw = []byte("[]")
		}, "request.oldObject: decoding a ConfigMap"},
	} {
		t.Run(name, func(t *testing.T) {
			recorder := post(h, UninstallPath, deletionReview(t, guarded, test.change))
			assert.Equal(t, http.StatusBadRequest, recorder.Code)
			assert.Contains(t, recorder.Body.String(), test.want)
		})
	}
}
