package webhook

import (
	"fmt"
	"slices"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Name is the name of both registrations.
const Name = "spillway"

// Where the webhook is served.
const (
	// PodPath prepares Pods that are being created.
	PodPath = "/mutate-pods"
	// ValidationPath refuses workloads with malformed keys.
	ValidationPath = "/validate-workloads"
)

// Registration is how the API server learns of what changes objects: the trial system, the charts and the tests use this one.
// client says where the webhook listens, without a path; objects of the excluded namespaces never come to it (kube-system and
// Spillway's own).
//
// There are two entries for Pods, of which a Pod meets one: in a namespace that enforces bursting every Pod is asked about, elsewhere only
// those that have a key of their own or a workload that may have one. The labels of a workload cannot be seen from here.
func Registration(client admissionregistrationv1.WebhookClientConfig, excluded ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			entry("pods.spillway.io", client, excluded, metav1.LabelSelectorOpNotIn, notPlaced, notDaemonSet, mayHaveKey()),
			entry("enforced-namespaces.spillway.io", client, excluded, metav1.LabelSelectorOpIn, notPlaced, notDaemonSet),
		},
	}
}

// entry is a webhook for the namespaces that enforce bursting (In) or for all others (NotIn).
func entry(name string, client admissionregistrationv1.WebhookClientConfig, excluded []string, enforced metav1.LabelSelectorOperator,
	conditions ...admissionregistrationv1.MatchCondition,
) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchExpressions: append([]metav1.LabelSelectorRequirement{
		{Key: policy.NamespaceEnforceLabel, Operator: enforced, Values: []string{policy.NamespaceEnforceValue}},
	}, except(excluded)...)}
	return admissionregistrationv1.MutatingWebhook{
		Name:                    name,
		ClientConfig:            at(client, PodPath),
		AdmissionReviewVersions: []string{"v1"},
		Rules: []admissionregistrationv1.RuleWithOperations{{
			Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
			Rule: admissionregistrationv1.Rule{
				APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: new(admissionregistrationv1.NamespacedScope),
			},
		}},
		NamespaceSelector: selector,
		ObjectSelector:    &metav1.LabelSelector{},
		MatchConditions:   conditions,
		MatchPolicy:       new(admissionregistrationv1.Equivalent),
		// An outage of ours must not stop a cluster: the controllers put right what was missed.
		FailurePolicy:      new(admissionregistrationv1.Ignore),
		SideEffects:        new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds:     new(int32(2)),
		ReinvocationPolicy: new(admissionregistrationv1.IfNeededReinvocationPolicy),
	}
}

// except is a requirement that keeps the namespaces away, none where there are none.
func except(namespaces []string) []metav1.LabelSelectorRequirement {
	if len(namespaces) == 0 {
		return nil
	}
	return []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: slices.Clone(namespaces)},
	}
}

// at is the client with a path.
func at(client admissionregistrationv1.WebhookClientConfig, path string) admissionregistrationv1.WebhookClientConfig {
	out := *client.DeepCopy()
	if out.URL != nil {
		out.URL = new(*out.URL + path)
	}
	if out.Service != nil {
		out.Service.Path = &path
	}
	return out
}

// What the API server checks before it calls, in CEL. An error in one counts as a call that failed, which is ignored.
var (
	notPlaced = admissionregistrationv1.MatchCondition{
		Name: "no-node-yet", Expression: `!has(object.spec.nodeName) || object.spec.nodeName == ""`,
	}
	notDaemonSet = admissionregistrationv1.MatchCondition{
		Name: "not-of-a-daemonset", Expression: "!(" + controlledBy("object", "DaemonSet") + ")",
	}
)

// mayHaveKey holds for Pods with a burst label or a quota, and for those whose workload may have a burst label.
func mayHaveKey() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "may-have-a-burst-policy", Expression: strings.Join([]string{
		contains("annotations", policy.LocalReplicasAnnotation),
		contains("labels", policy.BurstLabel),
		contains("labels", policy.BurstLabelAlias),
		controlledBy("object", "ReplicaSet", "StatefulSet", "Job"),
	}, " || ")}
}

func contains(field, key string) string {
	return fmt.Sprintf("has(object.metadata.%[1]s) && %[2]q in object.metadata.%[1]s", field, key)
}

// controlledBy holds for objects that a controller of one of the kinds has made.
func controlledBy(object string, kinds ...string) string {
	return fmt.Sprintf("has(%[1]s.metadata.ownerReferences) && %[1]s.metadata.ownerReferences.exists(o, has(o.controller) && o.controller && o.kind in %[2]s)",
		object, list(kinds...))
}

// list is a list of strings in CEL.
func list(words ...string) string {
	quoted := make([]string, 0, len(words))
	for _, word := range words {
		quoted = append(quoted, fmt.Sprintf("%q", word))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
