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

// Name is the name of both webhook configurations.
const Name = "spillway"

// The paths of the webhook.
const (
	// PodPath prepares Pods at creation.
	PodPath = "/mutate-pods"
	// DaemonSetPath keeps DaemonSets off virtual nodes.
	DaemonSetPath = "/mutate-daemonsets"
	// ValidationPath rejects workloads with malformed keys.
	ValidationPath = "/validate-workloads"
	// NamespacePath rejects Namespaces with malformed limits.
	NamespacePath = "/validate-namespaces"
	// UninstallPath rejects the uninstallation of Spillway while Pods run in the cloud.
	UninstallPath = "/guard-uninstall"
)

// Registration returns the webhook configuration of what changes objects. The trial system, the charts and the tests
// use it. client is the address of the webhook without a path. The API server does not call the webhook for objects
// in the excluded namespaces (kube-system and the namespace of Spillway), except for Pods in kube-system that
// tolerate virtual nodes.
//
// There are three entries for Pods, of which at most one matches a Pod. In a namespace that enforces bursting, the
// entry matches every Pod. In other namespaces, it matches Pods that have a key, Pods of a controller, which may have
// one itself or through its own controller (a match condition cannot read their labels), and Pods that tolerate virtual
// nodes. In kube-system it matches only Pods that tolerate virtual nodes: nothing else keeps them off.
//
// The entry for DaemonSets includes kube-system, because most DaemonSets that tolerate every taint are there.
func Registration(
	client admissionregistrationv1.WebhookClientConfig, excluded ...string,
) *admissionregistrationv1.MutatingWebhookConfiguration {
	return &admissionregistrationv1.MutatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "MutatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Webhooks: []admissionregistrationv1.MutatingWebhook{
			podEntry("pods.spillway.io", client, excluded, metav1.LabelSelectorOpNotIn,
				every("may-have-a-burst-policy", schedulable, mayBeManaged())),
			podEntry("enforced-namespaces.spillway.io", client, excluded, metav1.LabelSelectorOpIn,
				every("schedulable", schedulable)),
			systemEntry(client),
			daemonSetEntry(client, excluded),
		},
	}
}

// podEntry returns a webhook for the namespaces that enforce bursting (In) or for all others (NotIn).
func podEntry(
	name string, client admissionregistrationv1.WebhookClientConfig, excluded []string,
	enforced metav1.LabelSelectorOperator, condition admissionregistrationv1.MatchCondition,
) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchExpressions: append([]metav1.LabelSelectorRequirement{
		{Key: policy.NamespaceEnforceLabel, Operator: enforced, Values: []string{policy.NamespaceEnforceValue}},
	}, except(excluded)...)}
	return mutating(name, withPath(client, PodPath), createPods(), selector, condition)
}

// systemEntry returns a webhook for the Pods in kube-system that the scheduler could bind to a virtual node, where they
// never run.
func systemEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}}
	return mutating("system-pods.spillway.io", withPath(client, PodPath), createPods(), selector,
		every("tolerates-virtual-nodes", tolerates("object.spec"), schedulable))
}

func createPods() admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"},
			Scope: new(admissionregistrationv1.NamespacedScope),
		},
	}
}

// daemonSetEntry returns a webhook for DaemonSets whose controller would create Pods for virtual nodes.
func daemonSetEntry(
	client admissionregistrationv1.WebhookClientConfig, excluded []string,
) admissionregistrationv1.MutatingWebhook {
	excluded = slices.DeleteFunc(slices.Clone(excluded),
		func(namespace string) bool { return namespace == metav1.NamespaceSystem })
	selector := &metav1.LabelSelector{MatchExpressions: except(excluded)}
	return mutating("daemonsets.spillway.io", withPath(client, DaemonSetPath), createAndUpdate("apps", "daemonsets"),
		selector, every("reaches-virtual-nodes", reachesVirtualNodes(), templateChanged))
}

// mutating returns a mutating webhook with what all entries have in common.
func mutating(
	name string, client admissionregistrationv1.WebhookClientConfig, rule admissionregistrationv1.RuleWithOperations,
	namespaces *metav1.LabelSelector, condition admissionregistrationv1.MatchCondition,
) admissionregistrationv1.MutatingWebhook {
	return admissionregistrationv1.MutatingWebhook{
		Name:                    name,
		ClientConfig:            client,
		AdmissionReviewVersions: []string{"v1"},
		Rules:                   []admissionregistrationv1.RuleWithOperations{rule},
		NamespaceSelector:       namespaces,
		ObjectSelector:          &metav1.LabelSelector{},
		MatchConditions:         []admissionregistrationv1.MatchCondition{condition},
		MatchPolicy:             new(admissionregistrationv1.Equivalent),
		// An outage of admission must not stop the cluster. The controllers repair what the webhook missed.
		FailurePolicy:      new(admissionregistrationv1.Ignore),
		SideEffects:        new(admissionregistrationv1.SideEffectClassNone),
		TimeoutSeconds:     new(int32(2)),
		ReinvocationPolicy: new(admissionregistrationv1.IfNeededReinvocationPolicy),
	}
}

// except returns a requirement that excludes the namespaces, nil if there are none.
func except(namespaces []string) []metav1.LabelSelectorRequirement {
	if len(namespaces) == 0 {
		return nil
	}
	return []metav1.LabelSelectorRequirement{
		{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: slices.Clone(namespaces)},
	}
}

// withPath returns the client with a path.
func withPath(
	client admissionregistrationv1.WebhookClientConfig, path string,
) admissionregistrationv1.WebhookClientConfig {
	out := *client.DeepCopy()
	if out.URL != nil {
		out.URL = new(*out.URL + path)
	}
	if out.Service != nil {
		out.Service.Path = &path
	}
	return out
}

// every returns one match condition of expressions that must all hold. The API server evaluates every condition of a
// webhook, also after one that does not hold, and of an expression no more than it needs: the cheapest and the most
// selective come first. An error counts as a failed call, which the failure policy ignores.
func every(name string, expressions ...string) admissionregistrationv1.MatchCondition {
	joined := expressions[0]
	if len(expressions) > 1 {
		joined = "(" + strings.Join(expressions, ") && (") + ")"
	}
	return admissionregistrationv1.MatchCondition{Name: name, Expression: joined}
}

// schedulable matches Pods that isSchedulable reports.
var schedulable = `(!has(object.spec.nodeName) || object.spec.nodeName == "") && !(` +
	controlledBy("object", "DaemonSet") + ")"

// templateChanged matches updates that change the template, and creations.
const templateChanged = "oldObject == null || object.spec.template != oldObject.spec.template"

// mayBeManaged matches Pods with a burst label or shares, Pods of a controller, which may have them itself, and Pods
// that tolerate virtual nodes without any key. Pods with copies of annotations may be copies of a Pod of a controller.
//
// A Pod without any of these in a namespace with shares is not matched: a condition cannot read the Namespace, and each
// Pod of every CI system would cost a request. It has no other replicas. Controller toleration keeps it on local nodes
// if the shares need the extender.
func mayBeManaged() string {
	return strings.Join([]string{
		"has(object.metadata.ownerReferences) && " +
			"object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller)",
		"has(object.metadata.labels) && " +
			containsOne("object.metadata.labels", policy.BurstLabel, policy.BurstLabelAlias),
		"has(object.metadata.annotations) && " + containsOne("object.metadata.annotations",
			append(policy.ShareAnnotations(), policy.InheritedAnnotation)...),
		tolerates("object.spec"),
	}, " || ")
}

// reachesVirtualNodes matches DaemonSets whose Pods tolerate virtual nodes and have no node affinity against them.
func reachesVirtualNodes() string {
	const spec = "object.spec.template.spec"
	const required = spec + ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
	against := fmt.Sprintf("has(%[1]s.affinity) && has(%[1]s.affinity.nodeAffinity) && has(%[2]s)"+
		" && %[2]s.nodeSelectorTerms.all(t, has(t.matchExpressions) &&"+
		` t.matchExpressions.exists(e, e.key == %[3]q && e.operator == "NotIn" && has(e.values) && %[4]q in e.values))`,
		spec, required, policy.NodeTypeLabel, policy.NodeTypeVirtual)
	return tolerates(spec) + " && !(" + against + ")"
}

// tolerates matches Pods that may tolerate the taint of virtual nodes. The exact check is policy.ToleratesProvider.
func tolerates(spec string) string {
	return fmt.Sprintf("has(%[1]s.tolerations) && %[1]s.tolerations.exists(t, "+
		"(!has(t.key) || t.key in %[2]s) && (!has(t.effect) || t.effect in %[3]s))",
		spec, list("", policy.ProviderTaintKey), list("", string(corev1.TaintEffectNoSchedule)))
}

// containsOne matches a map that has one of the keys. To look up each takes half as long as a macro over a list of
// them, and does not depend on how many keys the map has, which users decide.
func containsOne(in string, keys ...string) string {
	tests := make([]string, 0, len(keys))
	for _, key := range keys {
		tests = append(tests, fmt.Sprintf("%q in %s", key, in))
	}
	return "(" + strings.Join(tests, " || ") + ")"
}

// controlledBy matches objects that a controller of one of the kinds created.
func controlledBy(object string, kinds ...string) string {
	return fmt.Sprintf("has(%[1]s.metadata.ownerReferences) && %[1]s.metadata.ownerReferences.exists(o, "+
		"has(o.controller) && o.controller && o.kind in %[2]s)", object, list(kinds...))
}

// list returns a list of strings in CEL.
func list(values ...string) string {
	quoted := make([]string, 0, len(values))
	for _, value := range values {
		quoted = append(quoted, fmt.Sprintf("%q", value))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}
