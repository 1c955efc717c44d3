package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/policy"
)

// noticeKey is the key of the uninstall notice in the data of the guard: who cleans up, and what to do if that fails.
const noticeKey = "notice"

// GuardName is the name of the guard in the namespace of the release (charts/spillway).
const GuardName = "spillway-uninstall-guard"

// uninstallEntry returns a webhook for the deletion of one ConfigMap, the guard, with which helm uninstall begins.
// Unlike a Job, the webhook needs no node, image or credentials, and a rejection changes nothing, not even the release
// that Helm has stored. No other ConfigMap is reviewed, whatever its labels: anyone can set them.
func uninstallEntry(
	client admissionregistrationv1.WebhookClientConfig, namespace string,
) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    "uninstall.spillway.io",
		ClientConfig:            withPath(client, UninstallPath),
		AdmissionReviewVersions: []string{"v1"},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"},
				Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}},
		NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
		ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: policy.UninstallLabel, Operator: metav1.LabelSelectorOpExists},
		}},
		// A request that deletes a collection has no name.
		MatchConditions: []admissionregistrationv1.MatchCondition{{
			Name: "is-the-guard", Expression: fmt.Sprintf("oldObject.metadata.name == %q", GuardName),
		}},
		MatchPolicy: new(admissionregistrationv1.Equivalent),
		// A broken Spillway must not prevent its own uninstallation.
		FailurePolicy:  new(admissionregistrationv1.Ignore),
		SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds: new(int32(2)),
	}
}

// uninstallReviewer rejects the deletion of the guard while Pods run in the cloud. It changes nothing.
type uninstallReviewer struct {
	inCloud func() int
	guard   types.NamespacedName
	logger  *slog.Logger
}

// review rejects the deletion with the number of Pods and what to do about them, or allows it with the uninstall
// notice.
func (u *uninstallReviewer) review(
	_ context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	var guard corev1.ConfigMap
	if request.Operation != admissionv1.Delete || request.Resource.Resource != "configmaps" {
		return nil, outcomeMalformed, fmt.Errorf(
			"request: %s of %s: must be DELETE of configmaps, as in ValidatingRegistration",
			request.Operation, request.Resource.Resource)
	}
	if err := rawjson.Unmarshal(request.OldObject.Raw, &guard); err != nil {
		return nil, outcomeMalformed, fmt.Errorf("request.oldObject: decoding a ConfigMap: %w", err)
	}
	if request.Namespace != u.guard.Namespace || guard.Name != u.guard.Name {
		return &admissionv1.AdmissionResponse{Allowed: true}, outcomeUntouched, nil
	}
	running := u.inCloud()
	if running == 0 || guard.Labels[policy.UninstallLabel] == policy.UninstallForced {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: notice(&guard)}, outcomeUntouched, nil
	}
	u.logger.Info("rejected the uninstallation of Spillway", "pods", running)
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden,
		Message: u.rejection(running),
	}}, outcomeRefused, nil
}

// rejection returns the message of a rejection. It does not name the Pods: who may delete a ConfigMap may not
// necessarily read the Pods of others.
func (u *uninstallReviewer) rejection(running int) string {
	return fmt.Sprintf("%d Pods run in the cloud. Drain the virtual nodes first, or let the uninstallation delete these "+
		"Pods: kubectl --namespace %s label --overwrite configmap %s %s=%s",
		running, u.guard.Namespace, u.guard.Name, policy.UninstallLabel, policy.UninstallForced)
}

// notice returns the uninstall notice as warnings, one for each line that is not empty.
func notice(guard *corev1.ConfigMap) []string {
	text := strings.TrimSpace(guard.Data[noticeKey])
	return slices.DeleteFunc(lines(text), func(line string) bool { return line == "" })
}
