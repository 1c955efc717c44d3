// Package fit says whether a stock kube-scheduler would surely bind a Pod to a local node now. The way home asks it
// before it moves a Pod: a wrong "yes" costs a move that must be undone, a wrong "no" costs nothing but time. So the
// answer is "no" wherever the package does not know: it then says what it does not know.
//
// It calculates as the default plugins of kube-scheduler do (pkg/scheduler/framework/plugins of Kubernetes 1.37), and
// only stricter. It is pure: it reads the objects that it is given, and no clock.
//
// It does not know Pods that the scheduler has assumed on a node but that are not bound yet, and it reserves nothing
// for Pods that wait unless they are nominated to a node. Callers must not ask while Pods of the workload are being
// scheduled, and should ask again after a while. Preemption never counts: a node fits only if no Pod must make room.
package fit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
)

// Cluster is what nodes have room for at one moment. It keeps the objects that it was made of and never changes, except
// by Reserve. Its methods can be called concurrently, but not with Reserve.
type Cluster struct {
	nodes   []*node
	byName  map[string]*node
	volumes Volumes
	// antiAffinity are the required anti-affinity terms of Pods that are on a node.
	antiAffinity map[string]*existingTerm
	// claims counts the Pods that use a PersistentVolumeClaim, by namespace and name.
	claims map[claimKey]int
	// placed are the Pods that are on a node of the cluster or nominated to one.
	placed []placedPod
	// index finds Pods by their labels. It is made for the first Pod whose rules refer to other Pods.
	index func() *labelIndex
}

// placedPod is a Pod that is on a node, or nominated to it.
type placedPod struct {
	*corev1.Pod
	node      *node
	nominated bool
}

// NewCluster returns the cluster that consists of all nodes, also virtual ones, and of all Pods. The Pods may contain
// the one about which is asked: it is on a virtual node then. The objects must not change afterwards. The work is
// linear in the Pods.
func NewCluster(nodes []*corev1.Node, pods []*corev1.Pod) *Cluster {
	c := &Cluster{
		byName:       make(map[string]*node, len(nodes)),
		antiAffinity: map[string]*existingTerm{},
		claims:       map[claimKey]int{},
	}
	for _, object := range nodes {
		n := newNode(object)
		c.nodes = append(c.nodes, n)
		c.byName[object.Name] = n
	}
	slices.SortFunc(c.nodes, func(a, b *node) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range pods {
		if finished(pod) {
			continue // kube-scheduler does not watch them.
		}
		if name := pod.Spec.NodeName; name != "" {
			c.add(pod, name, false)
		} else if name := pod.Status.NominatedNodeName; name != "" {
			c.add(pod, name, true)
		}
	}
	c.index = sync.OnceValue(func() *labelIndex { return newLabelIndex(c.placed) })
	return c
}

// Reserve counts the Pod on the node from now on, as if it was nominated to it: for a caller that asks about several
// Pods and moves more than one.
func (c *Cluster) Reserve(pod *corev1.Pod, name string) {
	c.add(pod, name, true)
	c.index = sync.OnceValue(func() *labelIndex { return newLabelIndex(c.placed) })
}

func (c *Cluster) add(pod *corev1.Pod, name string, nominated bool) {
	for _, key := range claimsOf(pod) {
		c.claims[key]++
	}
	n := c.byName[name]
	if n == nil {
		return // kube-scheduler does not consider nodes that are gone.
	}
	n.add(pod, nominated)
	c.placed = append(c.placed, placedPod{pod, n, nominated})
	c.addAntiAffinity(pod, n)
}

func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Node returns the name of a node that allowed returns true for, and to which the scheduler would surely bind a Pod
// like this one now. If there is none, it returns why, in one sentence.
//
// The Pod is one that exists and is to be replaced, or one that does not exist. On which node it is does not matter,
// what it requests does. A node is returned only if it fits both while that Pod is there and as soon as it is gone,
// because the scheduler may consider its successor before or after. The successor is made from the template: if it has
// scheduling gates, or other requests because the Pod was resized in place, ask with these.
//
// The work is linear in the nodes, plus the Pods that rules of this Pod refer to: those with one of the labels that a
// selector requires. A selector that requires no label refers to all Pods.
func (c *Cluster) Node(pod *corev1.Pod, allowed func(node string) bool) (name, why string) {
	q, why := c.newQuestion(pod)
	if why != "" {
		return "", why
	}
	refused := map[refusal]int{}
	considered := 0
	for _, n := range c.nodes {
		if !allowed(n.Name) {
			continue
		}
		considered++
		r := q.ask(n)
		if r == "" {
			return n.Name, ""
		}
		refused[r]++
	}
	return "", sentence(considered, refused)
}

// question is what is calculated once for a Pod, before the nodes are asked.
type question struct {
	pod      *corev1.Pod
	requests amounts
	ports    []hostPort
	rules    nodeRules
	volumes  podVolumes
	spread   []spreadConstraint
	affinity podAffinity
}

// newQuestion returns an empty question and why, if no node can be named for the Pod.
func (c *Cluster) newQuestion(pod *corev1.Pod) (q question, why string) {
	switch {
	case len(pod.Spec.SchedulingGates) > 0:
		return q, "the Pod has scheduling gates, and when they are removed is not known"
	case len(pod.Spec.ResourceClaims) > 0:
		return q, "the Pod has ResourceClaims (dynamic resource allocation), which are not checked"
	case pod.Spec.SchedulingGroup != nil:
		return q, "the Pod belongs to a scheduling group, whose Pods are placed together"
	}
	q = question{pod: pod, requests: requestsOf(pod), ports: hostPortsOf(pod)}
	q.rules = newNodeRules(pod)
	if q.volumes, why = c.volumesOf(pod); why != "" {
		return q, why
	}
	if q.spread, why = c.spreadOf(pod); why != "" {
		return q, why
	}
	q.affinity, why = c.affinityOf(pod)
	return q, why
}

// ask returns why the Pod does not surely fit on the node, or nothing.
func (q *question) ask(n *node) refusal {
	for _, check := range []func(*node) refusal{
		healthy, q.rules.check, q.hasRoom, q.portsFree, q.volumes.check, q.spreads, q.affinity.check,
	} {
		if r := check(n); r != "" {
			return r
		}
	}
	return ""
}

// refusal is why a node does not fit, as it follows a number of nodes.
type refusal string

const (
	notReady      refusal = "not ready or under pressure"
	cordoned      refusal = "cordoned or tainted"
	notSelected   refusal = "excluded by node selector, node affinity or a feature that the node lacks"
	noRoom        refusal = "without room for what the Pod requests"
	portTaken     refusal = "with the host port in use"
	wrongVolume   refusal = "not suited for the volumes of the Pod"
	unevenSpread  refusal = "excluded by topology spread constraints"
	badNeighbours refusal = "excluded by Pod affinity or anti-affinity"
)

// sentence says why no node was named.
func sentence(considered int, refused map[refusal]int) string {
	if considered == 0 {
		return "there is no local node"
	}
	var parts []string
	for _, r := range []refusal{
		notReady, cordoned, notSelected, noRoom, portTaken, wrongVolume, unevenSpread, badNeighbours,
	} {
		if refused[r] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", refused[r], r))
		}
	}
	return fmt.Sprintf("0 of %d local nodes fit: %s", considered, strings.Join(parts, ", "))
}
