package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// quietCluster is a cluster without switches, volumes and burst labels.
type quietCluster struct{}

func (quietCluster) Global() policy.Switch                { return policy.SwitchUnset }
func (quietCluster) Ours() []policy.VirtualNode           { return nil }
func (quietCluster) Claims(*corev1.Pod) map[string]string { return nil }
func (quietCluster) FindClaims(context.Context, *corev1.Pod) (map[string]string, error) {
	return nil, nil
}
func (quietCluster) Workload(context.Context, *corev1.Pod) (evaluation.Workload, error) {
	return evaluation.Workload{Annotations: map[string]string{}}, nil
}
func (quietCluster) CachedNamespace(string) map[string]string { return nil }
func (quietCluster) Namespace(context.Context, string) (labels, annotations map[string]string, err error) {
	return nil, nil, nil
}

// patchOf returns the patch of the webhook for the Pod. It is empty if the webhook does not change the Pod.
func patchOf(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	handler, err := webhook.New(webhook.Config{
		Evaluator: evaluation.New(rules, quietCluster{}, quietCluster{}, quietCluster{}, time.Second),
		Validator: validation.New(rules, quietCluster{}, quietCluster{}, quietCluster{}, schedulers.Schedulers{}),
		InCloud:   func() int { return 0 },
		Guard:     types.NamespacedName{Namespace: namespace, Name: webhook.GuardName},
	}, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	pod = pod.DeepCopy()
	pod.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"}
	raw, err := json.Marshal(pod)
	require.NoError(t, err)
	review, err := json.Marshal(admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "1", Operation: admissionv1.Create,
			Resource:  metav1.GroupVersionResource{Version: "v1", Resource: "pods"},
			Namespace: namespace, Object: runtime.RawExtension{Raw: raw},
		},
	})
	require.NoError(t, err)
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, httptest.NewRequest(http.MethodPost, webhook.PodPath, bytes.NewReader(review)))
	require.Equal(t, http.StatusOK, recorder.Code, recorder.Body)
	var answer admissionv1.AdmissionReview
	require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &answer))
	require.Empty(t, answer.Response.Warnings)
	return string(answer.Response.Patch)
}

func TestPodsAreAsTheWebhookChangesThem(t *testing.T) {
	assert.Empty(t, patchOf(t, unmanagedPod("app", 1)))
	assert.Empty(t, patchOf(t, quotaPod("app", 1, 20)))

	unmarked := quotaPod("app", 1, 20)
	unmarked.Spec.Containers[0].Resources.Limits = nil
	delete(unmarked.Spec.Containers[0].Resources.Requests, policy.PlacementResource)
	assert.Contains(t, patchOf(t, unmarked), "spillway.io~1placement")
	intolerant := quotaPod("app", 1, 20)
	intolerant.Spec.Tolerations = nil
	assert.Contains(t, patchOf(t, intolerant), policy.ProviderTaintKey)
}
