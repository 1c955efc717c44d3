package webhook

import (
	"fmt"
	"maps"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"

	"github.com/spillway-k8s/spillway/policy"
)

// conditions are the match conditions of a webhook, as the API server compiles them.
type conditions struct{ matcher matchconditions.Matcher }

// conditionsOf returns the conditions of the webhook with a name.
func conditionsOf(t testing.TB, name string) conditions {
	t.Helper()
	client := admissionregistrationv1.WebhookClientConfig{URL: new("https://admission.example")}
	found := map[string][]admissionregistrationv1.MatchCondition{}
	for _, w := range Registration(client, metav1.NamespaceSystem).Webhooks {
		found[w.Name] = w.MatchConditions
	}
	for _, w := range ValidatingRegistration(client, "spillway-system").Webhooks {
		found[w.Name] = w.MatchConditions
	}
	require.Contains(t, found, name)
	var accessors []cel.ExpressionAccessor
	for _, condition := range found[name] {
		accessors = append(accessors, (*matchconditions.MatchCondition)(&condition))
	}
	evaluator := cel.NewConditionCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion())).
		CompileCondition(
			accessors, cel.OptionalVariableDeclarations{HasAuthorizer: true}, environment.StoredExpressions)
	require.Empty(t, evaluator.CompilationErrors())
	return conditions{matchconditions.NewMatcher(evaluator, new(admissionregistrationv1.Fail), "webhook", "test", name)}
}

// match reports whether the API server calls the webhook for the creation of an object.
func (c conditions) match(t testing.TB, object runtime.Object) bool {
	t.Helper()
	return c.matchUpdate(t, nil, object)
}

func (c conditions) matchUpdate(t testing.TB, old, object runtime.Object) bool {
	t.Helper()
	operation := admission.Create
	if old != nil {
		operation = admission.Update
	}
	gvk := object.GetObjectKind().GroupVersionKind()
	attributes := &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(object, old, gvk, "shop", "web",
			gvk.GroupVersion().WithResource("any"), "", operation, nil, false, &user.DefaultInfo{Name: "alice"}),
		VersionedKind: gvk, VersionedObject: admission.NewLazyObject(object),
		VersionedOldObject: admission.NewLazyObject(old),
	}
	result := c.matcher.Match(t.Context(), attributes, nil, nil)
	require.NoError(t, result.Error)
	return result.Matches
}

// podWith returns a usual Pod, of a controller unless kind is empty.
func podWith(kind string, change func(*corev1.Pod)) *corev1.Pod {
	pod := usualPod(metav1.ObjectMeta{Annotations: map[string]string{"prometheus.io/scrape": "true"}})
	pod.OwnerReferences = nil
	if kind != "" {
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: "web", Controller: new(true)}}
	}
	if change != nil {
		change(pod)
	}
	return pod
}

func TestTheMutatingWebhookIsCalledForPodsThatMayBeManaged(t *testing.T) {
	annotated := func(key string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Annotations[key] = "1" }
	}
	labeled := func(key string) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Labels[key] = "auto" }
	}
	tolerating := func(toleration corev1.Toleration) func(*corev1.Pod) {
		return func(pod *corev1.Pod) { pod.Spec.Tolerations = []corev1.Toleration{{Key: "other"}, toleration} }
	}
	elsewhere, enforced := conditionsOf(t, "pods.spillway.io"), conditionsOf(t, "enforced-namespaces.spillway.io")
	system := conditionsOf(t, "system-pods.spillway.io")
	bound := func(pod *corev1.Pod) { pod.Spec.NodeName = "n1" }
	for name, test := range map[string]struct {
		pod                         *corev1.Pod
		elsewhere, enforced, system bool
	}{
		"no key":            {podWith("", nil), false, true, false},
		"an empty Pod":      {&corev1.Pod{TypeMeta: podWith("", nil).TypeMeta}, false, true, false},
		"of a ReplicaSet":   {podWith("ReplicaSet", nil), true, true, false},
		"of any controller": {podWith("Workflow", nil), true, true, false},
		"of a DaemonSet":    {podWith("DaemonSet", nil), false, false, false},
		"of a DaemonSet, quota": {
			podWith("DaemonSet", annotated(policy.LocalReplicasAnnotation)), false, false, false,
		},
		"with a node":              {podWith("ReplicaSet", bound), false, false, false},
		"quota":                    {podWith("", annotated(policy.LocalReplicasAnnotation)), true, true, false},
		"floor":                    {podWith("", annotated(policy.LocalMinAnnotation)), true, true, false},
		"copies":                   {podWith("", annotated(policy.InheritedAnnotation)), true, true, false},
		"switch":                   {podWith("", annotated(policy.SwitchKey)), false, true, false},
		"burst label":              {podWith("", labeled(policy.BurstLabel)), true, true, false},
		"alias of the burst label": {podWith("", labeled(policy.BurstLabelAlias)), true, true, false},
		"tolerates virtual nodes":  {podWith("", tolerating(policy.ProviderToleration())), true, true, true},
		"tolerates everything":     {podWith("", tolerating(corev1.Toleration{Operator: "Exists"})), true, true, true},
		"tolerates an eviction": {
			podWith("", tolerating(corev1.Toleration{Operator: "Exists", Effect: "NoExecute"})), false, true, false,
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.elsewhere, elsewhere.match(t, test.pod))
			assert.Equal(t, test.enforced, enforced.match(t, test.pod))
			assert.Equal(t, test.system, system.match(t, test.pod))
		})
	}
}

func TestTheValidatingWebhookIsCalledForObjectsWithAKey(t *testing.T) {
	keys := map[string]bool{"app": false, "example.com/app": false, "spillway.io/way-hme": true, "local-replicas": true}
	for _, key := range policy.PodAnnotations() {
		keys[key] = true
	}
	for _, key := range policy.NamespaceAnnotations() {
		keys[key] = true
	}
	for _, key := range policy.WrittenAnnotations() {
		keys[key] = false
	}
	called := conditionsOf(t, "workloads.spillway.io")
	for key, want := range keys {
		meta := map[string]metav1.ObjectMeta{
			"annotation": {Annotations: map[string]string{key: "1", "other": ""}},
			"label":      {Labels: map[string]string{key: "1", "other": ""}},
		}
		for kind, m := range meta {
			t.Run(key+" as "+kind, func(t *testing.T) {
				for _, object := range []runtime.Object{
					&corev1.Pod{ObjectMeta: m},
					&appsv1.Deployment{ObjectMeta: m},
					&appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{Template: corev1.PodTemplateSpec{ObjectMeta: m}}},
					&batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: m}}},
					&batchv1.CronJob{Spec: batchv1.CronJobSpec{JobTemplate: batchv1.JobTemplateSpec{
						Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{ObjectMeta: m}},
					}}},
				} {
					assert.Equal(t, want, called.match(t, object), "%T", object)
				}
				made := podWith("ReplicaSet", func(pod *corev1.Pod) {
					maps.Copy(pod.Labels, m.Labels)
					maps.Copy(pod.Annotations, m.Annotations)
				})
				assert.False(t, called.match(t, made), "Pods of a template that was validated are not")
				made.OwnerReferences[0].Kind = "Workflow"
				assert.Equal(t, want, called.match(t, made))
			})
		}
	}
}

// The API server limits what conditions may cost, and does not call the webhook beyond.
func TestAKeyIsFoundInTheLargestObject(t *testing.T) {
	annotations := map[string]string{policy.LocalReplicasAnnotation: "many"}
	for size := 0; size < 256<<10; { // The API server allows so much.
		key := fmt.Sprintf("%x", len(annotations))
		annotations[key] = ""
		size += len(key)
	}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}}
	assert.True(t, conditionsOf(t, "workloads.spillway.io").match(t, deployment))
	pod := podWith("", func(pod *corev1.Pod) { pod.Annotations = annotations })
	assert.True(t, conditionsOf(t, "pods.spillway.io").match(t, pod))
}

func TestTheDaemonSetWebhookIsCalledForTemplatesThatChange(t *testing.T) {
	called := conditionsOf(t, "daemonsets.spillway.io")
	set := &appsv1.DaemonSet{}
	assert.False(t, called.match(t, set))
	set.Spec.Template.Spec.Tolerations = []corev1.Toleration{{Operator: "Exists"}}
	assert.True(t, called.match(t, set))
	scaled := set.DeepCopy()
	scaled.Labels = map[string]string{"a": "b"}
	assert.False(t, called.matchUpdate(t, set, scaled), "the template is the same")
	scaled.Spec.Template.Labels = scaled.Labels
	assert.True(t, called.matchUpdate(t, set, scaled))
	requireNodeType(&scaled.Spec.Template.Spec, corev1.NodeSelectorOpNotIn)
	assert.False(t, called.matchUpdate(t, set, scaled), "it stays off virtual nodes")
}

// BenchmarkConditions is the time that the API server needs to find out whether it calls a webhook.
func BenchmarkConditions(b *testing.B) {
	for _, webhook := range []string{"pods.spillway.io", "workloads.spillway.io"} {
		for name, kind := range map[string]string{
			"no owner": "", "of a ReplicaSet": "ReplicaSet", "of a DaemonSet": "DaemonSet",
		} {
			b.Run(webhook+"/"+name, func(b *testing.B) {
				called, pod := conditionsOf(b, webhook), podWith(kind, nil)
				b.ReportAllocs()
				for b.Loop() {
					called.match(b, pod)
				}
			})
		}
	}
}
