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

	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/admission/verdict"
)

// maxBody is above what an API server can send: an object of 3 MiB, its limit for requests, and its old version.
const maxBody = 8 << 20

// Judge gives the verdict about a Pod (admission/verdict).
type Judge interface {
	// Decide may block for a bounded time. An error means that the verdict could not be found.
	Decide(context.Context, *corev1.Pod) (verdict.Verdict, error)
}

// Validator finds faults of workloads (admission/validation). It must not block.
type Validator interface {
	// Review is asked with the object's namespace, the object and, for an update, what it was before. Faults refuse it.
	Review(namespace string, object, old *validation.Subject) (field.ErrorList, []string)
}

// Parts are what the webhook answers with.
type Parts struct {
	// Judge decides about Pods that are created.
	Judge Judge
	// Validator decides about workloads.
	Validator Validator
	// SchedulerName is what keyed Pods of the default scheduler get; empty leaves them theirs.
	SchedulerName string
	// InCloud lists the Pods that run in the cloud, as far as the watches have seen. It must not block.
	InCloud func() []cache.ObjectName
	// DaemonSetsBurst leaves DaemonSets that tolerate virtual nodes alone: the rule ReasonDaemonSet is switched off.
	DaemonSetsBurst bool
}

// reviewer answers one kind of review.
type reviewer interface {
	// review fails with what is wrong with the request; whatever else goes wrong, it allows the object as it is.
	review(context.Context, *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, outcome, error)
}

// New returns the handler of every path of the registrations. Its metrics are registered with registerer; registering them twice is
// an error.
func New(parts Parts, registerer prometheus.Registerer, logger *slog.Logger) (http.Handler, error) {
	if parts.Judge == nil || parts.Validator == nil || parts.InCloud == nil {
		return nil, errors.New("the webhook needs a judge, a validator and somebody who knows what is in the cloud")
	}
	m, err := newMetrics(registerer)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	for path, r := range map[string]reviewer{
		PodPath:        &podReviewer{judge: parts.Judge, schedulerName: parts.SchedulerName, metrics: m, logger: logger},
		DaemonSetPath:  &daemonSetReviewer{off: parts.DaemonSetsBurst, logger: logger},
		ValidationPath: &workloadReviewer{validator: parts.Validator, logger: logger},
		UninstallPath:  &uninstallReviewer{inCloud: parts.InCloud, logger: logger},
	} {
		mux.Handle("POST "+path, &handler{name: strings.TrimPrefix(path, "/"), reviewer: r, metrics: m, logger: logger})
	}
	return mux, nil
}

// handler reads and writes reviews.
type handler struct {
	name     string
	reviewer reviewer
	metrics  metrics
	logger   *slog.Logger
}

// ServeHTTP answers one AdmissionReview. What is none gets status 400 with words.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	started := time.Now()
	review, err := decode(w, r)
	var response *admissionv1.AdmissionResponse
	var became outcome
	if err == nil {
		response, became, err = h.reviewer.review(r.Context(), review.Request)
	}
	if err != nil {
		h.metrics.observe(h.name, outcomeMalformed, time.Since(started))
		h.logger.Warn("refusing a malformed review", "webhook", h.name, "err", err)
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	response.UID = review.Request.UID
	answer, err := json.Marshal(admissionv1.AdmissionReview{TypeMeta: review.TypeMeta, Response: response})
	if err != nil {
		h.logger.Error("encoding a review", "webhook", h.name, "err", err)
		http.Error(w, "encoding the review: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(answer) // It fails where the API server has gone: nobody is left to be told.
	h.metrics.observe(h.name, became, time.Since(started))
}

// decode reads a review that asks something.
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
		return nil, fmt.Errorf("apiVersion %q, kind %q: must be %s, AdmissionReview", review.APIVersion, review.Kind, admissionv1.SchemeGroupVersion)
	}
	if review.Request == nil || review.Request.UID == "" {
		return nil, errors.New("request.uid: must not be empty")
	}
	return &review, nil
}

// lines makes a warning of each line: they travel as headers, and the API server drops what has a line break.
func lines(text string) []string { return strings.Split(text, "\n") }
