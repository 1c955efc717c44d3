package webhook

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/spillway-k8s/spillway/policy"
)

// workloadReview returns the request body of a review of a Deployment. old is its previous version, empty at creation.
func workloadReview(t testing.TB, object, old string, change ...func(*admissionv1.AdmissionRequest)) []byte {
	request := &admissionv1.AdmissionRequest{
		UID: "b1", Operation: admissionv1.Create, Namespace: "shop", Name: "web",
		Kind:     metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"},
		Resource: metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"},
		Object:   runtime.RawExtension{Raw: []byte(object)},
	}
	if old != "" {
		request.Operation, request.OldObject.Raw = admissionv1.Update, []byte(old)
	}
	for _, f := range change {
		f(request)
	}
	return encode(t, request)
}

const (
	malformedDeployment = `{"kind":"Deployment","metadata":{"name":"web",` +
		`"labels":{"virtual-kubelet.io/burst-to-cci":"on"}},` +
		`"spec":{"template":{"metadata":{"annotations":{"LOCAL_REPLICAS":"two"}}}}}`
	uselessDeployment = `{"kind":"Deployment","metadata":{"name":"web"},"spec":{"template":{"metadata":` +
		`{"labels":{"virtual-kubelet.io/burst-to-cci":"off"},"annotations":{"LOCAL_REPLICAS":"2"}}}}}`
)

func TestWorkloadsAreRejectedInTheFormOfTheAPIServer(t *testing.T) {
	h, registry := handlerFor(t, world{}.evaluator(t))
	recorder := post(h, ValidationPath, workloadReview(t, malformedDeployment, ""))
	require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
	var review admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
	response := review.Response
	assert.EqualValues(t, "b1", response.UID)
	assert.False(t, response.Allowed)
	assert.Equal(t, metav1.StatusReasonInvalid, response.Result.Reason)
	assert.EqualValues(t, http.StatusUnprocessableEntity, response.Result.Code)
	assert.Equal(t, &metav1.StatusDetails{Name: "web", Group: "apps", Kind: "Deployment", Causes: []metav1.StatusCause{
		{
			Type: metav1.CauseTypeFieldValueInvalid, Field: "metadata.labels[virtual-kubelet.io/burst-to-cci]",
			Message: `Invalid value: "on": must be one of enforce, localPrefer, auto, off`,
		},
		{
			Type: metav1.CauseTypeFieldValueInvalid, Field: "spec.template.metadata.annotations[LOCAL_REPLICAS]",
			Message: `Invalid value: "two": ` + policy.AmountRight,
		},
	}}, response.Result.Details)
	assert.InDelta(t, 1, metric(t, registry, outcomeRefused), 0)
}

func TestWorkloadsAreAllowed(t *testing.T) {
	for name, test := range map[string]struct {
		object, old string
		warnings    []string
	}{
		"with a warning": {uselessDeployment, "", []string{
			"spec.template.metadata.annotations[LOCAL_REPLICAS]: has no effect together with the burst label off: " +
				"every replica stays on local nodes",
		}},
		"unchanged by the update": {malformedDeployment, malformedDeployment, nil},
		"without a key":           {`{"kind":"Deployment"}`, "", nil},
		"corrected by the update": {`{"kind":"Deployment"}`, malformedDeployment, nil},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry := handlerFor(t, world{}.evaluator(t))
			recorder := post(h, ValidationPath, workloadReview(t, test.object, test.old))
			require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
			var review admissionv1.AdmissionReview
			require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
			assert.True(t, review.Response.Allowed)
			assert.Nil(t, review.Response.Result)
			assert.Equal(t, test.warnings, review.Response.Warnings)
			assert.InDelta(t, 1, metric(t, registry, outcomeUntouched), 0)
		})
	}
}

func TestMalformedReviewsOfWorkloadsGetStatus400AndAMessage(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*admissionv1.AdmissionRequest)
		want   string
	}{
		"a deletion": {func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Delete
		}, "must be CREATE or UPDATE of a workload"},
		"a subresource": {func(r *admissionv1.AdmissionRequest) {
			r.SubResource = "scale"
		}, "must be CREATE or UPDATE of a workload"},
		"another kind": {func(r *admissionv1.AdmissionRequest) {
			r.Kind.Kind = "Node"
		}, `request.object: kind "Node": must be one of`},
		"no object": {func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = nil
		}, "request.object: decoding a Deployment"},
		"an update of nothing": {func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Update
		}, "request.oldObject: decoding a Deployment"},
		"an object that is a list": {func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte("[]")
		}, "request.object: decoding a Deployment"},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry := handlerFor(t, world{}.evaluator(t))
			recorder := post(h, ValidationPath, workloadReview(t, malformedDeployment, "", test.change))
			assert.Equal(t, http.StatusBadRequest, recorder.Code)
			assert.Contains(t, recorder.Body.String(), test.want)
			assert.InDelta(t, 1, metric(t, registry, outcomeMalformed), 0)
		})
	}
}
