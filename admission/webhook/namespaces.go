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
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/policy"
)

// namespaceEntry returns a webhook for Namespaces whose limits are set or changed. A change of anything else in a
// Namespace with malformed limits is not rejected.
func namespaceEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.ValidatingWebhook {
	rule := createAndUpdate("", "namespaces")
	rule.Scope = new(admissionregistrationv1.ClusterScope)
	changed := fmt.Sprintf("has(object.metadata.annotations) && %[1]q in object.metadata.annotations && "+
		"(oldObject == null || !has(oldObject.metadata.annotations) || !(%[1]q in oldObject.metadata.annotations) || "+
		"object.metadata.annotations[%[1]q] != oldObject.metadata.annotations[%[1]q])", policy.CloudLimitsAnnotation)
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    "namespaces.spillway.io",
		ClientConfig:            withPath(client, NamespacePath),
		AdmissionReviewVersions: []string{"v1"},
		Rules:                   []admissionregistrationv1.RuleWithOperations{rule},
		NamespaceSelector:       &metav1.LabelSelector{},
		ObjectSelector:          &metav1.LabelSelector{},
		MatchConditions: []admissionregistrationv1.MatchCondition{
			{Name: "limits-changed", Expression: changed},
		},
		MatchPolicy: new(admissionregistrationv1.Equivalent),
		// Malformed limits keep the Pods of the namespace on local nodes.
		FailurePolicy:  new(admissionregistrationv1.Ignore),
		SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds: new(int32(2)),
	}
}

// namespaceReviewer rejects Namespaces with malformed limits. It changes none.
type namespaceReviewer struct{ logger *slog.Logger }

func (n *namespaceReviewer) review(
	_ context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	if request.Kind.Kind != "Namespace" || request.SubResource != "" {
		return nil, outcomeMalformed, fmt.Errorf("request: %s of %s %s: must be CREATE or UPDATE of a Namespace",
			request.Operation, request.Kind.Kind, request.SubResource)
	}
	var namespace corev1.Namespace
	if err := rawjson.Unmarshal(request.Object.Raw, &namespace); err != nil {
		return nil, outcomeMalformed, fmt.Errorf("decoding request.object as a Namespace: %w", err)
	}
	text := namespace.Annotations[policy.CloudLimitsAnnotation]
	_, err := policy.ParseCloudLimits(text)
	if err == nil {
		return &admissionv1.AdmissionResponse{Allowed: true}, outcomeUntouched, nil
	}
	n.logger.Debug("rejected a Namespace", "name", request.Name, "err", err)
	path := field.NewPath("metadata", "annotations").Key(policy.CloudLimitsAnnotation)
	errs := field.ErrorList{field.Invalid(path, fmt.Sprintf("%.200s", text), policy.LimitsRight)}
	kind := corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind()
	return &admissionv1.AdmissionResponse{
		Result: new(apierrors.NewInvalid(kind, request.Name, errs).Status()),
	}, outcomeRefused, nil
}
