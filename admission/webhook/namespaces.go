package webhook

import (
	"context"
	"fmt"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/policy"
)

// namespaceEntry returns a webhook for Namespaces of which an annotation of Spillway is set or changed, or that get a
// key that may be meant as one.
func namespaceEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.ValidatingWebhook {
	rule := createAndUpdate("", "namespaces")
	rule.Scope = new(admissionregistrationv1.ClusterScope)
	changed := list(append(policy.NamespaceAnnotations(), policy.InheritedAnnotations()...)...) + ".exists(k, " +
		"has(object.metadata.annotations) && k in object.metadata.annotations && " +
		"(oldObject == null || !has(oldObject.metadata.annotations) || !(k in oldObject.metadata.annotations) || " +
		"object.metadata.annotations[k] != oldObject.metadata.annotations[k]))" +
		mistypedNow("annotations") + mistypedNow("labels")
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    "namespaces.spillway.io",
		ClientConfig:            withPath(client, NamespacePath),
		AdmissionReviewVersions: []string{"v1"},
		Rules:                   []admissionregistrationv1.RuleWithOperations{rule},
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		MatchConditions: []admissionregistrationv1.MatchCondition{
			{Name: "settings-changed", Expression: changed},
		},
		MatchPolicy: new(admissionregistrationv1.Equivalent),
		// Malformed settings keep the Pods of the namespace on local nodes.
		FailurePolicy:  new(admissionregistrationv1.Ignore),
		SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds: new(int32(2)),
	}
}

// mistypedNow returns the alternative that an object gets a key that may be mistyped.
func mistypedNow(keys string) string {
	return fmt.Sprintf(" || has(object.metadata.%[1]s) && object.metadata.%[1]s.exists(k, %[2]s && "+
		"(oldObject == null || !has(oldObject.metadata.%[1]s) || !(k in oldObject.metadata.%[1]s)))",
		keys, maybeMistyped)
}

// namespaceReviewer rejects Namespaces with malformed settings. It changes none.
type namespaceReviewer struct {
	validator Validator
	logger    *slog.Logger
}

func (n *namespaceReviewer) review(
	_ context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	if request.Kind.Kind != "Namespace" || request.SubResource != "" {
		return nil, outcomeMalformed, fmt.Errorf("request: %s of %s %s: must be CREATE or UPDATE of a Namespace",
			request.Operation, request.Kind.Kind, request.SubResource)
	}
	var namespace, old corev1.Namespace
	if err := rawjson.Unmarshal(request.Object.Raw, &namespace); err != nil {
		return nil, outcomeMalformed, fmt.Errorf("decoding request.object as a Namespace: %w", err)
	}
	if request.Operation == admissionv1.Update {
		if err := rawjson.Unmarshal(request.OldObject.Raw, &old); err != nil {
			return nil, outcomeMalformed, fmt.Errorf("decoding request.oldObject as a Namespace: %w", err)
		}
	}
	errs, warnings := n.validator.ReviewNamespace(namespace.ObjectMeta, old.ObjectMeta)
	response := &admissionv1.AdmissionResponse{Allowed: len(errs) == 0}
	for _, warning := range warnings {
		response.Warnings = append(response.Warnings, lines(warning)...)
	}
	if response.Allowed {
		return response, outcomeUntouched, nil
	}
	n.logger.Debug("rejected a Namespace", "namespace", request.Name, "err", errs.ToAggregate())
	kind := corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind()
	response.Result = new(apierrors.NewInvalid(kind, request.Name, errs).Status())
	return response, outcomeRefused, nil
}
