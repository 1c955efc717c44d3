// Package dashboardtest has a source of the dashboard for tests: Pods and nodes in memory.
package dashboardtest

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/cli/status"
	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// Source is a source in memory. The zero value is not usable: use New.
type Source struct {
	lock    sync.Mutex
	in      status.Input
	events  []*corev1.Event
	changed chan struct{}
}

// New returns an empty source.
func New() (*Source, error) {
	rules, err := policy.New(policy.DefaultConfig())
	if err != nil {
		return nil, err
	}
	return &Source{
		in: status.Input{
			Policy: rules,
			Workload: func(pod *corev1.Pod) string {
				return pod.OwnerReferences[0].Kind + " " + pod.OwnerReferences[0].Name
			},
		},
		changed: make(chan struct{}),
	}, nil
}

// Change changes what the source has, and tells those that wait.
func (s *Source) Change(change func(in *status.Input, events *[]*corev1.Event)) {
	s.lock.Lock()
	defer s.lock.Unlock()
	change(&s.in, &s.events)
	close(s.changed)
	s.changed = make(chan struct{})
}

// Changed implements dashboard.Source.
func (s *Source) Changed() <-chan struct{} {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.changed
}

// Status implements dashboard.Source.
func (s *Source) Status() status.Input {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.in
}

// Events implements dashboard.Source.
func (s *Source) Events() []*corev1.Event {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.events
}

// Explain implements dashboard.Source.
func (s *Source) Explain(
	_ context.Context, namespace, workload string, limit int,
) (explanations []explain.Explanation, total int, err error) {
	in := s.Status()
	usage := explain.UsageOf(in.Policy, in.Pods, in.Nodes)
	for _, pod := range in.Pods {
		if pod.Namespace != namespace || in.Workload(pod) != workload {
			continue
		}
		if total++; total > limit {
			continue
		}
		owner := pod.OwnerReferences[0]
		question := explain.Input{
			Policy: in.Policy, Pod: pod, Nodes: in.Nodes, Schedulers: &schedulers.Schedulers{},
			Owners: []explain.Owner{{APIVersion: "apps/v1", Kind: owner.Kind, Name: owner.Name}},
		}
		usage.Fill(&question)
		explanations = append(explanations, explain.Explain(question))
	}
	return explanations, total, nil
}

// Pod returns a Pod of a Deployment. It waits if node is empty. quota may be empty.
func Pod(namespace, deployment string, number int, node, quota string, at time.Time) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-6d5f8c9b7c-%05d", deployment, number),
			UID: types.UID(fmt.Sprintf("%s-%s-%d", namespace, deployment, number)), Annotations: map[string]string{},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "Deployment", Name: deployment, UID: types.UID(deployment),
				Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Name: "c", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
				corev1.ResourceCPU: resource.MustParse("1"), corev1.ResourceMemory: resource.MustParse("2Gi"),
			}},
		}}},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at),
		}}},
	}
	if quota != "" {
		pod.Annotations[policy.LocalReplicasAnnotation] = quota
	}
	if node == "" {
		pod.Status.Phase = corev1.PodPending
		pod.Status.Conditions[0].Status = corev1.ConditionFalse
		pod.Status.Conditions[0].Reason = corev1.PodReasonUnschedulable
		pod.Status.Conditions[0].Message = "0/4 nodes are available: 3 Insufficient cpu, 1 node(s) were unschedulable."
	}
	return pod
}

// Node returns a virtual node that is ready.
func Node(name string) *corev1.Node {
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: policy.VirtualNodeLabels(), Annotations: map[string]string{}},
		Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
			corev1.ResourcePods: resource.MustParse("1000"), corev1.ResourceCPU: resource.MustParse("100"),
			corev1.ResourceMemory: resource.MustParse("200Gi"),
		}},
	}
}

// Event returns an Event of a program of Spillway.
func Event(kind, namespace, name, reason, message string, warning bool, at time.Time) *corev1.Event {
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: namespace, Name: name + reason},
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: namespace, Name: name},
		Reason:         reason, Message: message, Type: corev1.EventTypeNormal, LastTimestamp: metav1.NewTime(at),
	}
	if warning {
		event.Type = corev1.EventTypeWarning
	}
	return event
}
