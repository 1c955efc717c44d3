package api

import (
	"fmt"

	apiequality "k8s.io/apimachinery/pkg/api/equality"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// The sizes of CCI 1.0. Source: CCI 1.0 manual, "Pod specifications".
const (
	firstMaxContainers = 5
	firstCPUStep       = 250
	firstLeastCPU      = 250
	firstLeastMemory   = gibi / 5
	firstMaxCPU        = 32000
	firstMaxMemory     = 512 * gibi
)

// pod1Admission admits Pods of CCI 1.0. The size of a Pod is the sum of its containers, and must be exactly a size that
// is sold.
type pod1Admission struct{ podAdmission }

func (pod1Admission) prepare(s *Server, caller *Credential, obj objects.Object) *apiError {
	pod := obj.(*objects.Pod)
	s.dropForeignAffinity(pod)
	setPodDefaults(pod)
	if refusal := admitBy(s, pod, firstPodRules); refusal != nil {
		return refusal
	}
	completePod(pod, caller)
	kata, links := "kata", false
	pod.Spec.RuntimeClassName, pod.Spec.EnableServiceLinks = &kata, &links
	return nil
}

var firstPodRules = []podRule{
	volumeSources,
	emptyDirSubPaths,
	knownResources,
	firstContainers,
	firstSize,
	firstProbes,
}

// firstContainers limits the number of containers. Each must have equal requests and limits of a minimum size, or none.
func firstContainers(_ faults.Policies, pod *objects.Pod) string {
	if n := len(pod.Spec.Containers); n > firstMaxContainers {
		return fmt.Sprintf("a pod may have %d containers, not %d", firstMaxContainers, n)
	}
	for _, c := range objects.AllContainers(pod) {
		if objects.IsSidecar(c) {
			return fmt.Sprintf("container %s: restartPolicy of an init container is not supported", c.Name)
		}
		if len(c.Resources.Limits) == 0 && len(c.Resources.Requests) == 0 {
			continue
		}
		if !apiequality.Semantic.DeepEqual(c.Resources.Limits, c.Resources.Requests) {
			return fmt.Sprintf("container %s: limit and request doesn't equal", c.Name)
		}
		need := containerNeed(c)
		if need.milliCPU < firstLeastCPU || need.milliCPU%firstCPUStep != 0 || need.memory < firstLeastMemory {
			return fmt.Sprintf("container %s: %s is not a multiple of 0.25 CPU with at least 0.2Gi of memory", c.Name, need)
		}
	}
	return ""
}

// firstSize checks that the sum of the containers is a size that is sold.
func firstSize(_ faults.Policies, pod *objects.Pod) string {
	need := podNeed(pod)
	switch {
	case need.milliCPU == 0:
		return "no container has a CPU limit"
	case need.milliCPU > firstMaxCPU && need.milliCPU != 48000 && need.milliCPU != 64000, need.memory > firstMaxMemory:
		return fmt.Sprintf("the pod's size %s is too large", need)
	case need.memory%gibi != 0:
		return fmt.Sprintf("the pod's memory %d is not a multiple of 1Gi", need.memory)
	case need.memory*1000 < 2*need.milliCPU*gibi || need.memory*1000 > 8*need.milliCPU*gibi:
		return fmt.Sprintf("the pod's size %s has no ratio of memory to CPU between 2 and 8", need)
	}
	return ""
}

func firstProbes(_ faults.Policies, pod *objects.Pod) string {
	for _, c := range objects.AllContainers(pod) {
		if c.StartupProbe != nil && c.StartupProbe.TCPSocket != nil {
			return fmt.Sprintf("container %s: a startupProbe by tcpSocket is not supported", c.Name)
		}
	}
	return ""
}
