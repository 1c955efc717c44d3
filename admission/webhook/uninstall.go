package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// farewell is the key of the guard's data with what is said when it is let go: who cleans up, and what to do if that fails.
const farewell = "farewell"

// mostNamed is how many Pods a refusal names.
const mostNamed = 3

// uninstallEntry is asked about the deletion of one ConfigMap, the guard, with which helm uninstall begins (charts/spillway). Unlike a Job it
// needs no node, image or key, and what it refuses changes nothing: not even Helm's record of the release.
func uninstallEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.ValidatingWebhook {
	return admissionregistrationv1.ValidatingWebhook{
		Name:                    "uninstall.spillway.io",
		ClientConfig:            at(client, UninstallPath),
		AdmissionReviewVersions: []string{"v1"},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Delete},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}, Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}},
		NamespaceSelector: &metav1.LabelSelector{},
		ObjectSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: policy.UninstallLabel, Operator: metav1.LabelSelectorOpExists},
		}},
		MatchPolicy: new(admissionregistrationv1.Equivalent),
		// Who wants to be rid of a broken Spillway must not be held by it.
		FailurePolicy:  new(admissionregistrationv1.Ignore),
		SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds: new(int32(2)),
	}
}

// uninstallReviewer refuses the deletion of the guard while Pods run in the cloud. It changes nothing.
type uninstallReviewer struct {
	inCloud func() []cache.ObjectName
	logger  *slog.Logger
}

// review says how many Pods run, and what to do about it.
func (u *uninstallReviewer) review(_ context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, outcome, error) {
	var guard corev1.ConfigMap
	if request.Operation != admissionv1.Delete || request.Resource.Resource != "configmaps" {
		return nil, outcomeMalformed, fmt.Errorf("request: %s of %s: must be DELETE of configmaps, as ValidatingRegistration says",
			request.Operation, request.Resource.Resource)
	}
	if err := json.Unmarshal(request.OldObject.Raw, &guard); err != nil {
		return nil, outcomeMalformed, fmt.Errorf("request.oldObject: decoding a ConfigMap: %w", err)
	}
	running := u.inCloud()
	if len(running) == 0 || guard.Labels[policy.UninstallLabel] == policy.UninstallForced {
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: said(guard.Data[farewell])}, outcomeUntouched, nil
	}
	u.logger.Info("refused to let Spillway be uninstalled", "podsInCloud", len(running))
	return &admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusForbidden, Reason: metav1.StatusReasonForbidden, Message: stillRunning(running, request),
	}}, outcomeRefused, nil
}

func stillRunning(running []cache.ObjectName, request *admissionv1.AdmissionRequest) string {
	var names []string
	for _, name := range running[:min(len(running), mostNamed)] {
		names = append(names, name.String())
	}
	such := strings.Join(names, ", ")
	if len(running) > mostNamed {
		such += ", …"
	}
	return fmt.Sprintf("%d Pods run in the cloud (%s). Drain the virtual nodes first, or have these Pods ended: "+
		"kubectl --namespace %s label --overwrite configmap %s %s=%s", len(running), such, request.Namespace, request.Name,
		policy.UninstallLabel, policy.UninstallForced)
}

// said are the warnings that a text makes, none for an empty one.
func said(text string) []string {
	return slices.DeleteFunc(lines(strings.TrimSpace(text)), func(line string) bool { return line == "" })
}
