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
				notPlaced, notDaemonSet, mayBeManaged()),
			podEntry("enforced-namespaces.spillway.io", client, excluded, metav1.LabelSelectorOpIn,
				notPlaced, notDaemonSet),
			systemEntry(client),
			daemonSetEntry(client, excluded),
		},
	}
}

// podEntry returns a webhook for the namespaces that enforce bursting (In) or for all others (NotIn).
func podEntry(
	name string, client admissionregistrationv1.WebhookClientConfig, excluded []string,
	enforced metav1.LabelSelectorOperator, conditions ...admissionregistrationv1.MatchCondition,
) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchExpressions: append([]metav1.LabelSelectorRequirement{
		{Key: policy.NamespaceEnforceLabel, Operator: enforced, Values: []string{policy.NamespaceEnforceValue}},
	}, except(excluded)...)}
	return mutating(name, withPath(client, PodPath), createPods(), selector, conditions...)
}

// systemEntry returns a webhook for the Pods in kube-system that the scheduler could bind to a virtual node, where they
// never run.
func systemEntry(client admissionregistrationv1.WebhookClientConfig) admissionregistrationv1.MutatingWebhook {
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem}}
	reaches := admissionregistrationv1.MatchCondition{
		Name: "tolerates-virtual-nodes", Expression: tolerates("object.spec"),
	}
	return mutating("system-pods.spillway.io", withPath(client, PodPath), createPods(), selector,
		notPlaced, notDaemonSet, reaches)
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
		selector, templateChanged, reachesVirtualNodes())
}

// mutating returns a mutating webhook with what all entries have in common.
func mutating(
	name string, client admissionregistrationv1.WebhookClientConfig, rule admissionregistrationv1.RuleWithOperations,
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

// The API server evaluates these conditions, in CEL, before it calls the webhook. An error in one counts as a failed
// call, which the failure policy ignores.
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

// mayBeManaged matches Pods with a burst label or shares, Pods of a controller, which may have them itself, and Pods
// that tolerate virtual nodes without any key. Pods with copies of annotations may be copies of a Pod of a controller.
//
// A Pod without any of these in a namespace with shares is not matched: a condition cannot read the Namespace, and each
// Pod of every CI system would cost a request. It has no other replicas. Controller toleration keeps it on local nodes
// if the shares need the extender.
func mayBeManaged() admissionregistrationv1.MatchCondition {
	return admissionregistrationv1.MatchCondition{Name: "may-have-a-burst-policy", Expression: strings.Join([]string{
		"has(object.metadata.annotations) && " +
			list(append(policy.ShareAnnotations(), policy.InheritedAnnotation)...) +
			".exists(k, k in object.metadata.annotations)",
		contains("labels", policy.BurstLabel),
		contains("labels", policy.BurstLabelAlias),
		"has(object.metadata.ownerReferences) && " +
			"object.metadata.ownerReferences.exists(o, has(o.controller) && o.controller)",
		tolerates("object.spec"),
	}, " || ")}
}

// reachesVirtualNodes matches DaemonSets whose Pods tolerate virtual nodes and have no node affinity against them.
func reachesVirtualNodes() admissionregistrationv1.MatchCondition {
	const spec = "object.spec.template.spec"
	const required = spec + ".affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution"
	against := fmt.Sprintf("has(%[1]s.affinity) && has(%[1]s.affinity.nodeAffinity) && has(%[2]s)"+
		" && %[2]s.nodeSelectorTerms.all(t, has(t.matchExpressions) &&"+
		` t.matchExpressions.exists(e, e.key == %[3]q && e.operator == "NotIn" && has(e.values) && %[4]q in e.values))`,
		spec, required, policy.NodeTypeLabel, policy.NodeTypeVirtual)
	return admissionregistrationv1.MatchCondition{
		Name: "reaches-virtual-nodes", Expression: tolerates(spec) + " && !(" + against + ")",
	}
}

// tolerates matches Pods that may tolerate the taint of virtual nodes. The exact check is policy.ToleratesProvider.
func tolerates(spec string) string {
	return fmt.Sprintf("has(%[1]s.tolerations) && %[1]s.tolerations.exists(t, "+
		"(!has(t.key) || t.key in %[2]s) && (!has(t.effect) || t.effect in %[3]s))",
		spec, list("", policy.ProviderTaintKey), list("", string(corev1.TaintEffectNoSchedule)))
}

func contains(field, key string) string {
	return fmt.Sprintf("has(object.metadata.%[1]s) && %[2]q in object.metadata.%[1]s", field, key)
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
