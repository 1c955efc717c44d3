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

// Path is where the webhook is served.
const Path = "/mutate-pods"

// Registration is how the API server learns of the webhook: the trial system, the charts and the tests use this one. client
// says where the webhook listens; Pods of the excluded namespaces never come to it (kube-system and Spillway's own).
//
// There are two entries, of which a Pod meets one: in a namespace that enforces bursting every Pod is asked about, elsewhere only
// those that have a key of their own or a workload that may have one. The labels of a workload cannot be seen from here.
func Registration(client admissionregistrationv1.WebhookClientConfig, excluded ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: "spillway"},
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
	selector := &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
		{Key: policy.NamespaceEnforceLabel, Operator: enforced, Values: []string{policy.NamespaceEnforceValue}},
	}}
	if len(excluded) > 0 {
		selector.MatchExpressions = append(selector.MatchExpressions, metav1.LabelSelectorRequirement{
			Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: slices.Clone(excluded),
		})
	}
	return admissionregistrationv1.MutatingWebhook{
		Name:                    name,
		ClientConfig:            client,
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

// What the API server checks before it calls, in CEL. An error in one counts as a call that failed, which is ignored.
var (
	notPlaced = admissionregistrationv1.MatchCondition{
		Name: "no-node-yet", Expression: `!has(object.spec.nodeName) || object.spec.nodeName == ""`,
	}
	notDaemonSet = admissionregistrationv1.MatchCondition{
		Name: "not-of-a-daemonset", Expression: "!(" + controlledBy("DaemonSet") + ")",
	}
)

// mayHaveKey holds for Pods with a burst label or a quota, and for those whose workload may have a burst label.
func mayHaveKey() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "may-have-a-burst-policy", Expression: strings.Join([]string{
		contains("annotations", policy.LocalReplicasAnnotation),
		contains("labels", policy.BurstLabel),
		contains("labels", policy.BurstLabelAlias),
		controlledBy("ReplicaSet", "StatefulSet", "Job"),
	}, " || ")}
}

func contains(field, key string) string {
	return fmt.Sprintf("has(object.metadata.%[1]s) && %[2]q in object.metadata.%[1]s", field, key)
}

func controlledBy(kinds ...string) string {
	quoted := make([]string, 0, len(kinds))
	for _, kind := range kinds {
		quoted = append(quoted, fmt.Sprintf("%q", kind))
	}
	return "has(object.metadata.ownerReferences) && object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller && o.kind in [" +
		strings.Join(quoted, ", ") + "])"
}
