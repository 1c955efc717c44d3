// Package placement answers the scheduler: to which class of nodes a Pod may go, how virtual nodes rank, and which Pods
// may be evicted. It combines policy (which decides), ledger (which counts) and nodes (which classifies), and makes a
// reserved slot durable before it answers. It does not know HTTP.
package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/extender/slowcall"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// Facts is what a decision depends on, apart from the Pod. Package internal/facts implements it.
type Facts interface {
	Global() policy.Switch
	Claims(*corev1.Pod) map[string]string
	// Namespace returns the annotations of a namespace. It returns an error while they are not known.
	Namespace(name string) (map[string]string, error)
	Ready() bool
}

// Slots makes a reserved slot durable. The slot must survive a restart of the extender before it is reported to the
// scheduler.
type Slots interface {
	// Write writes an annotation of the Pod, and blocks for one API call. notWritten is true if the error proves that
	// the slot was not written.
	Write(ctx context.Context, pod *corev1.Pod, annotation, value string) (notWritten bool, err error)
}

// Leadership reports whether this process may answer, and whether it may report what it has decided. Package leadership
// implements it.
type Leadership interface {
	// Ready returns nil if this process answers, and otherwise an error that says why it does not. It does not block.
	Ready() error
	// CurrentTerm returns the current term. In that term this process knows what was made durable in earlier ones. It
	// returns an error if this process does not answer. It may block for some API calls, but a slow API server delays
	// only one of many calls.
	CurrentTerm(ctx context.Context) (leadership.Term, error)
	// VerifyTerm blocks for one API call. If it returns nil, every later leader knows what was made durable before the
	// call. If it returns leadership.ErrNewTerm, the decision must be made again in a new term.
	VerifyTerm(ctx context.Context, term leadership.Term) error
}

// Config is what a Placement consists of.
type Config struct {
	Policy *policy.Policy
	Facts  Facts
	Ledger *ledger.Ledger
	Nodes  *nodes.Nodes
	Slots  Slots
	// Leadership decides whether this process may answer.
	Leadership Leadership
	// Timeout is how long an answer waits until the caches have seen what the scheduler has seen, and until a slot is
	// written. A longer one delays all scheduling while a watch is stalled, a shorter one refuses Pods under load.
	Timeout time.Duration
	// Now is the clock that says whether a Pod has waited as long as it must (burst-after).
	Now    func() time.Time
	Logger *slog.Logger
}

// Placement answers the scheduler. All methods are safe for concurrent use.
type Placement struct {
	policy     *policy.Policy
	facts      Facts
	ledger     *ledger.Ledger
	nodes      *nodes.Nodes
	slots      *slotWriter
	leadership Leadership
	timeout    time.Duration
	now        func() time.Time
	logger     *slog.Logger
}

// New returns a Placement.
func New(c Config) *Placement {
	return &Placement{
		policy: c.Policy, facts: c.Facts, ledger: c.Ledger, nodes: c.Nodes, slots: newSlotWriter(c.Slots),
		leadership: c.Leadership, timeout: c.Timeout, now: c.Now, logger: c.Logger,
	}
}

// Ready returns nil if this process answers the scheduler, and otherwise an error that says why it does not.
func (p *Placement) Ready() error {
	if !p.Synced() {
		return errors.New("the extender is starting: its caches have not synced yet")
	}
	return p.leadership.Ready()
}

// Synced reports whether all caches have synced.
func (p *Placement) Synced() bool { return p.facts.Ready() && p.nodes.Synced() && p.ledger.Synced() }

// FilterResult is the result of Filter.
type FilterResult struct {
	// Names are the nodes to which the Pod may go.
	Names []string
	// Reason is the reason for the result, also if there are nodes.
	Reason policy.Reason
	// Refusal is the message for the Pod's condition if there are no nodes. It is constant for a Reason: a message that
	// changes makes the scheduler retry the Pod in a loop (4,478 attempts in 15 s, docs/sources.md#scheduler-hot-loop).
	Refusal string
}

// Filter returns the nodes to which the Pod may go. An error means that there is no answer now. The scheduler retries
// the Pod. A *nodes.UnknownNodeError is an error of the client. For an unmanaged Pod it returns all names, and waits
// for nothing.
func (p *Placement) Filter(ctx context.Context, pod *corev1.Pod, names []string) (FilterResult, error) {
	managed, err := p.manages(pod)
	if err != nil {
		return FilterResult{}, err
	}
	if !managed {
		return FilterResult{Names: names, Reason: policy.ReasonUnmanaged}, nil
	}
	if err := p.Ready(); err != nil {
		return FilterResult{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	view, err := p.nodes.Await(ctx, names)
	if err != nil {
		return FilterResult{}, err
	}
	c, err := p.decide(pod, nil)
	if err != nil {
		return FilterResult{}, err
	}
	c.offer(p, view, names)
	outcome, err := p.reserve(ctx, c)
	if err != nil {
		return FilterResult{}, err
	}
	result := p.result(c, outcome)
	p.logger.DebugContext(ctx, "filtered nodes", logging.Pod(pod.Namespace, pod.Name, pod.UID),
		"decision", c.Describe(), "reason", result.Reason, "nodes", len(result.Names))
	switch {
	case result.Refusal == "" || outcome.Waits(): // The ledger itself requeues Pods that wait.
	case result.Reason == policy.ReasonBurstAfter:
		p.ledger.ParkUntil(pod.UID, c.deadline)
	default:
		p.ledger.Park(pod.UID)
	}
	return result, nil
}

// result returns the result of Filter for a Pod for which the ledger has an outcome.
func (p *Placement) result(c candidate, outcome ledger.Outcome) FilterResult {
	allowed, reason := c.choose(outcome)
	chosen := []string{}
	if allowed.local {
		chosen = c.local
	}
	if allowed.virtual {
		chosen = append(chosen, c.virtual...)
	}
	if len(chosen) > 0 {
		return FilterResult{Names: chosen, Reason: reason}
	}
	return FilterResult{Names: chosen, Reason: reason, Refusal: p.refusal(reason, c)}
}

// decide asks policy about a Pod. imagined are virtual nodes that do not exist.
func (p *Placement) decide(pod *corev1.Pod, imagined []policy.VirtualNode) (candidate, error) {
	annotations, err := p.facts.Namespace(pod.Namespace)
	if err != nil {
		return candidate{}, err
	}
	c := candidate{pod: pod, input: policy.Input{
		Pod: pod, Global: p.facts.Global(), Claims: p.facts.Claims(pod), NamespaceAnnotations: annotations,
		Nodes: append(slices.Clip(p.nodes.Ours()), imagined...),
	}}
	var settings policy.NamespaceSettings
	c.Decision, settings = p.policy.DecideWithSettings(c.input)
	c.limits = settings.CloudLimits
	c.await(p.now())
	return c, nil
}

// reserve does what the Pod needs of the ledger, once the ledger has seen what the scheduler has seen. The outcome is
// empty if the ledger does not decide. A slot is written to the Pod before reserve returns. If there are other
// extenders, it reports a slot only in a term that was still current after the slot was written, so that every later
// leader counts the slot.
func (p *Placement) reserve(ctx context.Context, c candidate) (ledger.Outcome, error) {
	switch c.need() {
	case nothing:
		return "", nil
	case countedLocal:
		if err := p.ledger.WaitFor(ctx, c.pod.ResourceVersion); err != nil {
			return "", err
		}
		p.ledger.ReserveBeyondQuota(c.pod.UID)
		return "", nil
	case countedInCloud:
		p.ledger.ChargeCloud(c.pod.UID)
		return "", nil
	case aDeadline:
		return "", p.ledger.WaitFor(ctx, c.pod.ResourceVersion)
	case anOutcome:
	}
	for {
		outcome, err := p.reserveInTerm(ctx, c)
		switch {
		case errors.Is(err, leadership.ErrNewTerm):
			continue
		case err != nil:
			return "", err
		case outcome == ledger.Gone:
			return "", errGone(c.pod)
		}
		return outcome, nil
	}
}

func errGone(pod *corev1.Pod) error {
	return fmt.Errorf("pod %s/%s with UID %s is gone, terminating or finished", pod.Namespace, pod.Name, pod.UID)
}

func (p *Placement) reserveInTerm(ctx context.Context, c candidate) (ledger.Outcome, error) {
	pod := c.pod
	term, err := p.leadership.CurrentTerm(ctx)
	if err != nil {
		return "", err
	}
	if err := p.ledger.WaitFor(ctx, pod.ResourceVersion); err != nil {
		return "", err
	}
	outcome, slot := p.ledger.Reserve(c.request())
	if slot.Kind == "" {
		return outcome, nil
	}
	err = p.writeSlot(ctx, pod, slot)
	if c.preempting && errors.Is(err, slowcall.ErrSlow) {
		// The write continues in the background, and the Pod is placed only after it has succeeded. An error would
		// leave the Pod unschedulable for minutes: if only plugins have rejected it, no update of the Pod makes the
		// scheduler retry it.
		return outcome, nil
	}
	if err != nil {
		return "", err
	}
	if err := p.leadership.VerifyTerm(ctx, term); err != nil {
		return "", err
	}
	p.ledger.Confirm(pod.UID, slot.Kind)
	return outcome, nil
}

// writeSlot makes the Pod's slot durable.
func (p *Placement) writeSlot(ctx context.Context, pod *corev1.Pod, slot ledger.Slot) error {
	annotation, value := string(slot.Kind), string(pod.UID)
	if slot.Kind == ledger.CloudSlot {
		value = policy.CloudSlot{Flavor: slot.Use.Flavor}.Value(pod)
	}
	if !slot.Fresh && pod.Annotations[annotation] == value {
		return nil
	}
	notWritten, err := p.slots.write(ctx, pod, annotation, value)
	if err != nil && notWritten && slot.Fresh {
		p.ledger.Cancel(pod.UID, slot.Kind)
	}
	return err
}

// refusal returns the message for the condition of a Pod for which there is no node.
func (p *Placement) refusal(reason policy.Reason, c candidate) string {
	switch reason {
	case policy.ReasonLocalQuota:
		return policy.LocalQuotaReached(c.Shares, p.noVirtualNode(c.pod)).Refusal()
	case policy.ReasonLocalMin:
		return policy.LocalMinimum().Refusal()
	case policy.ReasonBurstAfter:
		return policy.BurstAfter(c.deadline).Refusal()
	case policy.ReasonCloudMax:
		return policy.CloudMaximumReached().Refusal()
	case policy.ReasonCloudLimits:
		return p.policy.CloudLimitsReached(c.pod).Refusal()
	case policy.ReasonPreemptFirst:
		return policy.PreemptFirst().Refusal()
	case policy.ReasonCloudOnly:
		return policy.CloudOnly(c.Decision, p.noVirtualNode(c.pod)).Refusal()
	case policy.ReasonLocalOnly:
		return c.Says().Refusal()
	default:
		return policy.NoNode(c.Decision, p.noVirtualNode(c.pod)).Refusal()
	}
}

// noVirtualNode says why no virtual node is among the nodes that the scheduler has sent. It sends the nodes that have
// passed its filters, and reports the reasons of the others itself, in the same condition.
func (p *Placement) noVirtualNode(pod *corev1.Pod) policy.VirtualNodesOut {
	switch {
	case len(p.nodes.Ours()) == 0:
		return policy.NoVirtualNode
	case !policy.ToleratesProvider(&pod.Spec):
		return policy.NotTolerated
	case p.nodes.SoldOut():
		return policy.AllLocked
	}
	return policy.FilteredOut
}
