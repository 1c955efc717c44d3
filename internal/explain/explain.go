// Package explain says where a Pod is and why, what would change it, and what it is billed as. It decides with package
// policy, as the programs do, and reads nothing: the caller collects an Input from the cluster.
package explain

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// Owner is a controller of a Pod: its ReplicaSet, or the Deployment behind it.
type Owner struct {
	APIVersion, Kind, Name string
	Labels                 map[string]string
	// Annotations are its InheritedAnnotations.
	Annotations map[string]string
	// TemplateLabels are the labels of its Pod template, nil if it has none.
	TemplateLabels map[string]string
}

// String returns the owner as people name it, such as "Deployment cart".
func (o Owner) String() string { return o.Kind + " " + o.Name }

// Input is what an explanation depends on. Explain does not change it.
type Input struct {
	Policy *policy.Policy
	// Pod is the Pod, or the Pod that a workload would create. Its namespace must be set.
	Pod *corev1.Pod
	// NotCreated means that the Pod does not exist.
	NotCreated bool
	// Manifest means that the Pod or its workload is in a file, and no command can change it in the cluster.
	Manifest bool
	// Owners are the controllers of the Pod, the nearest first.
	Owners []Owner
	// Global is the switch of the cluster.
	Global policy.Switch
	// NamespaceLabels and NamespaceAnnotations are those of the Pod's namespace.
	NamespaceLabels, NamespaceAnnotations map[string]string
	// Claims are the kinds of the volumes of the Pod's claims (policy.Input).
	Claims map[string]string
	// Nodes are the virtual nodes of Spillway. If nothing but its name is known of one, it has no status.
	Nodes []*corev1.Node
	// Replicas are the Pods of the Pod's revision. They matter only if the Pod has shares.
	Replicas Replicas
	// InCloud is what the Pods of the namespace use in the cloud. It is the same for all of them.
	InCloud policy.CloudUse
	// HasCloudSlot says that the Pod has a cloud slot. InCloud contains it while the Pod is not bound.
	HasCloudSlot bool
	// Schedulers are those that call the extender, nil if they are not known: the explanation then has no step
	// "scheduler".
	Schedulers *schedulers.Schedulers
	// Prices are the prices of the cloud, nil without any.
	Prices *prices.Table
	// WayHomeStopped says that the way home is stopped for the whole cluster.
	WayHomeStopped bool
	// Home is the last that the extender has said about the way home of the Pod, nil if that is not known.
	Home *HomeEvent
	// Now is the time of the question, zero if it is not known: then the answer does not say how long a Pod still
	// waits.
	Now time.Time
	// Unknown says what could not be read. The explanation assumes that it has no effect.
	Unknown []string
}

// Place says where a Pod is.
type Place string

const (
	// Local: on a local node.
	Local Place = "Local"
	// Cloud: on a virtual node.
	Cloud Place = "Cloud"
	// Waiting: on no node yet.
	Waiting Place = "Waiting"
	// Ended: it has succeeded or failed.
	Ended Place = "Ended"
	// NotCreated: it does not exist.
	NotCreated Place = "NotCreated"
)

// Explanation is the answer for one Pod. Its fields are the output of "kubectl spillway why -o json".
type Explanation struct {
	Namespace string `json:"namespace"`
	// Pod is the name of the Pod, or that of the workload whose Pod does not exist.
	Pod string `json:"pod"`
	// Workload is the outermost controller, such as "Deployment cart".
	Workload string `json:"workload,omitempty"`
	Place    Place  `json:"place"`
	Node     string `json:"node,omitempty"`
	// Placement and Reason are the decision of policy now. A Pod that runs stays where it is.
	Placement policy.Placement `json:"placement"`
	Reason    policy.Reason    `json:"reason"`
	// Message is why the Pod is there: what conditions, Events and statuses say too.
	Message policy.Message `json:"message"`
	// Summary says where the Pod is, and why: it contains the Message, and what changes too often for a condition.
	Summary string `json:"summary"`
	// Steps are the steps of the decision, in their order.
	Steps []Step `json:"steps"`
	// Settings are the keys that count for the Pod of those that may stand in several places, and where each stands.
	Settings []Setting `json:"settings,omitempty"`
	// Quota says what the shares of the revision are for its replicas of now, and who holds its local slots; nil
	// without shares.
	Quota *Quota `json:"quota,omitempty"`
	// Wait is how long the Pod must wait for room on local nodes before it may burst; nil if it need not.
	Wait *Wait `json:"wait,omitempty"`
	// Limits are those of the namespace in the cloud; nil without any.
	Limits *Limits `json:"limits,omitempty"`
	// Size is what the cloud bills; nil if it sells no such size.
	Size *Size `json:"size,omitempty"`
	// Changes are what would change where the Pod is.
	Changes []Change `json:"changes,omitempty"`
	// Unknown says what could not be read.
	Unknown []string `json:"unknown,omitempty"`
}

// Effect says what a step means for the way to the cloud.
type Effect string

const (
	// Allows: the step lets the Pod burst, or does not stand in the way.
	Allows Effect = "Allows"
	// Prevents: the step keeps the Pod off virtual nodes.
	Prevents Effect = "Prevents"
	// None: the step has no effect on the Pod.
	None Effect = "None"
)

// Step is one step of a decision.
type Step struct {
	Name   string `json:"name"`
	Effect Effect `json:"effect"`
	Text   string `json:"text"`
}

// Quota is the state of the shares of a revision.
type Quota struct {
	// Replicas is how many Pods the revision has. Percentages are of them. For a workload without Pods it is how many
	// it will have, 0 if that is not known.
	Replicas int `json:"replicas"`
	// Wanted is how many of them run on local nodes at most, Floor how many never burst, and CloudMax how many run in
	// the cloud at most. Without such a share they are nil.
	Wanted   *int `json:"wanted,omitempty"`
	Floor    *int `json:"floor,omitempty"`
	CloudMax *int `json:"cloudMax,omitempty"`
	// Used is how many Pods of the revision hold a local slot. Shares without effect have no slots.
	Used int `json:"used"`
	// Holders are those Pods, by name, and NotListed how many others there are.
	Holders   []Holder `json:"holders,omitempty"`
	NotListed int      `json:"notListed,omitempty"`
	// InCloud and Waiting are how many Pods of the revision are on virtual nodes and on no node.
	InCloud int `json:"inCloud"`
	Waiting int `json:"waiting"`
}

// Holder is a Pod that holds a slot. Node is empty while the Pod is not bound.
type Holder struct {
	Pod  string `json:"pod"`
	Node string `json:"node,omitempty"`
}

// Replicas are the Pods of a revision.
type Replicas struct {
	// Active is how many there are: Pods that neither terminate nor have ended. For a workload without Pods it is how
	// many it will have, 0 if that is not known.
	Active int
	// Used is how many of them hold a local slot. InCloud and Waiting are on virtual nodes and on no node, Reserved is
	// how many of Waiting have a cloud slot.
	Used, InCloud, Waiting, Reserved int
	// Holds says that the Pod itself holds a local slot.
	Holds bool
	// Holders are those that hold a slot, by name: all, or some of them.
	Holders []Holder
}

// Limits are what a namespace may use in the cloud, such as "pods=50,cpu=200".
type Limits struct {
	Limits string `json:"limits"`
	Used   string `json:"used"`
	// Needs is what the Pod would use in addition; empty if Used contains it, it has ended, or no size holds it.
	Needs string `json:"needs,omitempty"`
}

// Size is what a Pod is billed as in the cloud, beside what its containers request.
type Size struct {
	BilledCPU       string `json:"billedCPU"`
	BilledMemory    string `json:"billedMemory"`
	RequestedCPU    string `json:"requestedCPU"`
	RequestedMemory string `json:"requestedMemory"`
	// Currency and PerHour are the price of the size for an hour, empty without prices.
	Currency string `json:"currency,omitempty"`
	PerHour  string `json:"perHour,omitempty"`
}

// Change is something that would change where the Pod is. Command is empty if no command does it.
type Change struct {
	Effect  string `json:"effect"`
	Command string `json:"command,omitempty"`
}

// subject is an Input with what is derived from it.
type subject struct {
	Input
	decision policy.Decision
	result   evaluation.Result
	// message is why the Pod is where it is, rest what else the scheduler says about a Pod that waits.
	message policy.Message
	rest    string
	// stuck: the Pod waits on its virtual node, and message says why.
	stuck    bool
	settings policy.NamespaceSettings
	// settingsErr is the error of the annotations of the namespace.
	settingsErr  error
	restrictions []policy.Violation
	place        Place
	// values are the InheritedAnnotations that count for the Pod, and sharesErr is the error of its shares.
	values    map[string]string
	sharesErr error
	quota     *Quota
	size      *policy.CloudUse
}

// Explain answers for one Pod.
func Explain(in Input) Explanation {
	s := newSubject(in)
	e := Explanation{
		Namespace: in.Pod.Namespace, Pod: in.Pod.Name, Place: s.place, Node: in.Pod.Spec.NodeName,
		Placement: s.decision.Placement, Reason: s.decision.Reason, Message: s.message, Summary: s.summary(),
		Steps: s.steps(), Settings: s.places(), Quota: s.quota, Wait: s.wait(), Limits: s.limits(), Size: s.billed(),
		Changes: s.changes(),
		Unknown: in.Unknown,
	}
	if w := s.workload(); w != nil {
		e.Workload = w.String()
	}
	return e
}

func newSubject(in Input) *subject {
	s := &subject{Input: in}
	input := policy.Input{
		Pod: in.Pod, Global: in.Global, WorkloadLabels: s.workloadLabels(), NamespaceLabels: in.NamespaceLabels,
		WorkloadAnnotations: s.workloadAnnotations(), NamespaceAnnotations: in.NamespaceAnnotations,
		Claims: in.Claims, Nodes: s.virtualNodes(),
	}
	s.values = policy.Inherit(in.Pod.Annotations, input.WorkloadAnnotations, in.NamespaceAnnotations)
	s.result = evaluation.Of(in.Policy, input)
	s.decision = s.result.Decision
	s.restrictions = in.Policy.Restrictions(input)
	s.settings, s.settingsErr = in.Policy.NamespaceSettings(in.NamespaceAnnotations)
	s.place = s.findPlace()
	s.quota = s.countQuota()
	if use, err := in.Policy.CloudUse(in.Pod); err == nil {
		s.size = &use
	}
	s.stuck = s.place == Cloud && s.isPending() && (in.Pod.Status.Reason != "" || s.soldOut())
	s.message, s.rest = s.says()
	return s
}

// workloadLabels returns the labels of the nearest owner that has a burst label, as package owners of admission does.
func (s *subject) workloadLabels() map[string]string {
	for _, owner := range s.Owners {
		if policy.HasBurstLabel(owner.Labels) {
			return owner.Labels
		}
	}
	return nil
}

func (s *subject) virtualNodes() []policy.VirtualNode {
	nodes := make([]policy.VirtualNode, 0, len(s.Nodes))
	for _, node := range s.Nodes {
		if isName(node) {
			continue // Policy then assumes that the selectors of the Pod match.
		}
		nodes = append(nodes, policy.VirtualNode{Name: node.Name, Labels: node.Labels})
	}
	return nodes
}

// isName reports whether nothing but the name of a node is known.
func isName(node *corev1.Node) bool { return len(node.Labels) == 0 && !hasState(node) }

// hasState reports whether the status of a node is known.
func hasState(node *corev1.Node) bool {
	return len(node.Status.Conditions) > 0 || len(node.Status.Allocatable) > 0
}

func (s *subject) isVirtual(node string) bool { return has(s.Nodes, node) }

// has reports whether there is a node with the name.
func has(nodes []*corev1.Node, name string) bool {
	return slices.ContainsFunc(nodes, func(n *corev1.Node) bool { return n.Name == name })
}

func (s *subject) findPlace() Place {
	switch pod := s.Pod; {
	case s.NotCreated:
		return NotCreated
	case policy.HasEnded(pod):
		return Ended
	case pod.Spec.NodeName == "":
		return Waiting
	case s.isVirtual(pod.Spec.NodeName):
		return Cloud
	default:
		return Local
	}
}

// limits returns the limits of the namespace, nil without any.
func (s *subject) limits() *Limits {
	limits := s.settings.CloudLimits
	if limits.IsZero() {
		return nil
	}
	l := &Limits{Limits: limits.String(), Used: describeUse(s.InCloud)}
	if s.place != Cloud && s.place != Ended && !s.hasCloudSlot() && s.size != nil {
		l.Needs = describeUse(*s.size)
	}
	return l
}

// hasCloudSlot reports whether the Pod waits and has a cloud slot.
func (s *subject) hasCloudSlot() bool { return s.HasCloudSlot && s.place == Waiting }

// limitsAllow reports whether the limits of the namespace leave room for the Pod, which has a size.
func (s *subject) limitsAllow() bool {
	return s.hasCloudSlot() || s.settings.CloudLimits.Allow(s.InCloud.Plus(*s.size))
}

// mustBeReplaced reports whether the extender is never called for the Pod as it is, although its scheduler calls the
// extender for others. The webhook requests that when a Pod is created.
func (s *subject) mustBeReplaced() bool {
	return s.place == Waiting && s.Schedulers != nil && s.Schedulers.Call(s.Pod.Spec.SchedulerName) &&
		!s.Schedulers.Place(&s.Pod.Spec)
}

// isUncounted reports whether the Pod waits in a namespace with limits and does not count towards them. It then stays
// off virtual nodes (policy.ReasonNotCounted).
func (s *subject) isUncounted() bool {
	return s.decision.MayBurst() && !s.settings.CloudLimits.IsZero() && s.mustBeReplaced()
}

// Usage is what the Pods of a namespace use. It is the same for the explanations of all of them.
type Usage struct {
	inCloud   policy.CloudUse
	revisions map[policy.Revision]*Replicas
}

// UsageOf returns what Pods use. nodes are the virtual nodes.
func UsageOf(rules *policy.Policy, pods []*corev1.Pod, nodes []*corev1.Node) Usage {
	usage := Usage{revisions: map[policy.Revision]*Replicas{}}
	for _, pod := range pods {
		if policy.HasEnded(pod) {
			continue
		}
		virtual := has(nodes, pod.Spec.NodeName)
		usage.countReplica(pod, virtual)
		usage.countCloud(rules, pod, virtual)
	}
	for _, r := range usage.revisions {
		r.Used = len(r.Holders)
		slices.SortFunc(r.Holders, func(a, b Holder) int { return strings.Compare(a.Pod, b.Pod) })
	}
	return usage
}

// Fill sets what an Input has about the usage. Its Pod must be set.
func (u Usage) Fill(in *Input) {
	if counted := u.revisions[policy.RevisionOf(in.Pod)]; counted != nil {
		in.Replicas = *counted
		in.Replicas.Holds = slices.ContainsFunc(counted.Holders, func(h Holder) bool { return h.Pod == in.Pod.Name })
	}
	in.InCloud = u.inCloud
	_, in.HasCloudSlot = policy.CloudSlotOf(in.Pod)
}

// countReplica counts a Pod in its revision, as the ledger of the extender does: bound Pods, and slots on Pods that are
// not bound yet.
func (u *Usage) countReplica(pod *corev1.Pod, virtual bool) {
	if !policy.IsActive(pod) {
		return
	}
	revision := policy.RevisionOf(pod)
	r := u.revisions[revision]
	if r == nil {
		r = &Replicas{}
		u.revisions[revision] = r
	}
	r.Active++
	switch {
	case virtual:
		r.InCloud++
	case policy.HoldsLocalSlot(pod, false):
		r.Holders = append(r.Holders, Holder{pod.Name, pod.Spec.NodeName})
	default:
		r.Waiting++
		if _, reserved := policy.CloudSlotOf(pod); reserved {
			r.Reserved++
		}
	}
}

func (u *Usage) countCloud(rules *policy.Policy, pod *corev1.Pod, virtual bool) {
	slot, reserved := policy.CloudSlotOf(pod)
	if !virtual && (pod.Spec.NodeName != "" || !reserved || !policy.IsActive(pod)) {
		return
	}
	use, err := rules.CloudUse(pod)
	if err != nil {
		return // No size holds the Pod: the cloud does not run it.
	}
	if reserved {
		use = use.Max(policy.CloudUse{Pods: 1, Flavor: slot.Flavor})
	}
	u.inCloud = u.inCloud.Plus(use)
}

// workload returns the outermost controller, nil if the Pod has none.
func (s *subject) workload() *Owner {
	if len(s.Owners) == 0 {
		return nil
	}
	return &s.Owners[len(s.Owners)-1]
}

func (s *subject) billed() *Size {
	if s.size == nil {
		return nil
	}
	billed, requested := s.size.Resources(), sizes.Need(&s.Pod.Spec)
	size := &Size{
		BilledCPU: billed.Cpu().String(), BilledMemory: billed.Memory().String(),
		RequestedCPU: requested.Cpu().String(), RequestedMemory: requested.Memory().String(),
	}
	if s.Prices != nil {
		size.Currency = s.Prices.Currency()
		size.PerHour = prices.Exact(s.Prices.Hour(sizes.FamilyOf(s.Pod.Annotations), s.size.Flavor))
	}
	return size
}

// says returns why the Pod is where it is. For a Pod that waits, rest is what the scheduler says besides.
func (s *subject) says() (message policy.Message, rest string) {
	status := policy.Message{Code: policy.Reason(s.Pod.Status.Reason), Sentence: s.Pod.Status.Message}
	own := s.decision.Says()
	if len(s.result.Errors) > 0 && s.result.Off {
		own = policy.Malformed(s.result.Errors, true, s.place == Cloud)
	}
	switch {
	case s.place == Waiting:
		return s.waits(own)
	case status.Code != "" && (s.stuck || s.place == Ended):
		return status, "" // vnode has written it.
	case s.stuck:
		return policy.SoldOut(), ""
	case s.place == Cloud && s.isAtLocalCap():
		return policy.Message{Code: policy.ReasonLocalQuota, Sentence: policy.QuotaUsedUp(s.decision.Shares)}, ""
	}
	return own, ""
}

// isPending reports whether the Pod has a node and has not started there.
func (s *subject) isPending() bool { return s.Pod.Status.Phase == corev1.PodPending }

// soldOut reports whether the virtual node of the Pod says that the cloud has no capacity.
func (s *subject) soldOut() bool {
	isTrue := func(c corev1.NodeCondition) bool {
		return c.Type == corev1.NodeConditionType(policy.ReasonSoldOut) && c.Status == corev1.ConditionTrue
	}
	return slices.ContainsFunc(s.Nodes, func(n *corev1.Node) bool {
		return n.Name == s.Pod.Spec.NodeName && slices.ContainsFunc(n.Status.Conditions, isTrue)
	})
}

// waits returns why a Pod waits: what the extender has said, which is in the condition of the scheduler, or else what
// admission says.
func (s *subject) waits(own policy.Message) (message policy.Message, rest string) {
	scheduled := policy.PodCondition(s.Pod, corev1.PodScheduled)
	if scheduled == nil || scheduled.Message == "" {
		return own, ""
	}
	rest = policy.Clip(strings.TrimRight(scheduled.Message, ". "), maxCondition)
	for _, refusal := range s.Policy.Refusals(s.Pod, s.decision) {
		if policy.RefusedWith(s.Pod, refusal.Refusal()) {
			short := policy.RefusalPrefix + string(refusal.Code)
			if rest = strings.ReplaceAll(rest, refusal.Refusal(), short); rest == short {
				rest = ""
			}
			return refusal, rest
		}
	}
	message, ok := WhyWaiting(s.Pod, s.result, s.Schedulers, s.quotaIsUsedUp)
	switch {
	case ok:
		return message, rest
	case s.waitsForToleration():
		return policy.BurstAfter(s.decision.BurstsAt(s.Pod)), rest
	}
	return own, rest
}

// summary says where the Pod is, and why.
func (s *subject) summary() string {
	switch s.place {
	case Ended:
		return fmt.Sprintf("It has ended (%s)%s.", s.Pod.Status.Phase, s.statusText())
	case NotCreated:
		return s.wouldRun()
	case Local:
		return "It runs on local node " + s.Pod.Spec.NodeName + s.whyLocal() + "."
	case Cloud:
		if s.stuck {
			return "It waits on virtual node " + s.Pod.Spec.NodeName + ": " + s.message.String() + "."
		}
		return "It runs in the cloud, on virtual node " + s.Pod.Spec.NodeName + s.whyCloud() + "."
	default:
		return "It waits: " + s.whyWaiting() + "."
	}
}

// statusText is why a Pod has ended, if its status says so.
func (s *subject) statusText() string {
	if s.Pod.Status.Reason == "" {
		return ""
	}
	return ": " + strings.TrimRight(s.message.String(), ". ")
}

func (s *subject) wouldRun() string {
	switch d := s.decision; {
	case d.Placement == policy.PlacementLocalOnly:
		return "It would run on local nodes only: " + s.message.String() + "."
	case d.Placement == policy.PlacementCloudOnly:
		return "It would run in the cloud only: " + s.message.String() + "."
	case d.Shares.HasLocalCap():
		return fmt.Sprintf("Of its %s would run on local nodes, and the others in the cloud: %s.", s.localReplicas(),
			s.message)
	case d.Placement == policy.PlacementByScore:
		return "It would run on a local node or in the cloud: " + s.message.String() + "."
	default:
		return "It would run on a local node if one fits, and otherwise in the cloud: " + s.message.String() + "."
	}
}

func (s *subject) whyLocal() string {
	switch d := s.decision; {
	case !d.MayBurst():
		return ": " + s.message.String()
	case d.Shares.HasLocalCap() && s.holdsSlot() && s.Replicas.Used > s.localCap():
		why := "it was lowered"
		if hasPercentage(d.Shares) {
			why = "the revision has fewer replicas now, it was lowered"
		}
		return fmt.Sprintf(". The quota of its revision is %d, and %d of its Pods are local: more than the quota, "+
			"because %s, or they were placed without the extender", s.localCap(), s.Replicas.Used, why)
	case d.Shares.HasLocalCap():
		return fmt.Sprintf(": it holds a local slot of its revision (%d of %d used)", s.Replicas.Used, s.localCap())
	case d.Placement == policy.PlacementCloudOnly:
		return ". If it were created now, it would run in the cloud: " + s.message.String()
	case d.Placement == policy.PlacementByScore:
		return ": the scores of the scheduler chose it"
	default:
		return ": " + LocalFirst
	}
}

func (s *subject) whyCloud() string {
	switch d := s.decision; {
	case !d.MayBurst():
		return ". If it were created now, it would stay local: " + s.message.String() + ". Pods that run are not moved"
	case d.Placement == policy.PlacementCloudOnly:
		return ": " + s.message.String()
	case s.isAtLocalCap():
		return fmt.Sprintf(": %s (%d of %d)", s.message, s.Replicas.Used, s.localCap())
	case d.Shares.HasLocalCap():
		return fmt.Sprintf(". Its revision has %d of its %d local replicas: no local node had room when it was "+
			"scheduled, or a local replica has ended since", s.Replicas.Used, s.localCap())
	case d.Placement == policy.PlacementByScore:
		return ": the scores of the scheduler chose it"
	default:
		return ": no local node had room when it was scheduled"
	}
}

// maxCondition is how many bytes of the message of the scheduler an explanation repeats.
const maxCondition = 4096

func (s *subject) whyWaiting() string {
	if gates := s.Pod.Spec.SchedulingGates; len(gates) > 0 {
		return fmt.Sprintf("the scheduling gate %s is not removed yet; that is not done by Spillway", gates[0].Name)
	}
	scheduled := policy.PodCondition(s.Pod, corev1.PodScheduled)
	if scheduled == nil || scheduled.Message == "" {
		return "the scheduler " + s.scheduler() + " has not tried it yet"
	}
	text, cloud := "", s.cloudStep()
	switch {
	case hasSchedulerError(s.Pod):
		return "the scheduler could not decide, and tries it again: " + s.rest
	case s.message != s.decision.Says() || !s.decision.MayBurst():
		text = s.message.String()
		text += s.counts()
	case cloud.Effect == Prevents:
		text = "it may burst, but not now: " + strings.TrimRight(cloud.Text, ". ")
	case !policy.ToleratesProvider(&s.Pod.Spec) && !policy.RefusedByExtender(s.Pod):
		text = "it may burst, and does not tolerate virtual nodes yet: admission adds the toleration after the " +
			"scheduler has found no local node"
	default:
		return s.rest
	}
	if s.rest != "" {
		text += ". The scheduler says: " + s.rest
	}
	return text
}

// hasSchedulerError reports whether the last scheduling attempt ended with an error, such as an extender that does not
// respond.
func hasSchedulerError(pod *corev1.Pod) bool {
	scheduled := policy.PodCondition(pod, corev1.PodScheduled)
	return scheduled != nil && scheduled.Reason == corev1.PodReasonSchedulerError
}

func (s *subject) scheduler() string {
	return cmp.Or(s.Pod.Spec.SchedulerName, corev1.DefaultSchedulerName)
}
