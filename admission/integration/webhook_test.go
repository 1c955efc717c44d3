package integration

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/policy"
)

// outline is what the webhook changes about a Pod.
type outline struct {
	// Label is the burst mode on the Pod.
	Label string
	// Marked: the Pod requests the marker resource, so the scheduler calls the extender for it.
	Marked bool
	// Tolerates: the Pod tolerates the taint of virtual nodes.
	Tolerates bool
	// NodeType is the operator of the node affinity: In, NotIn or none.
	NodeType corev1.NodeSelectorOperator
	// Volumes are the hostPath and emptyDir volumes.
	Volumes string
}

func outlineOf(pod *corev1.Pod) outline {
	o := outline{
		Label: pod.Labels[policy.BurstLabel], Marked: policy.NeedsPlacement(&pod.Spec),
		Tolerates: policy.ToleratesProvider(&pod.Spec),
	}
	for _, term := range requiredTerms(pod) {
		for _, e := range term.MatchExpressions {
			if e.Key == policy.NodeTypeLabel {
				o.NodeType = e.Operator
			}
		}
	}
	var volumes []string
	for _, v := range pod.Spec.Volumes {
		switch {
		case v.HostPath != nil:
			volumes = append(volumes, v.Name+" hostPath")
		case v.EmptyDir != nil:
			volumes = append(volumes, v.Name+" emptyDir "+v.EmptyDir.SizeLimit.String())
		}
	}
	o.Volumes = strings.Join(volumes, ", ")
	return o
}

// requiredTerms returns the terms of the required node affinity.
func requiredTerms(pod *corev1.Pod) []corev1.NodeSelectorTerm {
	affinity := pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil {
		return nil
	}
	required := affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	if required == nil {
		return nil
	}
	return required.NodeSelectorTerms
}

var (
	untouched = outline{}
	enforced  = outline{Label: "enforce", Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn}
)

// The workloads are real: their controllers create the Pods milliseconds after the owners.
func TestTheWebhookPreparesPods(t *testing.T) {
	p := start(t)
	enforcing := map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}
	const bare = "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: web}]}"
	for name, test := range map[string]struct {
		manifest  string
		namespace map[string]string
		pods      int
		want      outline
	}{
		"the nginx of TKE Resilience: a quota and the switch": {
			file(t, "nginx.yaml"), nil, 4, outline{Marked: true, Tolerates: true},
		},
		"the hostPath Deployment of CCE bursting, which enforces": {file(t, "hostpath.yaml"), nil, 2, outline{
			Label: "enforce", Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn,
			Volumes: "test-log emptyDir 10Gi",
		}},
		"a Deployment without a key":              {deployment("", ""), nil, 1, untouched},
		"a Deployment with the local switch only": {deployment("", `AUTO_SCALE_EKS: "true"`), nil, 1, untouched},
		"a Deployment that prefers local nodes": {
			deployment("localPrefer", ""), nil, 1, outline{Label: "localPrefer", Marked: true, Tolerates: true},
		},
		"a Deployment that is off": {deployment(`"off"`, ""), nil, 1, outline{Label: "off"}},
		"a StatefulSet": {
			manifest("apps/v1", "StatefulSet", "auto", selectorAnd(template(""))), nil, 1,
			outline{Label: "auto", Marked: true, Tolerates: true},
		},
		"a Job": {manifest("batch/v1", "Job", "enforce", jobTemplate), nil, 1, enforced},
		"a Deployment in a namespace that enforces": {deployment("", ""), enforcing, 1, enforced},
		"a bare Pod in a namespace that enforces":   {bare, enforcing, 1, enforced},
		"a bare Pod without a key": {
			bare, map[string]string{policy.NamespaceEnforceLabel: "disabled"}, 1, untouched,
		},
		"a bare Pod with the alias of the label": {
			strings.Replace(bare, "name: x", "name: x, labels: {bursting.cci.io/burst-to-cci: enforce}", 1), nil, 1,
			outline{Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn},
		},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t, test.namespace)
			apply(t, ns, test.manifest)
			for _, pod := range pods(t, ns, test.pods) {
				assert.Equal(t, test.want, outlineOf(&pod))
			}
		})
	}
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "failed"))
	assert.Zero(t, p.metric(t, "spillway_admission_webhook_requests_total", "malformed"))
	assert.NotZero(t, p.metric(t, "spillway_admission_webhook_requests_total", "mutated"))
	assert.NotZero(t, p.metric(t, "spillway_admission_webhook_decisions_total", "LabelEnforce"))
}

// The Pods of a CronJob belong to its Jobs. The test creates a Job as kubectl create job --from does, because the
// schedule would take a minute.
func TestTheLabelOfACronJobReachesThePodsOfItsJobs(t *testing.T) {
	start(t)
	ns := namespace(t, nil)
	apply(t, ns, `
apiVersion: batch/v1
kind: CronJob
metadata: {name: x, labels: {virtual-kubelet.io/burst-to-cci: enforce}}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: web}]}}}}`)
	cronJob, err := trial.Client().BatchV1().CronJobs(ns).Get(t.Context(), "x", metav1.GetOptions{})
	require.NoError(t, err)
	job := manifest("batch/v1", "Job", "", jobTemplate) // Its name is x as well.
	owner := "{apiVersion: batch/v1, kind: CronJob, name: x, controller: true, uid: " + string(cronJob.UID) + "}"
	apply(t, ns, strings.Replace(job, "metadata: {name: x", "metadata: {ownerReferences: ["+owner+"], name: x", 1))
	for _, pod := range pods(t, ns, 1) {
		assert.Equal(t, enforced, outlineOf(&pod))
	}
}

// The API server does not call the webhook for Pods of DaemonSets, Pods with a node, Pods without a key, and Pods in
// kube-system.
func TestPodsThatTheWebhookDoesNotReview(t *testing.T) {
	p := start(t)
	ns := namespace(t, map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue})
	before := p.metric(t, "spillway_admission_webhook_duration_seconds", "mutate-pods")

	apply(t, ns, manifest("apps/v1", "DaemonSet", "enforce", selectorAnd(template(""))))
	for _, pod := range pods(t, ns, 2) { // Local nodes: the virtual one is tainted.
		assert.Equal(t, corev1.NodeSelectorOperator(""), outlineOf(&pod).NodeType)
		assert.False(t, policy.NeedsPlacement(&pod.Spec))
	}
	placed := small("placed")
	placed.Spec.NodeName = "local-0"
	create(t, ns, placed)
	create(t, namespace(t, nil), small("no-key"))
	system := small("")
	system.GenerateName = "system-with-a-quota-"
	system.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	eventually(t, func() error {
		_, err := trial.Client().
			CoreV1().
			ServiceAccounts("kube-system").
			Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	create(t, "kube-system", system)

	assert.InDelta(t, before, p.metric(t, "spillway_admission_webhook_duration_seconds", "mutate-pods"), 0)
}

func TestTheUserGetsWarningsAboutMalformedKeys(t *testing.T) {
	start(t)
	ns := namespace(t, nil)
	rest, received := trial.RESTConfig(), &warnings{}
	rest.WarningHandler = received
	client, err := kubernetes.NewForConfig(rest)
	require.NoError(t, err)
	pod := small("x")
	pod.Labels = map[string]string{policy.BurstLabel: "enfroce"}
	pod.Annotations = map[string]string{
		policy.LocalReplicasAnnotation:       "many",
		policy.HostPathReplacementAnnotation: `[{"name":"a","policyType":"delete"},{"policyType":"remove"}]`,
	}

	pod.OwnerReferences = []metav1.OwnerReference{ // A Pod without a controller would be rejected.
		{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "gone", UID: "gone", Controller: new(true)},
	}

	created, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})

	require.NoError(t, err, "a Pod of a controller is allowed")
	assert.Equal(t, outline{Label: "enfroce"}, outlineOf(created))
	assert.Equal(t, []string{
		`virtual-kubelet.io/burst-to-cci: invalid value "enfroce": must be one of enforce, localPrefer, auto, off`,
		`LOCAL_REPLICAS: invalid value "many": ` + policy.AmountRight,
		`coordinator.cci.io/hostpath-replacement[0].policyType: invalid value "delete": ` +
			`must be remove or replaceByEmptyDir`,
		`coordinator.cci.io/hostpath-replacement[1].name: must be the name of a volume or "*"`,
	}, received.texts)
}

func TestADryRunIsReviewed(t *testing.T) {
	start(t)
	pod := small("x")
	pod.Labels = map[string]string{policy.BurstLabel: "enforce"}
	prepared, err := dryRun(t, pod)
	require.NoError(t, err)
	assert.Equal(t, enforced, outlineOf(prepared))
}

// warnings collects the warnings of the API server.
type warnings struct{ texts []string }

// HandleWarningHeader implements rest.WarningHandler.
func (w *warnings) HandleWarningHeader(_ int, _, text string) { w.texts = append(w.texts, text) }

var _ rest.WarningHandler = (*warnings)(nil)

// file returns the content of a file in testdata.
func file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(content)
}

// deployment returns the manifest of a Deployment with a burst label and annotations in its template.
func deployment(label, annotations string) string {
	return manifest("apps/v1", "Deployment", label, selectorAnd(template(annotations)))
}

// manifest returns a manifest with a burst label on the object, not on its Pods.
func manifest(apiVersion, kind, label, spec string) string {
	labels := ""
	if label != "" {
		labels = ", labels: {virtual-kubelet.io/burst-to-cci: " + label + "}"
	}
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x" + labels + "}\nspec: {" + spec + "}"
}

func selectorAnd(template string) string { return "selector: {matchLabels: {app: x}}, " + template }

func template(annotations string) string {
	return "template: {metadata: {labels: {app: x}, annotations: {" + annotations + "}}, " +
		"spec: {containers: [{name: c, image: web}]}}"
}

// templateWith returns a template of Pods that request CPU.
func templateWith(cpu string) string {
	return "template: {metadata: {labels: {app: x}}, " +
		`spec: {containers: [{name: c, image: web, resources: {requests: {cpu: "` + cpu + `"}}}]}}`
}

const jobTemplate = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: web}]}}"

// apply creates the object of a manifest.
func apply(t *testing.T, ns, text string) {
	t.Helper()
	object := &unstructured.Unstructured{}
	require.NoError(t, yaml.Unmarshal([]byte(text), &object.Object))
	object.SetNamespace(ns)
	client, err := dynamic.NewForConfig(trial.RESTConfig())
	require.NoError(t, err)
	resource, _ := meta.UnsafeGuessKindToResource(object.GroupVersionKind())
	_, err = client.Resource(resource).Namespace(ns).Create(t.Context(), object, metav1.CreateOptions{})
	require.NoError(t, err)
}

// The scheduler with the extender runs next to the default scheduler.
func TestManagedPodsGetTheConfiguredScheduler(t *testing.T) {
	start(t, func(c *config.Config) { c.SchedulerName = "bursting" })
	ns := namespace(t, nil)
	managed, other := small("managed"), small("other")
	for _, pod := range []*corev1.Pod{managed, other} {
		pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	}
	other.Spec.SchedulerName = "other"
	assert.Equal(t, "bursting", create(t, ns, managed).Spec.SchedulerName)
	kept := create(t, ns, other)
	assert.Equal(t, "other", kept.Spec.SchedulerName)
	assert.False(t, policy.NeedsPlacement(&kept.Spec), "a scheduler that does not call the extender would refuse it")
	assert.Equal(t, corev1.DefaultSchedulerName, create(t, ns, small("no-key")).Spec.SchedulerName)
}
