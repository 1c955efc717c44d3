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

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/policy"
)

const enforcedPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web",` +
	`"labels":{"virtual-kubelet.io/burst-to-cci":"enforce"}},` +
	`"spec":{"containers":[{"name":"c","image":"web","resources":{}}]}}`

func TestMalformedRequestsGetStatus400AndAMessage(t *testing.T) {
	review := func(change func(*admissionv1.AdmissionReview)) string {
		var r admissionv1.AdmissionReview
		require.NoError(t, json.Unmarshal(reviewOf(t, []byte(enforcedPod)), &r))
		change(&r)
		body, err := json.Marshal(r)
		require.NoError(t, err)
		return string(body)
	}
	change := func(f func(*admissionv1.AdmissionRequest)) string {
		return review(func(r *admissionv1.AdmissionReview) { f(r.Request) })
	}
	for name, test := range map[string]struct{ body, want string }{
		"no body":         {"", "decoding the body"},
		"not JSON":        {"\x00\xff", "decoding the body"},
		"an empty object": {"{}", `apiVersion "", kind "": must be admission.k8s.io/v1, AdmissionReview`},
		"a list":          {"[]", "decoding the body"},
		"an old version": {review(func(r *admissionv1.AdmissionReview) {
			r.APIVersion = "admission.k8s.io/v1beta1"
		}), "must be admission.k8s.io/v1"},
		"no request": {review(func(r *admissionv1.AdmissionReview) { r.Request = nil }), "request.uid: must not be empty"},
		"no uid":     {change(func(r *admissionv1.AdmissionRequest) { r.UID = "" }), "request.uid: must not be empty"},
		"another resource": {change(func(r *admissionv1.AdmissionRequest) {
			r.Resource.Resource = "nodes"
		}), "must be CREATE of pods in v1"},
		"a subresource": {change(func(r *admissionv1.AdmissionRequest) {
			r.SubResource = "eviction"
		}), "must be CREATE of pods in v1"},
		"an update": {change(func(r *admissionv1.AdmissionRequest) {
			r.Operation = admissionv1.Update
		}), "must be CREATE of pods in v1"},
		"no object": {change(func(r *admissionv1.AdmissionRequest) { r.Object.Raw = nil }), "request.object: must be a Pod"},
		"an object of another kind": {change(func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"kind":"Node"}`)
		}), "request.object: must be a Pod"},
		"an object that is not a Pod": {change(func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw = []byte(`{"kind":"Pod","spec":[]}`)
		}), "decoding request.object as a Pod"},
		"a body that is too large": {`{"kind":"` + strings.Repeat("x", maxBody) + `"}`, "request body too large"},
	} {
		t.Run(name, func(t *testing.T) {
			h, registry := handlerFor(t, world{}.evaluator(t))
			recorder := post(h, PodPath, []byte(test.body))
			assert.Equal(t, http.StatusBadRequest, recorder.Code)
			assert.Contains(t, recorder.Body.String(), test.want)
			assert.InDelta(t, 1, metric(t, registry, outcomeMalformed), 0)
		})
	}
}

func TestOtherMethodsAndPathsAreNotServed(t *testing.T) {
	h, _ := handlerFor(t, world{}.evaluator(t))
	body := reviewOf(t, []byte(enforcedPod))
	for target, code := range map[string]int{
		"GET " + PodPath: http.StatusMethodNotAllowed, "POST /": http.StatusNotFound,
	} {
		method, path, _ := strings.Cut(target, " ")
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, httptest.NewRequest(method, path, bytes.NewReader(body)))
		assert.Equal(t, code, recorder.Code, target)
	}
}

func TestAPodStaysUnchangedIfItsOwnersCannotBeLookedUp(t *testing.T) {
	w := world{lookup: errors.New("connection refused")}
	h, registry := handlerFor(t, w.evaluator(t))
	raw := []byte(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web","annotations":{"LOCAL_REPLICAS":"1"}},` +
		`"spec":{"containers":[{"name":"c"}]}}`)

	response, out := ask(t, h, raw)

	assert.Nil(t, response.Patch)
	assert.Equal(t, raw, out)
	require.Len(t, response.Warnings, 1)
	assert.Contains(t, response.Warnings[0], "left the Pod unchanged")
	assert.Contains(t, response.Warnings[0], "connection refused")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}

func TestAPodWithABurstLabelNeedsNoLookUp(t *testing.T) {
	w := world{lookup: errors.New("connection refused")}
	h, registry := handlerFor(t, w.evaluator(t))
	response, _ := ask(t, h, []byte(enforcedPod))
	assert.NotNil(t, response.Patch)
	assert.Empty(t, response.Warnings)
	assert.InDelta(t, 1, metric(t, registry, outcomeMutated), 0)
}

func TestFieldsOfANewerKubernetesStayUnchanged(t *testing.T) {
	raw := strings.Replace(enforcedPod, `"image":"web"`, `"image":"web","tomorrow":{"a":[1,2]}`, 1)
	raw = strings.Replace(raw, `"spec":{`, `"spec":{"later":true,`, 1)
	h, _ := handlerFor(t, world{}.evaluator(t))
	_, out := ask(t, h, []byte(raw))
	assert.Contains(t, string(out), `"tomorrow":{"a":[1,2]}`)
	assert.Contains(t, string(out), `"later":true`)
	assert.Contains(t, string(out), "spillway.io/placement")
}

// If a patch does not apply, the API server fails the creation, so the webhook must not return such a patch.
func TestAPatchThatDoesNotApplyIsNotReturned(t *testing.T) {
	raw := strings.Replace(enforcedPod, `,"resources":{}`, "", 1)
	h, registry := handlerFor(t, world{}.evaluator(t))
	response, out := ask(t, h, []byte(raw))
	assert.Nil(t, response.Patch)
	assert.JSONEq(t, raw, string(out))
	require.Len(t, response.Warnings, 1)
	assert.Contains(t, response.Warnings[0], "applying the patch")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}

// The price of a patch grows with the square of its operations, here and in the API server, which applies it again.
func TestAPodThatNeedsAVeryLongPatchStaysUnchanged(t *testing.T) {
	selecting := func(terms int) []byte {
		return []byte(enforced(`"affinity":{"nodeAffinity":` +
			`{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` + manyTerms(terms) + `]}}}`))
	}
	h, registry := handlerFor(t, world{Ignored: []string{"disktype"}}.evaluator(t))
	response, _ := ask(t, h, selecting(400))
	assert.NotNil(t, response.Patch)
	response, _ = ask(t, h, selecting(1200))
	assert.Nil(t, response.Patch)
	require.Len(t, response.Warnings, 1)
	assert.Contains(t, response.Warnings[0], "left the Pod unchanged: the patch would have 1204 operations: at most 1000")
	assert.InDelta(t, 1, metric(t, registry, outcomeFailed), 0)
}

// A manifest may be a copy of a Pod that has run.
func TestAPodLosesWhatTheProgramsWroteOnItsOriginal(t *testing.T) {
	raw := strings.Replace(enforcedPod, `"name":"web",`, `"name":"web","annotations":{"`+policy.CostAnnotation+
		`":"1 CNY","`+policy.TraceAnnotation+`":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},`, 1)
	require.NotEqual(t, enforcedPod, raw)
	h, _ := handlerFor(t, world{}.evaluator(t))
	_, out := ask(t, h, []byte(raw))
	assert.NotContains(t, string(out), policy.CostAnnotation)
	assert.NotContains(t, string(out), policy.TraceAnnotation)
}

func TestThePodIsEvaluatedInTheNamespaceOfTheRequest(t *testing.T) {
	var evaluated *corev1.Pod
	h, _ := handlerFor(t, evaluatorFunc(func(pod *corev1.Pod) (evaluation.Result, error) {
		evaluated = pod
		return evaluation.Result{}, nil
	}))
	ask(t, h, []byte(enforcedPod))
	require.NotNil(t, evaluated)
	assert.Equal(t, "shop", evaluated.Namespace)
}

func TestMetricsAreRegisteredOnce(t *testing.T) {
	_, registry := handlerFor(t, world{}.evaluator(t))
	c := Config{Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: nothing, Guard: guard}
	_, err := New(c, registry, nil)
	assert.ErrorContains(t, err, "registering the metrics of the webhook")
}

func TestRegistrations(t *testing.T) {
	const release = "spillway-system"
	client := admissionregistrationv1.WebhookClientConfig{
		Service: &admissionregistrationv1.ServiceReference{Namespace: "spillway-system", Name: "spillway-admission"},
	}
	for file, registration := range map[string]any{
		"testdata/registration.yaml":            Registration(client, "kube-system", release),
		"testdata/validating-registration.yaml": ValidatingRegistration(client, release, "kube-system", release),
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
	assert.Nil(t, client.Service.Path, "the parameter is not changed")
}

func TestNewRejectsAnIncompleteConfig(t *testing.T) {
	for name, c := range map[string]Config{
		"no evaluator": {Validator: validatorOf(t), InCloud: nothing, Guard: guard},
		"no validator": {Evaluator: world{}.evaluator(t), InCloud: nothing, Guard: guard},
		"no cloud":     {Evaluator: world{}.evaluator(t), Validator: validatorOf(t), Guard: guard},
		"no guard":     {Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: nothing},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := New(c, prometheus.NewRegistry(), nil)
			assert.ErrorContains(t, err, "Evaluator, Validator, InCloud and Guard must be set")
		})
	}
}

// FuzzServeHTTP searches for panics: any request gets a review that allows the Pod, or status 400.
func FuzzServeHTTP(f *testing.F) {
	f.Add([]byte("{}"))
	f.Add(reviewOf(f, []byte(enforcedPod)))
	f.Add(reviewOf(f, []byte(`{"kind":"Pod","spec":{"containers":[]},"metadata":{"annotations":{"LOCAL_REPLICAS":"1"}}}`)))
	enforcing := world{NamespaceLabels: map[string]string{"virtual-node-affinity-injection": "enabled"}}
	h, _ := handlerFor(f, enforcing.evaluator(f))
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

type evaluatorFunc func(*corev1.Pod) (evaluation.Result, error)

func (f evaluatorFunc) Evaluate(_ context.Context, pod *corev1.Pod) (evaluation.Result, error) {
	return f(pod)
}

// metric returns how many reviews had the outcome.
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
