package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// maxBody is more than an API server can send: an object of 3 MiB, its limit for requests, and the old version of
	// it.
	maxBody = 8 << 20
	// maxMemory is what all reviews in flight may need, in bytes: a fifth of the memory limit in the chart. It is
	// enough for some hundred usual Pods at once. Reviews beyond wait.
	maxMemory = 96 << 20
	// maxWarnings is how many warnings a response may have, and maxWarning how long each may be, in bytes.
	maxWarnings, maxWarning = 20, 1 << 10
	// maxErrors is how many errors of an object a rejection names.
	maxErrors = 20
)

// Evaluator evaluates Pods (internal/evaluation).
type Evaluator interface {
	// Evaluate may block for a bounded time.
	Evaluate(context.Context, *corev1.Pod) (evaluation.Result, error)
}

// Validator validates the keys of workloads and namespaces (admission/validation). It must not block.
type Validator interface {
	// Review validates an object of a namespace. old is its previous version, nil at creation. The webhook rejects the
	// object if there are errors.
	Review(namespace string, object, old *validation.Subject) (errs field.ErrorList, warnings []string)
	// ReviewNamespace validates the keys of a Namespace. old is its previous version, empty at creation.
	ReviewNamespace(namespace, old metav1.ObjectMeta) (errs field.ErrorList, warnings []string)
}

// Config holds what the webhook works with.
type Config struct {
	// Evaluator evaluates Pods that are created.
	Evaluator Evaluator
	// Validator validates workloads.
	Validator Validator
	// InCloud counts the Pods that run in the cloud, as far as the caches know. It must not block.
	InCloud func() int
	// Guard is the ConfigMap that helm uninstall deletes first.
	Guard types.NamespacedName
	// Schedulers are those that call the extender.
	Schedulers schedulers.Schedulers
	// Ignored are the selectors that do not keep Pods off virtual nodes.
	Ignored policy.IgnoredSelectors
	// DaemonSetsBurst leaves DaemonSets that tolerate virtual nodes unchanged: the rule ReasonDaemonSet is disabled.
	DaemonSetsBurst bool
}

// reviewer answers one kind of review.
type reviewer interface {
	// review returns an error only if the request is malformed. If anything else fails, it allows the object unchanged.
	review(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, outcome, error)
}

// New returns the handler of every path of the registrations and registers its metrics. Registering them twice is an
// error.
func New(c Config, registerer prometheus.Registerer, logger *slog.Logger) (http.Handler, error) {
	if c.Evaluator == nil || c.Validator == nil || c.InCloud == nil || c.Guard.Name == "" {
		return nil, errors.New("creating the webhook: Evaluator, Validator, InCloud and Guard must be set")
	}
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	mux, memory := http.NewServeMux(), serve.NewMemory(maxMemory)
	for path, r := range map[string]reviewer{
		PodPath: &podReviewer{
			evaluator: c.Evaluator, schedulers: c.Schedulers, ignored: c.Ignored, metrics: m, logger: logger,
		},
		DaemonSetPath:  &daemonSetReviewer{off: c.DaemonSetsBurst, logger: logger},
		ValidationPath: &workloadReviewer{validator: c.Validator, logger: logger},
		NamespacePath:  &namespaceReviewer{validator: c.Validator, logger: logger},
		UninstallPath:  &uninstallReviewer{inCloud: c.InCloud, guard: c.Guard, logger: logger},
	} {
		name := strings.TrimPrefix(path, "/")
		m.start(name)
		mux.Handle("POST "+path, &handler{
			name: name, reviewer: r, memory: memory, metrics: m, logger: logger,
		})
	}
	return mux, nil
}

// handler decodes reviews and encodes responses.
type handler struct {
	name     string
	reviewer reviewer
	memory   *serve.Memory
	metrics  metrics
	logger   *slog.Logger
}

// ServeHTTP answers one AdmissionReview. A malformed one gets status 400 and a message, and one that waits too long for
// memory status 503. The API server then ignores the webhook, as the failure policy says.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	reservation := h.memory.For(r)
	defer reservation.Release()
	review, err := decode(w, r, reservation)
	var response *admissionv1.AdmissionResponse
	var result outcome
	if err == nil {
		response, result, err = h.review(tracing.FromHeader(r.Context(), r.Header), review.Request)
	}
	if errors.Is(err, serve.ErrBusy) {
		h.metrics.observe(h.name, outcomeBusy, time.Since(started))
		serve.RejectBusy(w, err.Error())
		return
	}
	if err != nil {
		h.metrics.observe(h.name, outcomeMalformed, time.Since(started))
		h.logger.Warn("rejecting a malformed review", "webhook", h.name, "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response.UID = review.Request.UID
	response.Warnings = bounded(response.Warnings)
	body, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		h.logger.Error("encoding a review failed", "webhook", h.name, "err", err)
		http.Error(w, "encoding the review: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // It fails only if the API server has closed the connection.
	h.metrics.observe(h.name, result, time.Since(started))
}

// review rejects an object that takes long to decode. No workload needs it, and it would take long in every program
// that reads it.
func (h *handler) review(
	ctx context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	response, result, err := h.reviewer.review(ctx, request)
	if limit, ok := errors.AsType[*rawjson.LimitError](err); ok {
		h.logger.Warn("rejected an object that takes long to decode", "webhook", h.name,
			"kind", request.Kind.Kind, "namespace", request.Namespace, "name", request.Name, "err", err)
		return &admissionv1.AdmissionResponse{Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: limit.Error(),
		}}, outcomeRefused, nil
	}
	return response, result, err
}

// decode reads a review with a request. It reserves the memory for the body and the objects in it.
func decode(
	w http.ResponseWriter, r *http.Request, reservation *serve.Reservation,
) (*admissionv1.AdmissionReview, error) {
	body, err := reservation.Body(w, r, maxBody)
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	text, err := rawjson.Scan(body)
	if err != nil {
		return nil, fmt.Errorf("decoding the body: %w", err)
	}
	if err := reservation.Grow(r.Context(), text.Memory()); err != nil {
		return nil, err
	}
	var review admissionv1.AdmissionReview
	if err := unmarshal(body, &review); err != nil {
		return nil, fmt.Errorf("decoding the body: %w", err)
	}
	if review.APIVersion != admissionv1.SchemeGroupVersion.String() || review.Kind != "AdmissionReview" {
		return nil, fmt.Errorf("apiVersion %q, kind %q: must be %s, AdmissionReview",
			review.APIVersion, review.Kind, admissionv1.SchemeGroupVersion)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, errors.New("request.uid: must not be empty")
	}
	return &review, nil
}

// unmarshal decodes a review except for its objects, whose text it leaves to the reviewers. To validate, to skip
// and to copy them here would take half as long as that. The objects refer to the body.
func unmarshal(body []byte, review *admissionv1.AdmissionReview) error {
	object, rest := rawjson.Cut(body, "request", "object")
	old, rest := rawjson.Cut(rest, "request", "oldObject")
	if err := rawjson.Unmarshal(rest, review); err != nil || review.Request == nil {
		return err
	}
	if object != nil {
		review.Request.Object = runtime.RawExtension{Raw: object}
	}
	if old != nil {
		review.Request.OldObject = runtime.RawExtension{Raw: old}
	}
	return nil
}

// bounded shortens warnings. Beyond 4 KiB in all, the API server cuts each to 256 characters and drops the last.
func bounded(warnings []string) []string {
	if more := len(warnings) - maxWarnings; more > 0 {
		warnings = append(slices.Clone(warnings[:maxWarnings]), fmt.Sprintf("spillway: and %d more warnings", more))
	}
	for i, warning := range warnings {
		warnings[i] = policy.Clip(warning, maxWarning)
	}
	return warnings
}

// lines splits a text into one warning per line. Warnings are sent as HTTP headers, and the API server drops a warning
// that contains a line break.
func lines(text string) []string { return strings.Split(text, "\n") }
