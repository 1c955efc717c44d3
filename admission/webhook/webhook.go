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
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/evaluation"
	"github.com/spillway-k8s/spillway/admission/validation"
)

// maxBody is more than an API server can send: an object of 3 MiB, its limit for requests, and the old version of it.
const maxBody = 8 << 20

// Evaluator evaluates Pods (admission/evaluation).
type Evaluator interface {
	// Evaluate may block for a bounded time.
	Evaluate(context.Context, *corev1.Pod) (evaluation.Result, error)
}

// Validator validates the keys of workloads (admission/validation). It must not block.
type Validator interface {
	// Review validates an object of a namespace. old is its previous version, nil at creation. The webhook rejects the
	// object if there are errors.
	Review(namespace string, object, old *validation.Subject) (errs field.ErrorList, warnings []string)
}

// Config holds what the webhook works with.
type Config struct {
	// Evaluator evaluates Pods that are created.
	Evaluator Evaluator
	// Validator validates workloads.
	Validator Validator
	// InCloud lists the Pods that run in the cloud, as far as the caches know. It must not block.
	InCloud func() []cache.ObjectName
	// SchedulerName is the scheduler to assign to managed Pods of the default scheduler; empty to keep theirs.
	SchedulerName string
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
	if c.Evaluator == nil || c.Validator == nil || c.InCloud == nil {
		return nil, errors.New("creating the webhook: Evaluator, Validator and InCloud must be set")
	}
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, r := range map[string]reviewer{
		PodPath: &podReviewer{
			evaluator: c.Evaluator, schedulerName: c.SchedulerName, metrics: m, logger: logger,
		},
		DaemonSetPath:  &daemonSetReviewer{off: c.DaemonSetsBurst, logger: logger},
		ValidationPath: &workloadReviewer{validator: c.Validator, logger: logger},
		UninstallPath:  &uninstallReviewer{inCloud: c.InCloud, logger: logger},
	} {
		mux.Handle("POST "+path, &handler{name: strings.TrimPrefix(path, "/"), reviewer: r, metrics: m, logger: logger})
	}
	return mux, nil
}

// handler decodes reviews and encodes responses.
type handler struct {
	name     string
	reviewer reviewer
	metrics  metrics
	logger   *slog.Logger
}

// ServeHTTP answers one AdmissionReview. A malformed one gets status 400 and a message.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	review, err := decode(w, r)
	var response *admissionv1.AdmissionResponse
	var result outcome
	if err == nil {
		response, result, err = h.reviewer.review(r.Context(), review.Request)
	}
	if err != nil {
		h.metrics.observe(h.name, outcomeMalformed, time.Since(started))
		h.logger.Warn("rejecting a malformed review", "webhook", h.name, "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response.UID = review.Request.UID
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

// decode reads a review with a request.
func decode(w http.ResponseWriter, r *http.Request) (*admissionv1.AdmissionReview, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		return nil, fmt.Errorf("reading the body: %w", err)
	}
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
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

// lines splits a text into one warning per line. Warnings are sent as HTTP headers, and the API server drops a warning
// that contains a line break.
func lines(text string) []string { return strings.Split(text, "\n") }
