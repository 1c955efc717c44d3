package day

import (
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// Figures are what one day shows.
type Figures struct {
	// CloudSeconds are the seconds of real time that one billed CPU ran in the cloud.
	CloudSeconds float64
	// CloudPods are the Pods that were bound to a virtual node.
	CloudPods int
	// Moved are the Pods that were evicted from a virtual node, by workload. Only the way home does that here.
	Moved map[string]int
	// Undone are moves that began and ended with the Pod where it was.
	Undone int
	// Early are the moves of a workload that began before the pause after its previous move had ended.
	Early int
	// Evictions are those of the way home and of the drain.
	Evictions int
	// AfterEviction is the lowest difference between the Ready Pods of a workload and those that its
	// PodDisruptionBudget demands, at the instants when an eviction was seen.
	AfterEviction int
	// Broken are the evictions that left fewer.
	Broken []string
	// Settled is the lowest such difference at any instant between the one when all replicas of a workload were Ready
	// and the next time that it was scaled out.
	Settled int
	// Requests are those of the client, and Failed those that failed, by why.
	Requests int
	Failed   map[string]int
}

// unknownMargin is the difference before the first observation.
const unknownMargin = 1 << 30

// meter follows the Pods of one day, and calculates the figures. It is told the time with each event.
type meter struct {
	mu        sync.Mutex
	rules     *policy.Policy
	pause     time.Duration
	pods      map[types.UID]*podState
	workloads map[string]*workloadState
	figures   Figures
}

// podState is what the meter knows of a Pod.
type podState struct {
	workload string
	virtual  bool
	cores    float64
	// billedSince is when the Pod was seen on a virtual node, zero if it is not billed.
	billedSince time.Time
	ready       bool
	// notReadySince is when the Pod stopped being Ready, and endingSince when its deletion began.
	notReadySince, endingSince time.Time
	// grace is how long a Pod serves after its deletion began.
	grace                    time.Duration
	moving, evicted, deleted bool
}

// workloadState is what the meter knows of a workload.
type workloadState struct {
	// replicas is what the curve has set last.
	replicas int
	settled  bool
	// needed is what the controller of PodDisruptionBudgets says, and before what it said until neededSince.
	needed, before int
	neededSince    time.Time
	lastMoved      time.Time
}

func newMeter(rules *policy.Policy, pause time.Duration) *meter {
	return &meter{
		rules: rules, pause: pause, pods: map[types.UID]*podState{}, workloads: map[string]*workloadState{},
		figures: Figures{
			Moved: map[string]int{}, Failed: map[string]int{}, AfterEviction: unknownMargin, Settled: unknownMargin,
		},
	}
}

// scaled is called before a workload is scaled.
func (m *meter) scaled(name string, replicas int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workload(name)
	if replicas > w.replicas {
		w.settled = false
	}
	w.replicas = replicas
}

func (m *meter) workload(name string) *workloadState {
	w := m.workloads[name]
	if w == nil {
		w = &workloadState{}
		m.workloads[name] = w
	}
	return w
}

// budget is called when a PodDisruptionBudget has changed. It has the name of its workload.
func (m *meter) budget(now time.Time, pdb *policyv1.PodDisruptionBudget) {
	m.mu.Lock()
	defer m.mu.Unlock()
	w := m.workload(pdb.Name)
	if needed := int(pdb.Status.DesiredHealthy); needed != w.needed {
		w.before, w.needed, w.neededSince = w.needed, needed, now
	}
}

// demand returns how many Ready Pods the PodDisruptionBudget demands. It follows a scale in only after the Pods have
// gone. For a while after a scale out the former number counts too: Pods and PodDisruptionBudgets come by different
// watches, so an eviction may be seen after a change of its PodDisruptionBudget that came later.
func (w *workloadState) demand(now time.Time) int {
	needed := min(w.needed, w.replicas-maxUnavailable)
	if now.Sub(w.neededSince) < lag {
		needed = min(needed, w.before)
	}
	return needed
}

// pod is called with each state of a Pod. gone is true for the last one.
func (m *meter) pod(now time.Time, pod *corev1.Pod, gone bool) {
	name := pod.Labels[appLabel]
	if name == "" {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	p := m.pods[pod.UID]
	if p == nil {
		p = &podState{workload: name, notReadySince: now}
		m.pods[pod.UID] = p
	}
	m.bill(now, p, pod, gone)
	wasReady := p.ready
	p.deleted = p.deleted || gone
	if (pod.DeletionTimestamp != nil || gone) && p.endingSince.IsZero() {
		p.endingSince = now
	}
	if seconds := pod.DeletionGracePeriodSeconds; seconds != nil {
		p.grace = max(p.grace, time.Duration(*seconds)*time.Second)
	}
	p.ready = p.endingSince.IsZero() && isReady(pod)
	if wasReady && !p.ready {
		p.notReadySince = now
	}
	m.move(now, p, pod)
	m.availability(now, p, pod)
}

// bill counts a Pod from its binding to a virtual node until it is gone or has ended.
func (m *meter) bill(now time.Time, p *podState, pod *corev1.Pod, gone bool) {
	if !p.virtual && strings.HasPrefix(pod.Spec.NodeName, system.VirtualNodePrefix) {
		p.virtual, p.billedSince = true, now
		m.figures.CloudPods++
		if use, err := m.rules.CloudUse(pod); err == nil {
			p.cores = float64(use.MilliCPU) / 1000
		}
	}
	if p.billedSince.IsZero() || !gone && !policy.HasEnded(pod) {
		return
	}
	m.figures.CloudSeconds += now.Sub(p.billedSince).Seconds() * p.cores
	p.billedSince = time.Time{}
}

// move follows the moves. One begins when the Pod gets the annotation or is evicted, and ends with its eviction.
func (m *meter) move(now time.Time, p *podState, pod *corev1.Pod) {
	w := m.workload(p.workload)
	_, moving := pod.Annotations[movingHome]
	evicted := !p.endingSince.IsZero() && p.virtual && isEvicted(pod)
	begins := moving && !p.moving || evicted && !p.evicted && !p.moving
	if begins && !w.lastMoved.IsZero() && now.Sub(w.lastMoved) < m.pause {
		m.figures.Early++
	}
	switch {
	case evicted && !p.evicted:
		m.figures.Moved[p.workload]++
		w.lastMoved = now
	case p.moving && !moving && !p.evicted && p.endingSince.IsZero():
		m.figures.Undone++
		w.lastMoved = now
	}
	p.moving = moving
}

// availability compares the Ready Pods of the workload with what its PodDisruptionBudget demands.
func (m *meter) availability(now time.Time, p *podState, pod *corev1.Pod) {
	w := m.workload(p.workload)
	ready := 0
	for _, other := range m.pods {
		if other.workload == p.workload && other.ready {
			ready++
		}
	}
	w.settled = w.settled || ready >= w.replicas
	margin := ready - w.demand(now)
	if !p.evicted && !p.endingSince.IsZero() && isEvicted(pod) {
		p.evicted = true
		m.figures.Evictions++
		m.figures.AfterEviction = min(m.figures.AfterEviction, margin)
		if margin < 0 {
			m.figures.Broken = append(m.figures.Broken, fmt.Sprintf("%s: Pod %s was evicted, %d of %d are Ready, and "+
				"%d are demanded", p.workload, pod.Name, ready, w.replicas, w.demand(now)))
		}
	}
	if w.settled {
		m.figures.Settled = min(m.figures.Settled, margin)
	}
}

// request counts a request that a client sends to a Pod, which the EndpointSlices offered at that instant. They are
// given as UIDs; without one, the Service offered no Pod.
func (m *meter) request(now time.Time, pod types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.figures.Requests++
	if why := m.failure(now, pod); why != "" {
		m.figures.Failed[why]++
	}
}

// Why a request fails.
const (
	noEndpoint   = "no Ready endpoint"
	longGone     = "the Pod was gone longer than its grace period"
	longNotReady = "the Pod was not Ready"
)

// lag is how long EndpointSlices may offer a Pod that is not Ready any more: the controller of EndpointSlices follows
// the Pods.
const lag = time.Second

// failure returns why a request fails, if it does. A Pod whose deletion has begun is expected to serve for its grace
// period: endpoints are removed while it terminates (Pod lifecycle, termination of Pods). Simulated Pods are gone
// sooner, so the time since the deletion counts and not whether the Pod exists.
func (m *meter) failure(now time.Time, pod types.UID) string {
	p := m.pods[pod]
	switch {
	case pod == "":
		return noEndpoint
	case p == nil:
		return longNotReady
	case !p.endingSince.IsZero():
		if now.Sub(p.endingSince) > max(p.grace, lag) {
			return longGone
		}
	case !p.ready && now.Sub(p.notReadySince) > lag:
		return longNotReady
	}
	return ""
}

// result ends the day and returns its figures.
func (m *meter) result(now time.Time) Figures {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pods {
		if !p.billedSince.IsZero() {
			m.figures.CloudSeconds += now.Sub(p.billedSince).Seconds() * p.cores
			p.billedSince = time.Time{}
		}
	}
	return m.figures
}

func isReady(pod *corev1.Pod) bool { return hasCondition(pod, corev1.PodReady, "") }

// isEvicted reports whether the Pod was evicted by the API.
func isEvicted(pod *corev1.Pod) bool {
	return hasCondition(pod, corev1.DisruptionTarget, "EvictionByEvictionAPI")
}

func hasCondition(pod *corev1.Pod, kind corev1.PodConditionType, reason string) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind && c.Status == corev1.ConditionTrue && (reason == "" || c.Reason == reason) {
			return true
		}
	}
	return false
}
