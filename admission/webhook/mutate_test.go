package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	evanphx "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// world is a fake of the facts and owners that the evaluation of a Pod depends on.
type world struct {
	// Switch is the value of the global switch, empty if it is not set.
	Switch string `json:"switch,omitempty"`
	// ClaimKinds are the kinds of the volumes behind claims.
	ClaimKinds map[string]string `json:"claims,omitempty"`
	// WorkloadLabels and NamespaceLabels are the labels of the owner and the namespace of the Pod.
	WorkloadLabels  map[string]string `json:"workload,omitempty"`
	NamespaceLabels map[string]string `json:"namespace,omitempty"`
	// WorkloadAnnotations are the annotations of the owner that the Pod inherits.
	WorkloadAnnotations map[string]string `json:"workloadAnnotations,omitempty"`
	// NamespaceAnnotations are the annotations of the namespace of the Pod.
	NamespaceAnnotations map[string]string `json:"namespaceAnnotations,omitempty"`
	// Scheduler is the scheduler that calls the extender, if it runs next to the default scheduler, and OtherSchedulers
	// are further ones.
	Scheduler       string   `json:"scheduler,omitempty"`
	OtherSchedulers []string `json:"otherSchedulers,omitempty"`
	// EveryPod says that they call it for every Pod.
	EveryPod bool `json:"everyPod,omitempty"`
	// Nodes are the virtual nodes.
	Nodes []policy.VirtualNode `json:"nodes,omitempty"`
	// Ignored are the selectors that do not keep Pods off virtual nodes.
	Ignored []string `json:"ignoredNodeSelectors,omitempty"`
	// lookup is the error of all look-ups.
	lookup error
}

func (w world) Global() policy.Switch {
	if w.Switch == "" {
		return policy.SwitchUnset
	}
	value, _ := policy.ParseSwitch(map[string]string{policy.SwitchKey: w.Switch})
	return value
}

func (w world) CachedNamespace(string) map[string]string { return w.NamespaceAnnotations }

func (w world) Ours() []policy.VirtualNode { return w.Nodes }

func (w world) Claims(*corev1.Pod) map[string]string { return w.ClaimKinds }

func (w world) FindClaims(context.Context, *corev1.Pod) (map[string]string, error) {
	return w.ClaimKinds, nil
}

func (w world) Workload(context.Context, *corev1.Pod) (evaluation.Workload, error) {
	found := evaluation.Workload{
		Labels: w.WorkloadLabels, Annotations: map[string]string{}, Places: map[string]string{},
	}
	if mode, err := policy.ParseMode(w.WorkloadLabels); err == nil && mode == policy.ModeNone {
		found.Labels = nil
	}
	for key, value := range w.WorkloadAnnotations {
		found.Annotations[key], found.Places[key] = value, "Deployment web"
	}
	return found, w.lookup
}

func (w world) Namespace(context.Context, string) (labels, annotations map[string]string, err error) {
	return w.NamespaceLabels, w.NamespaceAnnotations, w.lookup
}

func (w world) policy(t testing.TB) *policy.Policy {
	config := policy.DefaultConfig()
	config.IgnoredNodeSelectors = w.Ignored
	p, err := policy.New(config)
	require.NoError(t, err)
	return p
}

func (w world) evaluator(t testing.TB) *evaluation.Evaluator {
	return evaluation.New(w.policy(t), w, w, w, time.Minute)
}

// handler returns the webhook in this world.
func (w world) handler(t testing.TB) http.Handler {
	h, _ := handlerWith(t, Config{
		Evaluator: w.evaluator(t), Schedulers: w.schedulers(), Ignored: w.policy(t).IgnoredSelectors(),
	})
	return h
}

func (w world) schedulers() schedulers.Schedulers {
	return schedulers.Schedulers{Assigned: w.Scheduler, Others: w.OtherSchedulers, EveryPod: w.EveryPod}
}

// handlerFor returns the webhook in a cluster whose default scheduler calls the extender.
func handlerFor(t testing.TB, evaluator Evaluator) (http.Handler, *prometheus.Registry) {
	return handlerWith(t, Config{Evaluator: evaluator})
}

// handlerWith returns the webhook. It completes the configuration.
func handlerWith(t testing.TB, config Config) (http.Handler, *prometheus.Registry) {
	registry := prometheus.NewRegistry()
	config.Validator, config.InCloud, config.Guard = validatorOf(t), nothing, guard
	h, err := New(config, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return h, registry
}

// validatorOf returns the validation by the default rules, without facts about the cluster.
func validatorOf(t testing.TB) *validation.Validator {
	p, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	return validation.New(p, world{}, world{}, world{}, schedulers.Schedulers{})
}

// reviewOf returns the request body of a review of the creation of a Pod.
func reviewOf(t testing.TB, raw []byte) []byte {
	return encode(t, &admissionv1.AdmissionRequest{
		UID: "b1", Operation: admissionv1.Create, Namespace: "shop",
		Resource: metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
		Object:   runtime.RawExtension{Raw: raw},
	})
}

// encode returns the body of a review with the request.
func encode(t testing.TB, request *admissionv1.AdmissionRequest) []byte {
	body, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	require.NoError(t, err)
	return body
}

func post(h http.Handler, path string, body []byte) *httptest.ResponseRecorder {
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, path, bytes.NewReader(body)))
	return recorder
}

// ask sends a review of the Pod to the handler and returns the response and the patched Pod.
func ask(t testing.TB, h http.Handler, raw []byte) (*admissionv1.AdmissionResponse, []byte) {
	recorder := post(h, PodPath, reviewOf(t, raw))
	require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
	var review admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
	require.NotNil(t, review.Response)
	assert.Equal(t, "AdmissionReview", review.Kind)
	assert.EqualValues(t, "b1", review.Response.UID)
	assert.True(t, review.Response.Allowed, "no Pod is ever rejected")
	if review.Response.Patch == nil {
		return review.Response, raw
	}
	assert.Equal(t, admissionv1.PatchTypeJSONPatch, *review.Response.PatchType)
	patch, err := evanphx.DecodePatch(review.Response.Patch)
	require.NoError(t, err)
	out, err := patch.Apply(raw)
	require.NoError(t, err)
	return review.Response, out
}

// TestMutate reviews the Pod of each testdata/mutate/*.input.yaml and compares with .output.yaml; -update rewrites
// that.
func TestMutate(t *testing.T) {
	inputs, err := filepath.Glob("testdata/mutate/*.input.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, file := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".input.yaml"), func(t *testing.T) {
			var input struct {
				world `json:",inline"`
				Pod   corev1.Pod `json:"pod"`
			}
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			require.NoError(t, yaml.UnmarshalStrict(content, &input))
			raw, err := json.Marshal(input.Pod)
			require.NoError(t, err)
			h := input.handler(t)

			response, out := ask(t, h, raw)
			compare(t, strings.Replace(file, ".input.", ".output.", 1), response.Warnings, out)

			again, second := ask(t, h, out)
			assert.Nil(t, again.Patch, "a second review changes nothing")
			assert.JSONEq(t, string(out), string(second))
		})
	}
}

func compare(t *testing.T, file string, warnings []string, pod []byte) {
	var object map[string]any
	require.NoError(t, json.Unmarshal(pod, &object))
	delete(object, "status")
	got, err := yaml.Marshal(map[string]any{"warnings": warnings, "pod": object})
	require.NoError(t, err)
	if *update {
		require.NoError(t, os.WriteFile(file, got, 0o644))
		return
	}
	want, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.YAMLEq(t, string(want), string(got))
}
