package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/verdict"
)

// maxBody is above what an API server can send: an object of 3 MiB, its limit for requests, and its old version.
const maxBody = 8 << 20

// Judge gives the verdict about a Pod (admission/verdict).
type Judge interface {
	// Decide may block for a bounded time. An error means that the verdict could not be found.
	Decide(context.Context, *corev1.Pod) (verdict.Verdict, error)
}

type handler struct {
	judge   Judge
	metrics metrics
	logger  *slog.Logger
}

// New returns the handler of Path, which answers reviews of Pods that are being created. Its metrics are registered with
// registerer; registering them twice is an error.
func New(judge Judge, registerer prometheus.Registerer, logger *slog.Logger) (http.Handler, error) {
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("POST "+Path, &handler{judge: judge, metrics: m, logger: logger})
	return mux, nil
}

// ServeHTTP answers one AdmissionReview. What is none gets status 400 with words.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	review, pod, err := decode(w, r)
	if err != nil {
		h.metrics.observe(outcomeMalformed, time.Since(started))
		h.logger.Warn("refusing a malformed review", "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response, outcome := h.review(r.Context(), review.Request, pod)
	answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		h.logger.Error("encoding a review", "err", err)
		http.Error(w, "encoding the review: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // It fails where the API server has gone: nobody is left to be told.
	h.metrics.observe(outcome, time.Since(started))
}

// decode reads the review of a Pod's creation.
func decode(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionReview, *corev1.Pod, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the body: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, nil, fmt.Errorf("decoding the body: %w", err)
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		return nil, nil, fmt.Errorf("apiVersion %q, kind %q: must be %s, AdmissionReview", review.APIVersion, review.Kind, admissionv1.SchemeGroupVersion)
	}
	request := review.Request
	if request == nil || request.UID == "" {
		return nil, nil, errors.New("request.uid: must not be empty")
	}
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if request.Resource != pods || request.SubResource != "" || request.Operation != admissionv1.Create {
		return nil, nil, fmt.Errorf("request: %s of %s %s: must be CREATE of pods in v1, as Registration says",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	var kind metav1.TypeMeta
	if err := json.Unmarshal(request.Object.Raw, &kind); err != nil || kind.Kind != "Pod" {
		return nil, nil, fmt.Errorf("request.object: must be a Pod, not %q", kind.Kind)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, nil, fmt.Errorf("decoding request.object as a Pod: %w", err)
	}
	return &review, &pod, nil
}

// review allows the Pod, with a patch where it is to be changed and with warnings about its malformed keys.
func (h *handler) review(ctx context.Context, request *admissionv1.AdmissionRequest, pod *corev1.Pod) (*admissionv1.AdmissionResponse, outcome) {
	response := &admissionv1.AdmissionResponse{UID: request.UID, Allowed: true}
	if !concerns(pod) {
		return response, outcomeUntouched
	}
	subject := pod.DeepCopy()
	subject.Namespace = request.Namespace // The object may leave it out.
	verdict, err := h.judge.Decide(ctx, subject)
	if err == nil {
		response.Warnings = warnings(verdict)
		h.metrics.decided(verdict)
		response.Patch, err = patchFor(request.Object.Raw, pod, verdict)
	}
	if err != nil {
		h.logger.Error("leaving a Pod as it is", "namespace", request.Namespace, "name", pod.Name, "generateName", pod.GenerateName, "err", err)
		response.Warnings = append(response.Warnings, lines("spillway left the Pod as it is: "+err.Error())...)
		return response, outcomeFailed
	}
	h.logger.Debug("reviewed a Pod", "namespace", request.Namespace, "name", pod.Name, "generateName", pod.GenerateName,
		"keyed", verdict.Keyed, "decision", verdict.Describe())
	if response.Patch == nil {
		return response, outcomeUntouched
	}
	response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	return response, outcomeMutated
}

// warnings say what is malformed, and why a Pod that asks for the cloud does not get there.
func warnings(v verdict.Verdict) []string {
	var found []string
	for _, fault := range v.Faults {
		found = append(found, lines(fault.Error())...)
	}
	if v.Keyed && v.Forbidden() && !v.Off {
		found = append(found, fmt.Sprintf("%s: the Pod stays on local nodes: %s", v.Reason, v.Message))
	}
	return found
}

// lines makes a warning of each line: they travel as headers, and the API server drops what has a line break.
func lines(text string) []string { return strings.Split(text, "\n") }
