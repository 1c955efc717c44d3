// Package placement answers the scheduler: which class of nodes a Pod may go to, how virtual nodes rank, and whom it may evict.
// It brings together policy (which decides), ledger (which counts) and nodes (which classifies), and makes a promised slot durable
// before it answers. It knows no HTTP.
package placement

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/extender/nodes"
	"github.com/spillway-k8s/spillway/policy"
)

// Facts is what a decision needs beside the Pod (internal/facts has them).
type Facts interface {
	Global() policy.Switch
	Claims(*corev1.Pod) map[string]string
	Ready() bool
}

// Slots makes a promised slot durable: it must outlive the extender before the scheduler hears of it.
type Slots interface {
	// Write blocks for one API call. definite tells that an error means the slot was not written.
	Write(ctx context.Context, pod *corev1.Pod) (definite bool, err error)
}

// Leadership says whether this process answers at all, and whether what it has decided may be said (package leader).
type Leadership interface {
	// Ready is nil where this process answers, or an error that says why not. It does not block.
	Ready() error
	// Enter is the present term, in which this process knows what was made durable before, or an error that says why it does not answer. It may block
	// for some API calls, but not again and again for an API server that is slow.
	Enter(ctx context.Context) (leader.Term, error)
	// Confirm blocks for one API call; nil says that what was made durable before is known to all who lead later. leader.ErrNewTerm says that it
	// must be decided again, in a term that has begun meanwhile.
	Confirm(ctx context.Context, term leader.Term) error
}

// Placement answers. All methods may be called by many goroutines at once.
type Placement struct {
	policy *policy.Policy
	facts  Facts
	ledger *ledger.Ledger
	nodes  *nodes.Nodes
	writes *writes
	leader Leadership
	// patience is how long an answer may wait for the caches to see what the scheduler has seen.
	patience time.Duration
	logger   *slog.Logger
}

// New makes a Placement. patience bounds how long an answer waits for the caches; more of it holds up all scheduling when a watch
// stalls, less of it refuses Pods under load. 500 ms is sensible.
func New(p *policy.Policy, facts Facts, l *ledger.Ledger, n *nodes.Nodes, slots Slots, leader Leadership, patience time.Duration, logger *slog.Logger) *Placement {
	return &Placement{p, facts, l, n, newWrites(slots), leader, patience, logger}
}

// Ready is nil where questions can be answered here; otherwise it says why not.
func (p *Placement) Ready() error {
	if !p.Filled() {
		return errors.New("the extender is starting: its caches are not filled yet")
	}
	return p.leader.Ready()
}

// Filled tells whether every cache is filled.
func (p *Placement) Filled() bool { return p.facts.Ready() && p.nodes.Synced() && p.ledger.Synced() }

// Verdict is the answer to Filter.
type Verdict struct {
	// Names are the nodes that the Pod may go to.
	Names []string
	// Reason says why, also where nodes are left.
	Reason policy.Reason
	// Refusal is the text for the Pod's condition, set where no node is left. It is constant for a Reason: a text that changes makes the
	// scheduler try the Pod in a loop (4,478 attempts in 15 s, facts/scheduler.md 1.4).
	Refusal string
}

// Filter says which of the nodes the Pod may go to. An error means that the question cannot be answered now, and the scheduler will
// ask again; *nodes.UnknownNodeError is the asker's fault.
func (p *Placement) Filter(ctx context.Context, pod *corev1.Pod, names []string) (Verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	view, err := p.nodes.Await(ctx, names)
	if err != nil {
		return Verdict{}, err
	}
	local, virtual := view.Split(names)
	decision := p.decide(pod)
	chosen, reason, err := p.choose(ctx, pod, decision, local, virtual)
	if err != nil {
		return Verdict{}, err
	}
	if mayDoBoth(decision) && reason != policy.ReasonLocalQuota && len(local) == 0 && p.preemptsFirst(pod, view) {
		chosen, reason = nil, policy.ReasonPreemptFirst
	}
	p.logger.DebugContext(ctx, "filtered", "pod", ledger.RefOf(pod).NamespacedName, "decision", decision.Describe(), "reason", reason, "nodes", len(chosen))
	if len(chosen) > 0 {
		return Verdict{Names: chosen, Reason: reason}, nil
	}
	if reason != policy.ReasonLocalQuota {
		p.ledger.Park(pod.UID) // Those that wait for a slot are woken by the ledger.
	}
	return Verdict{Names: []string{}, Reason: reason, Refusal: refusal(reason, decision)}, nil
}

func (p *Placement) decide(pod *corev1.Pod) policy.Decision {
	return p.policy.Decide(policy.Input{Pod: pod, Global: p.facts.Global(), Claims: p.facts.Claims(pod)})
}

// choose returns the nodes of the class that the Pod goes to.
func (p *Placement) choose(ctx context.Context, pod *corev1.Pod, d policy.Decision, local, virtual []string) ([]string, policy.Reason, error) {
	switch {
	case d.Placement == policy.PlacementLocalOnly:
		return local, policy.ReasonLocalOnly, p.holdIfCounted(ctx, pod, local)
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

// holdIfCounted counts a Pod that has a quota but may not burst: should the switch turn on while it is being bound, the
// others must find it counted.
func (p *Placement) holdIfCounted(ctx context.Context, pod *corev1.Pod, local []string) error {
	if _, counted := pod.Annotations[policy.LocalReplicasAnnotation]; !counted || len(local) == 0 {
		return nil
	}
	if err := p.ledger.WaitFor(ctx, pod.ResourceVersion); err != nil {
		return err
	}
	p.ledger.Hold(pod.UID)
	return nil
}

func (p *Placement) chooseByQuota(ctx context.Context, pod *corev1.Pod, d policy.Decision, local, virtual []string) ([]string, policy.Reason, error) {
	answer, err := p.askLedger(ctx, pod, *d.Quota, len(local) > 0, len(virtual) > 0)
	if err != nil {
		return nil, "", err
	}
	switch answer {
	case ledger.Local:
		return local, d.Reason, nil
	case ledger.Overflow:
		return virtual, d.Reason, nil
	case ledger.Cloud:
		return virtual, policy.ReasonLocalQuota, nil
	case ledger.Wait:
		return nil, policy.ReasonLocalQuota, nil
	default:
		return nil, "", fmt.Errorf("pod %s/%s with UID %s is gone, being deleted or finished", pod.Namespace, pod.Name, pod.UID)
	}
}

// askLedger asks once the ledger has seen what the scheduler has seen, and writes a fresh slot down before it is answered. Where there are
// other extenders, "local" is answered only in a term that was still on after the slot was written: whoever leads next counts it.
func (p *Placement) askLedger(ctx context.Context, pod *corev1.Pod, quota int, localFits, cloudFits bool) (ledger.Answer, error) {
	for {
		answer, err := p.askInTerm(ctx, pod, quota, localFits, cloudFits)
		if !errors.Is(err, leader.ErrNewTerm) {
			return answer, err
		}
	}
}

func (p *Placement) askInTerm(ctx context.Context, pod *corev1.Pod, quota int, localFits, cloudFits bool) (ledger.Answer, error) {
	term, err := p.leader.Enter(ctx)
	if err != nil {
		return "", err
	}
	if err := p.ledger.WaitFor(ctx, pod.ResourceVersion); err != nil {
		return "", err
	}
	answer, fresh := p.ledger.Ask(ledger.Request{UID: pod.UID, Quota: quota, LocalFits: localFits, CloudFits: cloudFits})
	if answer != ledger.Local {
		return answer, nil
	}
	if err := p.keep(ctx, pod, fresh); err != nil {
		return "", err
	}
	if err := p.leader.Confirm(ctx, term); err != nil {
		return "", err
	}
	p.ledger.Tell(pod.UID)
	return answer, nil
}

// keep makes the Pod's slot durable.
func (p *Placement) keep(ctx context.Context, pod *corev1.Pod, fresh bool) error {
	if !fresh && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID) {
		return nil
	}
	definite, err := p.writes.write(ctx, pod)
	if err != nil && definite && fresh {
		p.ledger.Cancel(pod.UID)
	}
	return err
}

// refusal is the text of the Pod's condition where no node is left.
func refusal(reason policy.Reason, d policy.Decision) string {
	switch reason {
	case policy.ReasonLocalQuota:
		return policy.RefusalPrefix + string(reason) + ": this revision has its " + policy.LocalReplicasAnnotation + " at home and no virtual node can take the Pod now; it is tried again when a local replica goes or a virtual node has room"
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
