// Package placement answers the scheduler: to which class of nodes a Pod may go, how virtual nodes rank, and which Pods
// may be evicted. It combines policy (which decides), ledger (which counts) and nodes (which classifies), and makes a
// reserved slot durable before it answers. It does not know HTTP.
package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// Facts is what a decision depends on, apart from the Pod. Package internal/facts implements it.
type Facts interface {
	Global() policy.Switch
	Claims(*corev1.Pod) map[string]string
	Ready() bool
}

// Slots makes a reserved slot durable. The slot must survive a restart of the extender before it is reported to the
// scheduler.
type Slots interface {
	// Write blocks for one API call. notWritten is true if the error proves that the slot was not written.
	Write(ctx context.Context, pod *corev1.Pod) (notWritten bool, err error)
}

// Leadership reports whether this process may answer, and whether it may report what it has decided. Package leadership
// implements it.
type Leadership interface {
	// Ready returns nil if this process answers, and otherwise an error that says why it does not. It does not block.
	Ready() error
	// CurrentTerm returns the current term. In that term this process knows what was made durable in earlier ones. It
	// returns an error if this process does not answer. It may block for some API calls, but a slow API server delays only
	// one of many calls.
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
	Logger  *slog.Logger
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
	logger     *slog.Logger
}

// New returns a Placement.
func New(c Config) *Placement {
	return &Placement{
		policy: c.Policy, facts: c.Facts, ledger: c.Ledger, nodes: c.Nodes, slots: newSlotWriter(c.Slots),
		leadership: c.Leadership, timeout: c.Timeout, logger: c.Logger,
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
// the Pod. A *nodes.UnknownNodeError is an error of the client.
func (p *Placement) Filter(ctx context.Context, pod *corev1.Pod, names []string) (FilterResult, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	view, err := p.nodes.Await(ctx, names)
	if err != nil {
		return FilterResult{}, err
	}
	local, virtual := view.Split(names)
	decision := p.decide(pod)
	chosen, reason, err := p.choose(ctx, pod, decision, local, virtual)
	if err != nil {
		return FilterResult{}, err
	}
	noLocalFits := reason != policy.ReasonLocalQuota && len(local) == 0
	if allowsBoth(decision) && noLocalFits && p.preemptsFirst(pod, view) {
		chosen, reason = nil, policy.ReasonPreemptFirst
	}
	p.logger.DebugContext(ctx, "filtered nodes", "pod", ledger.RefOf(pod).NamespacedName,
		"decision", decision.Describe(), "reason", reason, "nodes", len(chosen))
	if len(chosen) > 0 {
		return FilterResult{Names: chosen, Reason: reason}, nil
	}
	if reason != policy.ReasonLocalQuota {
		p.ledger.Park(pod.UID) // The ledger itself requeues Pods that wait for a slot.
	}
	return FilterResult{Names: []string{}, Reason: reason, Refusal: refusal(reason, decision)}, nil
}

func (p *Placement) decide(pod *corev1.Pod) policy.Decision {
	return p.policy.Decide(policy.Input{Pod: pod, Global: p.facts.Global(), Claims: p.facts.Claims(pod)})
}

// choose returns the nodes of the class to which the Pod goes.
func (p *Placement) choose(
	ctx context.Context, pod *corev1.Pod, d policy.Decision, local, virtual []string,
) ([]string, policy.Reason, error) {
	switch {
	case d.Placement == policy.PlacementLocalOnly:
		return local, policy.ReasonLocalOnly, p.reserveIfCounted(ctx, pod, local)
	case d.Placement == policy.PlacementCloudOnly:
		return virtual, policy.ReasonCloudOnly, nil
	case d.Placement == policy.PlacementByScore:
		return append(local, virtual...), d.Reason, nil
	case d.Quota != nil:
		return p.chooseByQuota(ctx, pod, d, local, virtual)
	case len(local) > 0:
		return local, d.Reason, nil
	default:
		return virtual, d.Reason, nil
	}
}

// reserveIfCounted reserves a slot for a Pod that has a quota but may not burst. If the switch is turned on while the
// Pod is being bound, the Pod must count for the others.
func (p *Placement) reserveIfCounted(ctx context.Context, pod *corev1.Pod, local []string) error {
	if _, counted := pod.Annotations[policy.LocalReplicasAnnotation]; !counted || len(local) == 0 {
		return nil
	}
	if err := p.ledger.WaitFor(ctx, pod.ResourceVersion); err != nil {
		return err
	}
	p.ledger.ReserveBeyondQuota(pod.UID)
	return nil
}

func (p *Placement) chooseByQuota(
	ctx context.Context, pod *corev1.Pod, d policy.Decision, local, virtual []string,
) ([]string, policy.Reason, error) {
	outcome, err := p.reserve(ctx, pod, *d.Quota, len(local) > 0, len(virtual) > 0)
	if err != nil {
		return nil, "", err
	}
	switch outcome {
	case ledger.Local:
		return local, d.Reason, nil
	case ledger.Overflow:
		return virtual, d.Reason, nil
	case ledger.Cloud:
		return virtual, policy.ReasonLocalQuota, nil
	case ledger.Wait:
		return nil, policy.ReasonLocalQuota, nil
	default:
		return nil, "", fmt.Errorf("pod %s/%s with UID %s is gone, terminating or finished", pod.Namespace, pod.Name, pod.UID)
	}
}

// reserve reserves a slot once the ledger has seen what the scheduler has seen, and writes a fresh slot before it
// returns. If there are other extenders, it returns "local" only in a term that was still current after the slot was
// written, so that every later leader counts the slot.
func (p *Placement) reserve(
	ctx context.Context, pod *corev1.Pod, quota int, localFits, cloudFits bool,
) (ledger.Outcome, error) {
	request := ledger.Request{UID: pod.UID, Quota: quota, LocalFits: localFits, CloudFits: cloudFits}
	for {
		outcome, err := p.reserveInTerm(ctx, pod, request)
		if !errors.Is(err, leadership.ErrNewTerm) {
			return outcome, err
		}
	}
}

func (p *Placement) reserveInTerm(
	ctx context.Context, pod *corev1.Pod, request ledger.Request,
) (ledger.Outcome, error) {
	term, err := p.leadership.CurrentTerm(ctx)
	if err != nil {
		return "", err
	}
	if err := p.ledger.WaitFor(ctx, pod.ResourceVersion); err != nil {
		return "", err
	}
	outcome, fresh := p.ledger.Reserve(request)
	if outcome != ledger.Local {
		return outcome, nil
	}
	if err := p.writeSlot(ctx, pod, fresh); err != nil {
		return "", err
	}
	if err := p.leadership.VerifyTerm(ctx, term); err != nil {
		return "", err
	}
	p.ledger.Confirm(pod.UID)
	return outcome, nil
}

// writeSlot makes the Pod's slot durable.
func (p *Placement) writeSlot(ctx context.Context, pod *corev1.Pod, fresh bool) error {
	if !fresh && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID) {
		return nil
	}
	notWritten, err := p.slots.write(ctx, pod)
	if err != nil && notWritten && fresh {
		p.ledger.Cancel(pod.UID)
	}
	return err
}

// refusal returns the message for the condition of a Pod for which there is no node.
func refusal(reason policy.Reason, d policy.Decision) string {
	switch reason {
	case policy.ReasonLocalQuota:
		return policy.RefusalPrefix + string(reason) + ": this revision has its " + policy.LocalReplicasAnnotation +
			" on local nodes, and no virtual node can take the Pod now; " +
			"the scheduler retries the Pod when a local replica ends or a virtual node has room"
	case policy.ReasonPreemptFirst:
		return preemptFirst
	case policy.ReasonCloudOnly:
		return policy.RefusalPrefix + string(reason) + ": " + d.Message + ", and none can take the Pod now"
	case policy.ReasonLocalOnly:
		return policy.RefusalPrefix + string(d.Reason) + ": " + d.Message
	default:
		return policy.RefusalPrefix + string(reason) + ": no node of the right class can take the Pod now"
	}
}
