package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// A tenant can write any UID into the owner references of a Pod.
func TestARevisionBelongsToOneNamespace(t *testing.T) {
	inNamespace := func(name string) policy.Revision {
		return policy.RevisionOf(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: name, OwnerReferences: []metav1.OwnerReference{
				{Kind: "ReplicaSet", UID: "rs", Controller: new(true)},
			},
		}})
	}
	assert.Equal(t, inNamespace("victim"), inNamespace("victim"))
	assert.NotEqual(t, inNamespace("victim"), inNamespace("attacker"))
	assert.NotEqual(t, inNamespace("victim").String(), inNamespace("attacker").String())
}

// ownedPod returns a Pod of a controller with the UID "owner". A name that ends with a dash is a generateName.
func ownedPod(apiVersion, kind, name string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: name, UID: types.UID("uid-of-" + name), OwnerReferences: []metav1.OwnerReference{
			{APIVersion: apiVersion, Kind: kind, Name: "o", UID: "owner", Controller: new(true)},
		},
	}}
	if strings.HasSuffix(name, "-") {
		pod.GenerateName, pod.Name = name, name+"x7k2p"
	}
	return pod
}

// The names are those that the controllers give their Pods.
func TestEachTemplateOfAControllerIsARevision(t *testing.T) {
	for name, test := range map[string]struct {
		apiVersion, kind string
		// templates are the names of the Pods of each template.
		templates [][]string
	}{
		"the head and the groups of workers of a Ray cluster": {"ray.io/v1", "RayCluster", [][]string{
			{"raycluster-head"}, {"raycluster-small-worker-", "raycluster-small-worker-"}, {"raycluster-gpu-worker-"},
		}},
		"the launcher and the workers of an MPI job": {"kubeflow.org/v2beta1", "MPIJob", [][]string{
			{"pi-launcher"}, {"pi-worker-0", "pi-worker-1", "pi-worker-10"},
		}},
		"the master and the workers of a PyTorch job": {"kubeflow.org/v1", "PyTorchJob", [][]string{
			{"mnist-master-0"}, {"mnist-worker-0", "mnist-worker-1"},
		}},
		"the parameter servers, the chief and the workers of a TensorFlow job": {"kubeflow.org/v1", "TFJob", [][]string{
			{"mnist-ps-0", "mnist-ps-1"}, {"mnist-chief-0"}, {"mnist-worker-0", "mnist-worker-1"},
		}},
		"the tasks of a Volcano job": {"batch.volcano.sh/v1alpha1", "Job", [][]string{
			{"train-ps-0", "train-ps-1"}, {"train-worker-0", "train-worker-1"},
		}},
		"the executors of a Spark driver": {"v1", "Pod", [][]string{
			{"spark-pi-9d8f3a8e-exec-1", "spark-pi-9d8f3a8e-exec-12"},
		}},
		"the task managers of a Flink cluster, by attempt and index": {"apps/v1", "Deployment", [][]string{
			{"flink-taskmanager-1-1", "flink-taskmanager-1-2", "flink-taskmanager-2-1"},
		}},
		"the steps of an Argo workflow": {"argoproj.io/v1alpha1", "Workflow", [][]string{
			{"build-compile-1847365920", "build-compile-3810749810"}, {"build-test-1847365920"},
		}},
		"Pods with UUIDs": {"example.com/v1", "Pool", [][]string{
			{"pool-runner-550e8400-e29b-41d4-a716-446655440000", "pool-runner-6ba7b810-9dad-11d1-80b4-00c04fd430c8"},
			{"pool-cache-550e8400-e29b-41d4-a716-446655440000"},
		}},
		"one template of an OpenKruise CloneSet": {"apps.kruise.io/v1alpha1", "CloneSet", [][]string{
			{"web-", "web-", "web-x2b4p"},
		}},
		// The controllers of Kubernetes have one template, whatever the names.
		"one template of a ReplicaSet":            {"apps/v1", "ReplicaSet", [][]string{{"web-a-x2b4p", "other-name"}}},
		"one template of a ReplicationController": {"v1", "ReplicationController", [][]string{{"a-x2b4p", "b-x2b4p"}}},
		"one template of a Job":                   {"batch/v1", "Job", [][]string{{"pi-0-x2b4p", "pi-a-x2b4p"}}},
	} {
		t.Run(name, func(t *testing.T) {
			templates := map[policy.Revision]int{}
			for i, names := range test.templates {
				for _, name := range names {
					revision := policy.RevisionOf(ownedPod(test.apiVersion, test.kind, name))
					if of, ok := templates[revision]; ok {
						assert.Equal(t, i, of, "%s has a template of its own", name)
					}
					templates[revision] = i
				}
			}
			assert.Len(t, templates, len(test.templates), "a template is one revision: %v", templates)
		})
	}
}

func TestAnUpdateOfAControllerWithSeveralTemplatesIsARevision(t *testing.T) {
	before := ownedPod("apps.kruise.io/v1alpha1", "CloneSet", "web-")
	after := before.DeepCopy()
	before.Labels = map[string]string{"controller-revision-hash": "web-1"}
	after.Labels = map[string]string{"controller-revision-hash": "web-2"}
	assert.NotEqual(t, policy.RevisionOf(before), policy.RevisionOf(after))
}

func TestAPodWithoutAControllerIsARevisionOfItsOwn(t *testing.T) {
	one, other := ownedPod("v1", "Pod", "web-0"), ownedPod("v1", "Pod", "web-1")
	one.OwnerReferences, other.OwnerReferences = nil, nil
	assert.NotEqual(t, policy.RevisionOf(one), policy.RevisionOf(other))
}

// FuzzRevisionOf checks with any names that a revision never spans namespaces or owners, that its Pods share it
// whatever their index, and that its key distinguishes it.
func FuzzRevisionOf(f *testing.F) {
	f.Add("shop", "owner", "raycluster-head", "worker", uint16(7))
	f.Add("shop", "a/b", "x--", "", uint16(0))
	f.Add("", "", "1-2-3", "550e8400-e29b-41d4-a716-446655440000", uint16(65535))
	f.Fuzz(func(t *testing.T, namespace, uid, base, other string, index uint16) {
		pod := func(namespace, uid, name string) policy.Revision {
			p := ownedPod("example.com/v1", "Pool", "p")
			p.Namespace, p.Name, p.OwnerReferences[0].UID = namespace, name, types.UID(uid)
			return policy.RevisionOf(p)
		}
		first := pod(namespace, uid, fmt.Sprintf("%s-%d", base, index))
		assert.Equal(t, first, pod(namespace, uid, fmt.Sprintf("%s-%d", base, index/2)), "the index does not matter")
		assert.NotEqual(t, first, pod(namespace+"x", uid, fmt.Sprintf("%s-%d", base, index)))
		assert.NotEqual(t, first, pod(namespace, uid+"x", fmt.Sprintf("%s-%d", base, index)))
		assert.True(t, strings.HasPrefix(base, first.Template), "%q is a part of the name", first.Template)

		second := pod(namespace, uid, fmt.Sprintf("%s-%d", other, index))
		if strings.ContainsAny(namespace+base+other, "/") {
			return // No namespace and no name has a slash.
		}
		assert.Equal(t, first == second, first.String() == second.String())
		assert.Equal(t, withoutNumbers(base) == withoutNumbers(other), first == second,
			"the templates of %q and %q", base, other)
	})
}

// withoutNumbers is the oracle of templates: the parts of a name, without the numbers and empty parts at its end.
func withoutNumbers(name string) string {
	parts := strings.Split(name, "-")
	for len(parts) > 0 && strings.Trim(parts[len(parts)-1], "0123456789") == "" && parts[len(parts)-1] != "" {
		parts = parts[:len(parts)-1]
	}
	return strings.Join(parts, "-")
}
