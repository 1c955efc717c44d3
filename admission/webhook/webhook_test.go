package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/verdict"
)

const enforcedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","labels":{"virtual-kubelet.io/burst-to-cci":"enforce"}},` +
	`"spec":{"containers":[{"name":"c","image":"web","resources":{}}]}}`

func TestMalformedRequestsGet400WithWords(t *testing.T) {
	review := func(change func(*admissionv1.AdmissionReview)) string {
		var r admissionv1.AdmissionReview
		require.NoError(t, json.Unmarshal(reviewOf(t, []byte(enforcedPod)), &r))
		change(&r)
		body, err := json.Marshal(r)
		require.NoError(t, err)
		return string(body)
	}
	for name, test := range map[string]struct{ body, words string }{
		"no body":             {"", "decoding the body"},
		"junk":                {"\x00\xff", "decoding the body"},
		"an empty object":     {"{}", `apiVersion "", kind "": must be admission.k8s.io/v1, AdmissionReview`},
		"a list":              {"[]", "decoding the body"},
		"an old version":      {review(func(r *admissionv1.AdmissionReview) { r.APIVersion = "admission.k8s.io/v1beta1" }), "must be admission.k8s.io/v1"},
		"no request":          {review(func(r *admissionv1.AdmissionReview) { r.Request = nil }), "request.uid: must not be empty"},
		"no uid":              {review(func(r *admissionv1.AdmissionReview) { r.Request.UID = "" }), "request.uid: must not be empty"},
		"another resource":    {review(func(r *admissionv1.AdmissionReview) { r.Request.Resource.Resource = "nodes" }), "must be CREATE of pods in v1"},
		"a subresource":       {review(func(r *admissionv1.AdmissionReview) { r.Request.SubResource = "eviction" }), "must be CREATE of pods in v1"},
		"an update":           {review(func(r *admissionv1.AdmissionReview) { r.Request.Operation = admissionv1.Update }), "must be CREATE of pods in v1"},
		"no object":           {review(func(r *admissionv1.AdmissionReview) { r.Request.Object.Raw = nil }), "request.object: must be a Pod"},
		"an object of a kind": {review(func(r *admissionv1.AdmissionReview) { r.Request.Object.Raw = []byte(`{"kind":"Node"}`) }), "request.object: must be a Pod"},
		"a Pod that is none":  {review(func(r *admissionv1.AdmissionReview) { r.Request.Object.Raw = []byte(`{"kind":"Pod","spec":[]}`) }), "decoding request.object as a Pod"},
		"megabytes too much":  {`{"kind":"` + strings.Repeat("x", maxBody) + `"}`, "request body too large"},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry := handlerFor(t, world{}.judge(t))
			recorder := post(h, PodPath, []byte(test.body))
			assert.Equal(t, http.StatusBadRequest, recorder.Code)
			assert.Contains(t, recorder.Body.String(), test.words)
			assert.InDelta(t, 1, metric(t, registry, outcomeMalformed), 0)
		})
	}
}

func TestOtherMethodsAndPathsAreNotServed(t *testing.T) {
	h, _ := handlerFor(t, world{}.judge(t))
	for target, code := range map[string]int{"GET " + PodPath: http.StatusMethodNotAllowed, "POST /": http.StatusNotFound} {
		method, path, _ := strings.Cut(target, " ")
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest(method, path, bytes.NewReader(reviewOf(t, []byte(enforcedPod)))))
		assert.Equal(t, code, recorder.Code, target)
	}
}

func TestAPodWhoseOwnersCannotBeFoundIsLeftAsItIs(t *testing.T) {
	w := world{lookup: errors.New("the API server is away")}
	h, registry := handlerFor(t, w.judge(t))
	raw := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","annotations":{"LOCAL_REPLICAS":"1"}},"spec":{"containers":[{"name":"c"}]}}`)

	response, out := ask(t, h, raw)

	assert.Nil(t, response.Patch)
	assert.Equal(t, raw, out)
	require.Len(t, response.Warnings, 1)
	assert.Contains(t, response.Warnings[0], "left the Pod as it is")
	assert.Contains(t, response.Warnings[0], "the API server is away")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}

func TestAPodWithALabelOfItsOwnNeedsNoLookup(t *testing.T) {
	w := world{lookup: errors.New("the API server is away")}
	h, registry := handlerFor(t, w.judge(t))
	response, _ := ask(t, h, []byte(enforcedPod))
	assert.NotNil(t, response.Patch)
	assert.Empty(t, response.Warnings)
	assert.InDelta(t, 1, metric(t, registry, outcomeMutated), 0)
}

func TestFieldsOfANewerKubernetesStay(t *testing.T) {
	raw := strings.Replace(enforcedPod, `"image":"web"`, `"image":"web","tomorrow":{"a":[1,2]}`, 1)
	raw = strings.Replace(raw, `"spec":{`, `"spec":{"later":true,`, 1)
	h, _ := handlerFor(t, world{}.judge(t))
	_, out := ask(t, h, []byte(raw))
	assert.Contains(t, string(out), `"tomorrow":{"a":[1,2]}`)
	assert.Contains(t, string(out), `"later":true`)
	assert.Contains(t, string(out), "spillway.io/placement")
}

// An API server fails a creation for which the patch does not fit: such a patch must never be answered.
func TestAPatchThatDoesNotFitIsNotAnswered(t *testing.T) {
	raw := strings.Replace(enforcedPod, `,"resources":{}`, "", 1)
	h, registry := handlerFor(t, world{}.judge(t))
	response, out := ask(t, h, []byte(raw))
	assert.Nil(t, response.Patch)
	assert.JSONEq(t, raw, string(out))
	require.Len(t, response.Warnings, 1)
	assert.Contains(t, response.Warnings[0], "trying the patch")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}

func TestTheJudgeIsAskedAboutThePodInTheNamespaceOfTheRequest(t *testing.T) {
	var asked *corev1.Pod
	h, _ := handlerFor(t, judgeFunc(func(pod *corev1.Pod) (verdict.Verdict, error) {
		asked = pod
		return verdict.Verdict{}, nil
	}))
	ask(t, h, []byte(enforcedPod))
	require.NotNil(t, asked)
	assert.Equal(t, "shop", asked.Namespace)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	_, registry := handlerFor(t, world{}.judge(t))
	_, err := New(Parts{Judge: world{}.judge(t), Validator: validatorOf(t), InCloud: nothing}, registry, nil)
	assert.ErrorContains(t, err, "registering the metrics of the webhook")
}

func TestRegistrations(t *testing.T) {
	client := admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: "spillway-system", Name: "spillway-admission"},
	}
	for file, registration := range map[string]any{
		"testdata/registration.yaml":            Registration(client, "kube-system", "spillway-system"),
		"testdata/validating-registration.yaml": ValidatingRegistration(client, "kube-system", "spillway-system"),
	} {
		got, err := yaml.Marshal(registration)
		require.NoError(t, err)
		if *update {
			require.NoError(t, os.WriteFile(file, got, 0o644))
		}
		want, err := os.ReadFile(file)
		require.NoError(t, err)
		assert.YAMLEq(t, string(want), string(got))
	}
	assert.Nil(t, client.Service.Path, "what was given is not changed")
}

// FuzzServeHTTP hunts panics: whatever is sent, the answer is a review that allows or a 400.
func FuzzServeHTTP(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add(reviewOf(f, []byte(enforcedPod)))
	f.Add(reviewOf(f, []byte(`{"kind":"Pod","spec":{"containers":[]},"metadata":{"annotations":{"LOCAL_REPLICAS":"1"}}}`)))
	h, _ := handlerFor(f, world{NamespaceLabels: map[string]string{"virtual-node-affinity-injection": "enabled"}}.judge(f))
	f.Fuzz(func(t *testing.T, body []byte) {
		recorder := post(h, PodPath, body)
		if recorder.Code == http.StatusBadRequest {
			return
		}
		require.Equal(t, http.StatusOK, recorder.Code)
		var review admissionv1.AdmissionReview
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
		assert.True(t, review.Response.Allowed)
	})
}

type judgeFunc func(*corev1.Pod) (verdict.Verdict, error)

func (f judgeFunc) Decide(_ context.Context, pod *corev1.Pod) (verdict.Verdict, error) { return f(pod) }

// metric is how many reviews had the outcome.
func metric(t *testing.T, registry *prometheus.Registry, o outcome) float64 {
	families, err := registry.Gather()
	require.NoError(t, err)
	var sum float64
	for _, family := range families {
		if family.GetName() != "spillway_admission_webhook_requests_total" {
			continue
		}
		for _, m := range family.GetMetric() {
			if m.GetLabel()[0].GetValue() == string(o) { // Labels are sorted: outcome, webhook.
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
