package main

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

	"github.com/spillway-k8s/spillway/policy"
)

// outline is what the webhook does to a Pod.
type outline struct {
	// Label is the burst mode on the Pod.
	Label string
	// Marked: the scheduler asks the extender about it.
	Marked bool
	// Tolerates the taint of virtual nodes.
	Tolerates bool
	// NodeType is the node affinity: In, NotIn or nothing.
	NodeType corev1.NodeSelectorOperator
	// Volumes of the manifest, with their kinds.
	Volumes string
}

func outlineOf(pod *corev1.Pod) outline {
	o := outline{
		Label: pod.Labels[policy.BurstLabel], Marked: policy.NeedsPlacement(&pod.Spec), Tolerates: policy.ToleratesProvider(&pod.Spec),
	}
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil && a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		for _, term := range a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms {
			for _, e := range term.MatchExpressions {
				if e.Key == policy.NodeTypeLabel {
					o.NodeType = e.Operator
				}
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

var (
	untouched = outline{}
	enforced  = outline{Label: "enforce", Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn}
)

// TestWhatTheWebhookMakesOfPods creates real workloads: their controllers make the Pods, milliseconds after the owners.
func TestWhatTheWebhookMakesOfPods(t *testing.T) {
	p := start(t)
	for name, test := range map[string]struct {
		manifest  string
		namespace map[string]string
		pods      int
		want      outline
	}{
		"seed 0's nginx: a quota and the switch": {file(t, "nginx.yaml"), nil, 4, outline{Marked: true, Tolerates: true}},
		"seed 2's hostPath Deployment: enforce on the Deployment": {
			file(t, "hostpath.yaml"), nil, 2,
			outline{Label: "enforce", Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn, Volumes: "test-log emptyDir 10Gi"},
		},
		"a Deployment without a key":              {deployment("", ""), nil, 1, untouched},
		"a Deployment with the local switch only": {deployment("", `AUTO_SCALE_EKS: "true"`), nil, 1, untouched},
		"a Deployment that prefers local nodes":   {deployment("localPrefer", ""), nil, 1, outline{Label: "localPrefer", Marked: true, Tolerates: true}},
		"a Deployment that is off":                {deployment(`"off"`, ""), nil, 1, outline{Label: "off"}},
		"a StatefulSet":                           {manifest("apps/v1", "StatefulSet", "auto", selectorAnd(template(""))), nil, 1, outline{Label: "auto", Marked: true, Tolerates: true}},
		"a Job":                                   {manifest("batch/v1", "Job", "enforce", jobTemplate), nil, 1, enforced},
		"a Deployment in a namespace that enforces": {
			deployment("", ""), map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}, 1, enforced,
		},
		"a bare Pod in a namespace that enforces": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: web}]}",
			map[string]string{policy.NamespaceEnforceLabel: policy.NamespaceEnforceValue}, 1, enforced,
		},
		"a bare Pod without a key": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, image: web}]}",
			map[string]string{policy.NamespaceEnforceLabel: "disabled"}, 1, untouched,
		},
		"a bare Pod with the alias of the label": {
			"apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {bursting.cci.io/burst-to-cci: enforce}}\nspec: {containers: [{name: c, image: web}]}",
			nil, 1, outline{Marked: true, Tolerates: true, NodeType: corev1.NodeSelectorOpIn},
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

// A CronJob's Pods belong to its Jobs; one is made here as kubectl create job --from does, since the clock would take a minute.
func TestACronJobsLabelReachesThePodsOfItsJobs(t *testing.T) {
	start(t)
	ns := namespace(t, nil)
	apply(t, ns, `
apiVersion: batch/v1
kind: CronJob
metadata: {name: x, labels: {virtual-kubelet.io/burst-to-cci: enforce}}
spec: {schedule: "0 0 1 1 *", jobTemplate: {spec: {template: {spec: {restartPolicy: Never, containers: [{name: c, image: web}]}}}}}`)
	cronJob, err := trial.Client().BatchV1().CronJobs(ns).Get(t.Context(), "x", metav1.GetOptions{})
	require.NoError(t, err)
	job := manifest("batch/v1", "Job", "", jobTemplate) // Its name is x as well.
	apply(t, ns, strings.Replace(job, "metadata: {name: x", `metadata: {ownerReferences: [{apiVersion: batch/v1, kind: CronJob, name: x, controller: true, uid: `+
		string(cronJob.UID)+`}], name: x`, 1))
	for _, pod := range pods(t, ns, 1) {
		assert.Equal(t, enforced, outlineOf(&pod))
	}
}

// The API server does not call for Pods of DaemonSets, for those that have a node or no key, nor for kube-system.
func TestWhomTheWebhookIsNotAskedAbout(t *testing.T) {
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
		_, err := trial.Client().CoreV1().ServiceAccounts("kube-system").Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	create(t, "kube-system", system)

	assert.InDelta(t, before, p.metric(t, "spillway_admission_webhook_duration_seconds", "mutate-pods"), 0)
}

func TestTheUserIsWarnedOfMalformedKeys(t *testing.T) {
	start(t)
	ns := namespace(t, nil)
	config, heard := trial.RESTConfig(), &warnings{}
	config.WarningHandler = heard
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	pod := small("x")
	pod.Labels = map[string]string{policy.BurstLabel: "enfroce"}
	pod.Annotations = map[string]string{
		policy.LocalReplicasAnnotation:       "many",
		policy.HostPathReplacementAnnotation: `[{"name":"a","policyType":"delete"},{"policyType":"remove"}]`,
	}

	pod.OwnerReferences = []metav1.OwnerReference{ // Without it the Pod would be refused.
		{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "gone", UID: "gone", Controller: new(true)},
	}

	made, err := client.CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{})

	require.NoError(t, err, "what a controller makes is allowed")
	assert.Equal(t, outline{Label: "enfroce"}, outlineOf(made))
	assert.Equal(t, []string{
		`virtual-kubelet.io/burst-to-cci: invalid value "enfroce": must be one of enforce, localPrefer, auto, off`,
		`LOCAL_REPLICAS: invalid value "many": must be a whole number from 0 to 2147483647, such as "1"`,
		`coordinator.cci.io/hostpath-replacement[0].policyType: invalid value "delete": must be remove or replaceByEmptyDir`,
		`coordinator.cci.io/hostpath-replacement[1].name: must be the name of a volume or "*"`,
	}, heard.texts)
}

func TestADryRunIsLikeAnyOther(t *testing.T) {
	start(t)
	ns := namespace(t, nil)
	pod := small("x")
	pod.Labels = map[string]string{policy.BurstLabel: "enforce"}
	made, err := trial.Client().CoreV1().Pods(ns).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	require.NoError(t, err)
	assert.Equal(t, enforced, outlineOf(made))
}

type warnings struct{ texts []string }

func (w *warnings) HandleWarningHeader(_ int, _, text string) { w.texts = append(w.texts, text) }

var _ rest.WarningHandler = (*warnings)(nil)

func file(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("testdata/" + name)
	require.NoError(t, err)
	return string(content)
}

func deployment(label, annotations string) string {
	return manifest("apps/v1", "Deployment", label, selectorAnd(template(annotations)))
}

// manifest is a manifest whose own label, not that of its Pods, says how they burst.
func manifest(apiVersion, kind, label, spec string) string {
	labels := ""
	if label != "" {
		labels = ", labels: {virtual-kubelet.io/burst-to-cci: " + label + "}"
	}
	return "apiVersion: " + apiVersion + "\nkind: " + kind + "\nmetadata: {name: x" + labels + "}\nspec: {" + spec + "}"
}

func selectorAnd(template string) string { return "selector: {matchLabels: {app: x}}, " + template }

func template(annotations string) string {
	return "template: {metadata: {labels: {app: x}, annotations: {" + annotations + "}}, spec: {containers: [{name: c, image: web}]}}"
}

const jobTemplate = "template: {spec: {restartPolicy: Never, containers: [{name: c, image: web}]}}"

// apply creates what a manifest says.
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

// A scheduler with the extender beside the cluster's own.
func TestKeyedPodsGetTheSchedulerThatIsSet(t *testing.T) {
	start(t, func(c *Config) { c.SchedulerName = "bursting" })
	ns := namespace(t, nil)
	keyed, mine := small("keyed"), small("mine")
	for _, pod := range []*corev1.Pod{keyed, mine} {
		pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	}
	mine.Spec.SchedulerName = "mine"
	assert.Equal(t, "bursting", create(t, ns, keyed).Spec.SchedulerName)
	assert.Equal(t, "mine", create(t, ns, mine).Spec.SchedulerName)
	assert.Equal(t, corev1.DefaultSchedulerName, create(t, ns, small("no-key")).Spec.SchedulerName)
}
