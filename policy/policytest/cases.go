// Package policytest reads the test cases of decisions (policy/testdata), for the tests of policy and of the programs
// that act on its decisions. One manifest shows the decision and what is requested from the cloud.
package policytest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
)

// Case is the form of <case>.input.yaml. It has either a Pod or the workload that creates the Pod.
type Case struct {
	Pod        *corev1.Pod        `json:"pod,omitempty"`
	Deployment *appsv1.Deployment `json:"deployment,omitempty"`
	DaemonSet  *appsv1.DaemonSet  `json:"daemonSet,omitempty"`
	Job        *batchv1.Job       `json:"job,omitempty"`
	CronJob    *batchv1.CronJob   `json:"cronJob,omitempty"`
	// ConfigMap is the data of the ConfigMap with the global switch.
	ConfigMap map[string]string `json:"configMap,omitempty"`
	// Namespace are the labels of the Pod's namespace.
	Namespace map[string]string `json:"namespaceLabels,omitempty"`
	// Annotations are the annotations of the Pod's namespace.
	Annotations map[string]string `json:"namespaceAnnotations,omitempty"`
	// Claims are the kinds of the volumes of claims.
	Claims map[string]string `json:"claims,omitempty"`
	// Nodes are the virtual nodes.
	Nodes []policy.VirtualNode `json:"nodes,omitempty"`
	// Config is the configuration of the rules, by default DefaultConfig. Disabled is added to it.
	Config   *policy.Config  `json:"config,omitempty"`
	Disabled []policy.Reason `json:"disabledRules,omitempty"`
}

// Files returns the inputs in a directory. It fails the test if there are none.
func Files(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.input.yaml"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files
}

// Name returns the name of the case in a file.
func Name(file string) string { return strings.TrimSuffix(filepath.Base(file), ".input.yaml") }

// Read reads a case. It fails the test for an unknown field.
func Read(t testing.TB, file string) Case {
	t.Helper()
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	var c Case
	require.NoError(t, yaml.UnmarshalStrict(data, &c), file)
	return c
}

// Decide decides the case by its configuration.
func (c Case) Decide(t testing.TB) policy.Decision {
	t.Helper()
	return c.Policy(t).Decide(c.Input(t))
}

// Policy returns the rules of the case.
func (c Case) Policy(t testing.TB) *policy.Policy {
	t.Helper()
	config := policy.DefaultConfig()
	if c.Config != nil {
		config = *c.Config
	}
	config.DisabledRules = append(config.DisabledRules, c.Disabled...)
	decider, err := policy.New(config)
	require.NoError(t, err)
	return decider
}

// Input returns the input of the decision.
func (c Case) Input(t testing.TB) policy.Input {
	t.Helper()
	global, _ := policy.ParseSwitch(c.ConfigMap) // A malformed one is decided too.
	pod, labels := c.podAndLabels(t)
	return policy.Input{
		Pod: pod, Global: global, WorkloadLabels: labels, NamespaceLabels: c.Namespace,
		NamespaceAnnotations: c.Annotations,
		Claims:               c.Claims, Nodes: c.Nodes,
	}
}

// podAndLabels returns the Pod that the controller of the workload would create, and the labels of the workload.
func (c Case) podAndLabels(t testing.TB) (pod *corev1.Pod, workloadLabels map[string]string) {
	t.Helper()
	from := func(workload metav1.ObjectMeta, kind string, template corev1.PodTemplateSpec) (
		*corev1.Pod, map[string]string,
	) {
		yes := true
		pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: template.Spec}
		pod.Namespace, pod.Name = workload.Namespace, workload.Name+"-x7k2p"
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: kind, Name: workload.Name, Controller: &yes}}
		return pod, workload.Labels
	}
	switch {
	case c.Deployment != nil:
		return from(c.Deployment.ObjectMeta, "ReplicaSet", c.Deployment.Spec.Template)
	case c.DaemonSet != nil:
		return from(c.DaemonSet.ObjectMeta, "DaemonSet", c.DaemonSet.Spec.Template)
	case c.Job != nil:
		return from(c.Job.ObjectMeta, "Job", c.Job.Spec.Template)
	case c.CronJob != nil:
		return from(c.CronJob.ObjectMeta, "Job", c.CronJob.Spec.JobTemplate.Spec.Template)
	}
	require.NotNil(t, c.Pod, "a case has a Pod or a workload")
	return c.Pod, nil
}
