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
	"k8s.io/client-go/tools/cache"
)

// nothing lists the Pods in an empty cloud.
func nothing() []cache.ObjectName { return nil }

// deletionReview returns the request body of a review of the deletion of the guard.
func deletionReview(t *testing.T, guard string, change ...func(*admissionv1.AdmissionRequest)) []byte {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "c1", Operation: admissionv1.Delete, Namespace: "system", Name: "guard",
		Kind:      metav1.GroupVersionKind{Version: "v1", Kind: "ConfigMap"},
		Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "configmaps"},
		OldObject: runtime.RawExtension{Raw: []byte(guard)},
	}
	for _, f := range change {
		f(request)
	}
	return encode(t, request)
}

const (
	guarded = `{"metadata":{"labels":{"spillway.io/uninstall":"guarded"}},` +
		`"data":{"notice":"A Job cleans up.\n\nIf it fails: vnode gc\n"}}`
	forced = `{"metadata":{"labels":{"spillway.io/uninstall":"forced"}}}`
)

func TestUninstallationIsRejectedWhilePodsRunInTheCloud(t *testing.T) {
	web := cache.NewObjectName("shop", "web-1")
	const advice = " Drain the virtual nodes first, or let the uninstallation delete these Pods: " +
		"kubectl --namespace system label --overwrite configmap guard spillway.io/uninstall=forced"
	for name, test := range map[string]struct {
		guard    string
		running  []cache.ObjectName
		message  string
		warnings []string
	}{
		"one Pod": {guarded, []cache.ObjectName{web}, "1 Pods run in the cloud (shop/web-1)." + advice, nil},
		"many Pods, of which the message names some": {
			guarded, []cache.ObjectName{web, web, web, web},
			"4 Pods run in the cloud (shop/web-1, shop/web-1, shop/web-1, …)." + advice, nil,
		},
		"an unknown value of the label": {
			`{"metadata":{"labels":{"spillway.io/uninstall":"yes"}}}`, []cache.ObjectName{web},
			"1 Pods run in the cloud (shop/web-1)." + advice, nil,
		},
		"allowed if it is forced": {forced, []cache.ObjectName{web}, "", nil},
		"allowed with the notice if no Pods run": {
			guarded, nil, "", []string{"A Job cleans up.", "If it fails: vnode gc"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewRegistry()
			h, err := New(Config{
				Evaluator: world{}.evaluator(t), Validator: validatorOf(t),
				InCloud: func() []cache.ObjectName { return test.running },
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
