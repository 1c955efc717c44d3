package webhook

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/spillway-k8s/spillway/admission/validation"
)

// workloadReviewer rejects workloads with malformed keys. It changes none.
type workloadReviewer struct {
	validator Validator
	logger    *slog.Logger
}

// review returns the errors at once, up to maxErrors, in the form of the API server's own validation errors.
func (w *workloadReviewer) review(
	_ context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	object, old, err := decodeWorkload(request)
	if err != nil {
		return nil, outcomeMalformed, err
	}
	errs, warnings := w.validator.Review(request.Namespace, object, old)
	response := &admissionv1.AdmissionResponse{Allowed: len(errs) == 0}
	for _, warning := range warnings {
		response.Warnings = append(response.Warnings, lines(warning)...)
	}
	if response.Allowed {
		return response, outcomeUntouched, nil
	}
	kind := schema.GroupKind{Group: request.Kind.Group, Kind: request.Kind.Kind}
	more := len(errs) - maxErrors
	if more > 0 {
		errs = errs[:maxErrors]
	}
	response.Result = new(apierrors.NewInvalid(kind, cmp.Or(request.Name, object.Name()), errs).Status())
	if more > 0 {
		response.Result.Message += fmt.Sprintf(" and %d more errors", more)
	}
	w.logger.Debug("rejected a workload", "kind", request.Kind.Kind, "namespace", request.Namespace,
		"name", object.Name(), "err", errs.ToAggregate())
	return response, outcomeRefused, nil
}

// decodeWorkload returns the object of a review, and its previous version if the review is about an update.
func decodeWorkload(request *admissionv1.AdmissionRequest) (object, old *validation.Subject, err error) {
	update := request.Operation == admissionv1.Update
	if (request.Operation != admissionv1.Create && !update) || request.SubResource != "" {
		return nil, nil, fmt.Errorf(
			"request: %s of %s %s: must be CREATE or UPDATE of a workload, as in ValidatingRegistration",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	object, err = validation.Decode(request.Kind.Kind, request.Object.Raw)
	if err != nil {
		return nil, nil, fmt.Errorf("request.object: %w", err)
	}
	if !update {
		return object, nil, nil
	}
	old, err = validation.Decode(request.Kind.Kind, request.OldObject.Raw)
	if err != nil {
		return nil, nil, fmt.Errorf("request.oldObject: %w", err)
	}
	return object, old, nil
}
