package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
)

// asking says which extender runs in a case, and what it must have been asked in the end.
type asking int

const (
	// noExtender: none runs.
	noExtender asking = iota
	// noOpForAll: the no-op extender is asked about every Pod.
	noOpForAll
	// oursForNone: Spillway's runs and is registered, and never asked.
	oursForNone
	// oursForAll: Spillway's is asked about every Pod.
	oursForAll
)

// throughputCase is one way to schedule the Pods.
type throughputCase struct {
	key, title string
	asking     asking
	// scheduler changes the configuration of every trial system, in which the extender is asked about marked Pods only and every node is
	// scored. extenderURL is empty where none runs.
	scheduler func(c *schedulerv1.KubeSchedulerConfiguration, extenderURL string)
	// quota is true where the Pods have a local quota.
	quota bool
}

// The cases that others are compared with.
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
		key: floorNoOp, title: "c. no-op extender, asked about every Pod", asking: noOpForAll,
		scheduler: func(c *schedulerv1.KubeSchedulerConfiguration, url string) {
			c.Extenders[0].URLPrefix, c.Extenders[0].PreemptVerb = url+"/v1", ""
			c.Extenders[0].ManagedResources = nil
		},
	}, {
		key: "plain", title: "d. Spillway, Pods without a key: it is not asked", asking: oursForNone,
		scheduler: func(*schedulerv1.KubeSchedulerConfiguration, string) {},
	}, {
		key: "quota", title: "e. Spillway, Pods with a quota", asking: oursForAll, quota: true,
		scheduler: func(*schedulerv1.KubeSchedulerConfiguration, string) {},
	}, {
		key: "every-pod", title: "f. Spillway asked about every Pod, Pods without a key", asking: oursForAll,
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

// pods are the Pods of the case, revision by revision.
func (c throughputCase) pods(o options) []*corev1.Pod {
	pods := make([]*corev1.Pod, 0, o.Pods)
	for r := range o.Revisions {
		revision := fmt.Sprintf("app-%02d", r)
		for i := range o.Pods / o.Revisions {
			if c.quota {
				pods = append(pods, quotaPod(revision, i, o.Quota))
			} else {
				pods = append(pods, plainPod(revision, i))
			}
		}
	}
	return pods
}

// check says whether the Pods are where they belong. Pods are only ever added, so a quota that holds at the end has held all the time.
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
			return fmt.Errorf("revision %s has %d replicas on local nodes, and must have exactly %d", revision, local[revision], want)
		}
	}
	return nil
}

// checkAsked says whether the case has measured what it says.
func (c throughputCase) checkAsked(o options, asked int) error {
	switch c.asking {
	case noOpForAll, oursForAll:
		if asked < o.Pods {
			return fmt.Errorf("the extender was asked %d times, and must have been asked about each of %d pods", asked, o.Pods)
		}
	case noExtender, oursForNone:
		if asked != 0 {
			return fmt.Errorf("the extender was asked %d times, and must not have been asked at all", asked)
		}
	}
	return nil
}
