package webhook

import (
	"fmt"
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// ValidatingRegistration returns the webhook configuration of what rejects workloads, limits of Namespaces, and the
// uninstallation of Spillway. namespace is that of the release. The other parameters are those of Registration.
func ValidatingRegistration(
	client admissionregistrationv1.WebhookClientConfig, namespace string, excluded ...string,
) *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "workloads.spillway.io",
			ClientConfig:            withPath(client, ValidationPath),
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{
				createAndUpdate("", "pods", "replicationcontrollers"),
				createAndUpdate("apps", "replicasets", "deployments", "statefulsets", "daemonsets"),
				createAndUpdate("batch", "jobs", "cronjobs"),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: except(excluded)},
			ObjectSelector:    &metav1.LabelSelector{},
			MatchConditions: []admissionregistrationv1.MatchCondition{
				every("has-a-key", notMadeByKubernetes, hasKey()),
			},
			MatchPolicy: new(admissionregistrationv1.Equivalent),
			// An outage of admission must not stop the cluster. A Pod with a malformed key stays on local nodes and
			// gets an Event.
			FailurePolicy:  new(admissionregistrationv1.Ignore),
			SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(2)),
		}, namespaceEntry(client), uninstallEntry(client, namespace)},
	}
}

func createAndUpdate(group string, resources ...string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{
			admissionregistrationv1.Create, admissionregistrationv1.Update,
		},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources,
			Scope: new(admissionregistrationv1.NamespacedScope),
		},
	}
}

// notMadeByKubernetes excludes what Kubernetes creates from a template that has been validated already.
var notMadeByKubernetes = "!(" + controlledBy("object", kubernetesControllers...) + ")"

// hasKey matches objects with a key of Spillway, or one that may be meant as such, in their metadata, in their Pod
// template or, for a CronJob, in its Job template. It searches labels and annotations for every key, because users mix
// them up. It ignores the previous version of the object: removing a key is always right.
//
// It looks at every key of the object only if the object has none of Spillway's.
func hasKey() string {
	const places = `([object]` +
		` + (has(object.spec.template) ? [object.spec.template] : [])` +
		` + (has(object.spec.jobTemplate) ? [object.spec.jobTemplate, object.spec.jobTemplate.spec.template] : []))`
	anywhere := func(test func(keys string) string) string {
		const annotations, labels = "p.metadata.annotations", "p.metadata.labels"
		return fmt.Sprintf("%s.exists(p, has(p.metadata) && (has(%s) && %s || has(%s) && %s))", places,
			annotations, test(annotations), labels, test(labels))
	}
	known := slices.Concat(policy.PodAnnotations(), policy.NamespaceAnnotations(),
		[]string{policy.BurstLabel, policy.BurstLabelAlias})
	return anywhere(func(keys string) string { return containsOne(keys, known...) }) + " || " +
		anywhere(func(keys string) string { return keys + ".exists(k, " + maybeMistyped + ")" })
}

// maybeMistyped is the expression that key k may be meant as a key of Spillway. The annotations that programs set on
// Pods are left out, so that their updates need no review.
var maybeMistyped = fmt.Sprintf("k.matches(%q) && !(k in %s)", policy.MaybeMistyped,
	list(policy.WrittenAnnotations()...))
