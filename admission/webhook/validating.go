package webhook

import (
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// ValidatingRegistration is how the API server learns of what refuses workloads, and the end of Spillway; the parameters are those of Registration.
func ValidatingRegistration(client admissionregistrationv1.WebhookClientConfig, excluded ...string) *admissionregistrationv1.ValidatingWebhookConfiguration {
	return &admissionregistrationv1.ValidatingWebhookConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: "ValidatingWebhookConfiguration",
		},
		ObjectMeta: metav1.ObjectMeta{Name: Name},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name:                    "workloads.spillway.io",
			ClientConfig:            at(client, ValidationPath),
			AdmissionReviewVersions: []string{"v1"},
			Rules: []admissionregistrationv1.RuleWithOperations{
				createAndUpdate("", "pods"),
				createAndUpdate("apps", "replicasets", "deployments", "statefulsets", "daemonsets"),
				createAndUpdate("batch", "jobs", "cronjobs"),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchExpressions: except(excluded)},
			ObjectSelector:    &metav1.LabelSelector{},
			MatchConditions:   []admissionregistrationv1.MatchCondition{notMadeByKubernetes, hasKey()},
			MatchPolicy:       new(admissionregistrationv1.Equivalent),
			// An outage of ours must not stop a cluster: what is malformed stays at home, and says so.
			FailurePolicy:  new(admissionregistrationv1.Ignore),
			SideEffects:    new(admissionregistrationv1.SideEffectClassNone),
			TimeoutSeconds: new(int32(2)),
		}, uninstallEntry(client)},
	}
}

func createAndUpdate(group string, resources ...string) admissionregistrationv1.RuleWithOperations {
	return admissionregistrationv1.RuleWithOperations{
		Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create, admissionregistrationv1.Update},
		Rule: admissionregistrationv1.Rule{
			APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: resources, Scope: new(admissionregistrationv1.NamespacedScope),
		},
	}
}

// notMadeByKubernetes leaves out what Kubernetes makes of a template that was seen before.
var notMadeByKubernetes = admissionregistrationv1.MatchCondition{
	Name: "not-made-of-a-template", Expression: "!(" + controlledBy("object", kubernetesControllers...) + ")",
}

// hasKey holds for objects with a key of ours on them, on their Pods' template or, for a CronJob, on its Jobs; a key that is a label may
// stand among the annotations by mistake, and the other way round. What the object was
// before an update does not matter: who takes a key off does nothing wrong.
func hasKey() admissionregistrationv1.MatchCondition {
	const places = `([object]` +
		` + (has(object.spec.template) ? [object.spec.template] : [])` +
		` + (has(object.spec.jobTemplate) ? [object.spec.jobTemplate, object.spec.jobTemplate.spec.template] : []))`
	keys := list(policy.LocalReplicasAnnotation, policy.SwitchKey, policy.HostPathReplacementAnnotation, policy.BurstLabel, policy.BurstLabelAlias)
	return admissionregistrationv1.MatchCondition{Name: "has-a-key", Expression: fmt.Sprintf(
		"%s.exists(p, has(p.metadata) && (has(p.metadata.annotations) && %[2]s.exists(k, k in p.metadata.annotations) ||"+
			" has(p.metadata.labels) && %[2]s.exists(k, k in p.metadata.labels)))", places, keys)}
}
