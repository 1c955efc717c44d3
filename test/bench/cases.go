package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// calling determines which extender runs in a case, and how often it must have been called.
type calling int

const (
	// noExtender: no extender runs.
	noExtender calling = iota
	// noOpForAll: the no-op extender is called for every Pod.
	noOpForAll
	// oursForNone: Spillway's extender is configured but not called.
	oursForNone
	// oursForAll: Spillway's extender is called for every Pod.
	oursForAll
)

// throughputCase is one way of scheduling the Pods.
type throughputCase struct {
	key, title string
	calling    calling
	// scheduler changes the configuration of trial systems, in which the extender is called only for Pods with the marker
	// resource, and every node is scored. extenderURL is empty if no extender runs.
	scheduler func(c *schedulerv1.KubeSchedulerConfiguration, extenderURL string)
	// quota is set if the Pods have a local quota.
	quota bool
}

// The cases with which others are compared.
const (
	floorDefault  = "default"
	floorAllNodes = "all-nodes"
	floorNoOp     = "no-op"
)

var throughputCases = []throughputCase{
	{
		key: floorDefault, title: "a. no extender, nodes sampled (kube-scheduler's default)",
		scheduler: func(c *schedulerv1.KubeSchedulerConfiguration, _ string) {
			c.Extenders, c.Profiles[0].PercentageOfNodesToScore = nil, nil
		},
	}, {
		key: floorAllNodes, title: "b. no extender, every node scored",
		scheduler: func(c *schedulerv1.KubeSchedulerConfiguration, _ string) { c.Extenders = nil },
	}, {
		key: floorNoOp, title: "c. no-op extender, called for every Pod", calling: noOpForAll,
		scheduler: func(c *schedulerv1.KubeSchedulerConfiguration, url string) {
			c.Extenders[0].URLPrefix, c.Extenders[0].PreemptVerb = url+"/v1", ""
			c.Extenders[0].ManagedResources = nil
		},
	}, {
		key: "plain", title: "d. Spillway, unmanaged Pods: it is not called", calling: oursForNone,
		scheduler: func(*schedulerv1.KubeSchedulerConfiguration, string) {},
	}, {
		key: "quota", title: "e. Spillway, Pods with a quota", calling: oursForAll, quota: true,
		scheduler: func(*schedulerv1.KubeSchedulerConfiguration, string) {},
	}, {
		key: "every-pod", title: "f. Spillway called for every Pod, unmanaged Pods", calling: oursForAll,
		scheduler: func(c *schedulerv1.KubeSchedulerConfiguration, _ string) { c.Extenders[0].ManagedResources = nil },
	},
}

func caseKeys() []string {
	keys := make([]string, len(throughputCases))
	for i, c := range throughputCases {
		keys[i] = c.key
	}
	return keys
}

// pods returns the Pods of the case, ordered by revision.
func (c throughputCase) pods(o options) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, o.Pods)
	for r := range o.Revisions {
		revision := fmt.Sprintf("app-%02d", r)
		for i := range o.Pods / o.Revisions {
			if c.quota {
				pods = append(pods, quotaPod(revision, i, o.Quota))
			} else {
				pods = append(pods, unmanagedPod(revision, i))
			}
		}
	}
	return pods
}

// check checks where the Pods are. Pods are only added, so a quota that holds at the end has always held.
func (c throughputCase) check(o options, pods []corev1.Pod) error {
	local := map[string]int{}
	for i := range pods {
		if pods[i].Spec.NodeName == "" {
			return fmt.Errorf("pod %s is not bound", pods[i].Name)
		}
		if !isVirtual(pods[i].Spec.NodeName) {
			local[pods[i].OwnerReferences[0].Name]++
		}
	}
	want := o.Pods / o.Revisions
	if c.quota {
		want = o.Quota
	}
	for r := range o.Revisions {
		revision := fmt.Sprintf("app-%02d", r)
		if local[revision] != want {
			return fmt.Errorf("revision %s has %d replicas on local nodes: must be %d", revision, local[revision], want)
		}
	}
	return nil
}

// checkCalls checks that the case has measured what its title says.
func (c throughputCase) checkCalls(o options, calls int) error {
	switch c.calling {
	case noOpForAll, oursForAll:
		if calls < o.Pods {
			return fmt.Errorf("the extender was called %d times: must be at least once for each of %d pods", calls, o.Pods)
		}
	case noExtender, oursForNone:
		if calls != 0 {
			return fmt.Errorf("the extender was called %d times: must be 0", calls)
		}
	}
	return nil
}
