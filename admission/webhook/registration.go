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
	// DaemonSetPath keeps DaemonSets off virtual nodes.
	DaemonSetPath = "/mutate-daemonsets"
	// ValidationPath refuses workloads with malformed keys.
	ValidationPath = "/validate-workloads"
	// UninstallPath refuses to let Spillway go while Pods run in the cloud.
	UninstallPath = "/guard-uninstall"
)

// Registration is how the API server learns of what changes objects: the trial system, the charts and the tests use this one.
// client says where the webhook listens, without a path; objects of the excluded namespaces (kube-system and Spillway's own) never come
// to it, but for what tolerates virtual nodes in kube-system.
//
// There are three entries for Pods, of which a Pod meets one: in a namespace that enforces bursting every Pod is asked about, elsewhere only
// those that have a key of their own or a workload that may have one, or that tolerate virtual nodes by themselves, and in kube-system only
// the last of these: nothing else would keep them off. The labels of a workload cannot be seen from here.
//
// The entry for DaemonSets includes kube-system too: those that tolerate every taint live there.
func Registration(client admissionregistrationv1.WebhookClientConfig, excluded ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			entry("pods.spillway.io", client, excluded, metav1.LabelSelectorOpNotIn, notPlaced, notDaemonSet, mayHaveKey()),
			entry("enforced-namespaces.spillway.io", client, excluded, metav1.LabelSelectorOpIn, notPlaced, notDaemonSet),
			systemEntry(client),
			daemonSetEntry(client, excluded),
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
	return mutating(name, at(client, PodPath), createPods(), selector, conditions...)
}

// systemEntry is a webhook for those Pods of kube-system that could be bound to a virtual node, where they never run.
func systemEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}}
	reach := admissionregistrationv1.MatchCondition{Name: "tolerates-virtual-nodes", Expression: tolerates("object.spec")}
	return mutating("system-pods.spillway.io", at(client, PodPath), createPods(), selector, notPlaced, notDaemonSet, reach)
}

func createPods() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}, Scope: new(admissionregistrationv1.NamespacedScope),
		},
	}
}

// daemonSetEntry is a webhook for DaemonSets that would make Pods for virtual nodes.
func daemonSetEntry(client admissionregistrationv1.WebhookClientConfig, excluded []string) admissionregistrationv1.MutatingWebhook {
	excluded = slices.DeleteFunc(slices.Clone(excluded), func(namespace string) bool { return namespace == metav1.NamespaceSystem })
	selector := &metav1.LabelSelector{MatchExpressions: except(excluded)}
	return mutating("daemonsets.spillway.io", at(client, DaemonSetPath), createAndUpdate("apps", "daemonsets"), selector,
		templateChanged, reachesVirtualNodes())
}

// mutating is what all entries have in common.
func mutating(name string, client admissionregistrationv1.WebhookClientConfig, rule admissionregistrationv1.RuleWithOperations,
	namespaces *metav1.LabelSelector, conditions ...admissionregistrationv1.MatchCondition,
) admissionregistrationv1.MutatingWebhook {
	return admissionregistrationv1.MutatingWebhook{
		Name:                    name,
		ClientConfig:            client,
		AdmissionReviewVersions: []string{"v1"},
		Rules:                   []admissionregistrationv1.RuleWithOperations{rule},
		NamespaceSelector:       namespaces,
		ObjectSelector:          &metav1.LabelSelector{},
		MatchConditions:         conditions,
		MatchPolicy:             new(admissionregistrationv1.Equivalent),
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
	templateChanged = admissionregistrationv1.MatchCondition{
		Name: "template-changed", Expression: "oldObject == null || object.spec.template != oldObject.spec.template",
	}
)

// mayHaveKey holds for Pods with a burst label or a quota, for those whose workload may have a burst label, and for those that
// virtual nodes would take without any.
func mayHaveKey() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "may-have-a-burst-policy", Expression: strings.Join([]string{
		contains("annotations", policy.LocalReplicasAnnotation),
		contains("labels", policy.BurstLabel),
		contains("labels", policy.BurstLabelAlias),
		controlledBy("object", "ReplicaSet", "StatefulSet", "Job"),
		tolerates("object.spec"),
	}, " || ")}
}

// reachesVirtualNodes holds for DaemonSets whose Pods tolerate virtual nodes and have no node affinity against them.
func reachesVirtualNodes() admissionregistrationv1.MatchCondition {
	const spec = "object.spec.template.spec"
	against := fmt.Sprintf("has(%[1]s.affinity) && has(%[1]s.affinity.nodeAffinity) && has(%[1]s.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution)"+
		" && %[1]s.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms.all(t, has(t.matchExpressions) &&"+
		` t.matchExpressions.exists(e, e.key == %[2]q && e.operator == "NotIn" && has(e.values) && %[3]q in e.values))`,
		spec, policy.NodeTypeLabel, policy.NodeTypeVirtual)
	return admissionregistrationv1.MatchCondition{Name: "reaches-virtual-nodes", Expression: tolerates(spec) + " && !(" + against + ")"}
}

// tolerates holds for Pods that may tolerate the taint of virtual nodes: policy.ToleratesProvider looks closer.
func tolerates(spec string) string {
	return fmt.Sprintf("has(%[1]s.tolerations) && %[1]s.tolerations.exists(t, (!has(t.key) || t.key in %[2]s) && (!has(t.effect) || t.effect in %[3]s))",
		spec, list("", policy.ProviderTaintKey), list("", string(corev1.TaintEffectNoSchedule)))
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
