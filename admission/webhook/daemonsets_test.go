package webhook

import (
	"encoding/json"
	"log/slog"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	evanphx "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func ofDaemonSet(r *admissionv1.AdmissionRequest) {
	r.Kind = metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "DaemonSet"}
	r.Resource = metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
}

// daemonSet returns a DaemonSet with the given fields in its Pod template.
func daemonSet(spec string) string {
	return `{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"agent"},"spec":{"selector":null,` +
		`"template":{"metadata":{},"spec":{` + spec + `}},"updateStrategy":{}},"status":{}}`
}

const (
	everything = `"tolerations":[{"operator":"Exists"}],"containers":[{"name":"c","resources":{}}]`
	localOnly  = `"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":` +
		`[{"matchExpressions":[{"key":"type","operator":"NotIn","values":["virtual-kubelet"]}]}]}}}`
)

func TestDaemonSetsStayOffVirtualNodes(t *testing.T) {
	const kept = localOnly + "," + everything
	other := `"tolerations":[{"key":"dedicated","operator":"Exists"}],"containers":[{"name":"c","resources":{}}]`
	for name, test := range map[string]struct {
		spec, old string
		burst     bool
		want      string
	}{
		"it tolerates everything":                         {everything, "", false, kept},
		"it has the affinity already":                     {kept, "", false, kept},
		"it tolerates another taint":                      {other, "", false, other},
		"an update changes the template":                  {everything, other, false, kept},
		"an update of something else restarts no Pods":    {everything, everything, false, everything},
		"an update removes the affinity":                  {everything, kept, false, kept},
		"the cluster lets DaemonSets burst":               {everything, "", true, everything},
		"an update changes the template to another taint": {other, everything, false, other},
	} {
		t.Run(name, func(t *testing.T) {
			h, err := New(Config{
				Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: nothing, Guard: guard,
				DaemonSetsBurst: test.burst,
			}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
			require.NoError(t, err)
			old := ""
			if test.old != "" {
				old = daemonSet(test.old)
			}
			response := askDaemonSet(t, h, daemonSet(test.spec), old)
			out := []byte(daemonSet(test.spec))
			if response.Patch != nil {
				patch, err := evanphx.DecodePatch(response.Patch)
				require.NoError(t, err)
				out, err = patch.Apply(out)
				require.NoError(t, err)
			}
			assert.JSONEq(t, daemonSet(test.want), string(out))
			assert.Nil(t, askDaemonSet(t, h, string(out), old).Patch, "a second review changes nothing")
		})
	}
}

func askDaemonSet(t *testing.T, h http.Handler, object, old string) *admissionv1.AdmissionResponse {
	t.Helper()
	recorder := post(h, DaemonSetPath, workloadReview(t, object, old, ofDaemonSet))
	require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
	var review admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
	assert.True(t, review.Response.Allowed, "no DaemonSet is ever rejected here")
	assert.Empty(t, review.Response.Warnings)
	return review.Response
}

func TestMalformedReviewsOfDaemonSetsGetStatus400AndAMessage(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admissionv1.AdmissionRequest)
		want   string
	}{
		"another resource": {func(r *admissionv1.AdmissionRequest) {
			r.Resource.Resource = "deployments"
		}, "must be CREATE or UPDATE of daemonsets"},
		"a subresource": {func(r *admissionv1.AdmissionRequest) {
			r.SubResource = "status"
		}, "must be CREATE or UPDATE of daemonsets"},
		"a deletion": {func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Delete
		}, "must be CREATE or UPDATE of daemonsets"},
		"an object that is a list": {func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte("[]")
		}, "decoding request.object as a DaemonSet"},
		"an update of nothing": {func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Update
		}, "decoding request.oldObject as a DaemonSet"},
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := handlerFor(t, world{}.evaluator(t))
			recorder := post(h, DaemonSetPath, workloadReview(t, daemonSet(everything), "", ofDaemonSet, test.change))
			assert.Equal(t, http.StatusBadRequest, recorder.Code)
			assert.Contains(t, recorder.Body.String(), test.want)
		})
	}
}

func TestADaemonSetStaysUnchangedIfThePatchDoesNotApply(t *testing.T) {
	h, registry := handlerFor(t, world{}.evaluator(t))
	raw := `{"kind":"DaemonSet","spec":{"template":{"spec":{"tolerations":[{"operator":"Exists"}],` +
		`"affinity":null,"Affinity":{"nodeAffinity":{}}}}}}`
	recorder := post(h, DaemonSetPath, workloadReview(t, raw, "", ofDaemonSet))
	require.Equal(t, http.StatusOK, recorder.Code)
	var review admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
	assert.True(t, review.Response.Allowed)
	assert.Nil(t, review.Response.Patch)
	require.Len(t, review.Response.Warnings, 1)
	assert.Contains(t, review.Response.Warnings[0], "spillway left the DaemonSet unchanged")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}
