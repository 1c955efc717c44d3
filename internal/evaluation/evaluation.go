// Package evaluation collects what the policy needs to know about a Pod: the switches, the labels of its owners and its
// namespace, the kinds of its volumes, and the virtual nodes. Then it calls the policy. It makes no decision of its own
// and changes nothing.
package evaluation

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Facts returns what is known about the cluster (internal/facts).
type Facts interface {
	// Global returns the global switch. It must not block.
	Global() policy.Switch
	// Claims returns the kinds of the volumes behind the claims of the Pod. It must not block.
	Claims(*corev1.Pod) map[string]string
	// FindClaims does the same, and reads claims that the cache lacks from the API server, until the context ends.
	FindClaims(context.Context, *corev1.Pod) (map[string]string, error)
}

// Nodes knows the virtual nodes (admission/controllers/podcache).
type Nodes interface {
	// Ours returns the virtual nodes of Spillway. It must not block.
	Ours() []policy.VirtualNode
}

// Owners returns the labels of what a Pod belongs to (admission/owners). Both methods may call the API server, for a
// bounded time.
type Owners interface {
	// Labels returns the labels of the nearest owner that has a burst label, nil if there is none.
	Labels(context.Context, *corev1.Pod) (map[string]string, error)
	// Namespace returns the labels and the annotations of a namespace.
	Namespace(ctx context.Context, name string) (labels, annotations map[string]string, err error)
}

// Evaluator evaluates Pods. It holds no state, so goroutines may share it.
type Evaluator struct {
	policy  *policy.Policy
	facts   Facts
	owners  Owners
	nodes   Nodes
	timeout time.Duration
}

// New returns an Evaluator. timeout limits the look-up of the claims of one Pod.
func New(p *policy.Policy, facts Facts, owners Owners, nodes Nodes, timeout time.Duration) *Evaluator {
	return &Evaluator{policy: p, facts: facts, owners: owners, nodes: nodes, timeout: timeout}
}

// Result is the decision of the policy about a Pod, and what else admission needs to know about the Pod.
type Result struct {
	policy.Decision
	// Managed reports whether Spillway manages the Pod: the Pod, its owner or its namespace has a burst policy beyond
	// the switches, or its namespace has limits that it counts towards, so the extender places the Pod.
	Managed bool
	// Limited reports whether the Pod may go to the cloud only if the extender counts it towards the limits of its
	// namespace.
	Limited bool
	// BurstMode is the burst mode of the Pod, its owner or its namespace. It is ModeNone if there is none or if the
	// label is malformed.
	BurstMode policy.Mode
	// Errors are the malformed keys, each with its value and what would be right.
	Errors []error
	// Off reports whether the keys of the Pod forbid bursting: the label is off, or a key that matters is malformed.
	Off bool
}

// Forbidden reports whether the Pod may not burst whatever the global switch says: it is Off, or the cloud cannot run
// it.
func (r Result) Forbidden() bool {
	return !r.MayBurst() && (r.Off || r.Reason != policy.ReasonSwitchOff)
}

// StaysLocal reports whether the Pod requests to burst with keys that are right, and may not: what it is or needs keeps
// it on local nodes.
func (r Result) StaysLocal() bool { return r.Managed && r.Forbidden() && !r.Off }

// Evaluate returns the result for a Pod, whose namespace must be set. It does not change the Pod. It returns an error
// if it cannot look up the owners of the Pod or the claims of a managed Pod.
func (e *Evaluator) Evaluate(ctx context.Context, pod *corev1.Pod) (Result, error) {
	in, err := e.input(ctx, pod)
	if err != nil {
		return Result{}, err
	}
	k := read(e.policy, in)
	if in.Claims, err = e.claims(ctx, pod, k.managed || k.limited); err != nil {
		return Result{}, err
	}
	return k.result(e.policy, in), nil
}

// Of returns the result for a complete input.
func Of(p *policy.Policy, in policy.Input) Result { return read(p, in).result(p, in) }

// keys are what the keys of a Pod, its owner and its namespace say.
type keys struct {
	mode             policy.Mode
	modeErr          error
	errors           []error
	managed, limited bool
	off              bool
}

func read(p *policy.Policy, in policy.Input) keys {
	pod := in.Pod
	mode, modeErr := policy.ResolveMode(pod.Labels, in.WorkloadLabels, in.NamespaceLabels)
	inherited := policy.Inherit(pod.Annotations, in.WorkloadAnnotations, in.NamespaceAnnotations)
	_, sharesErr := policy.ParseShares(inherited)
	_, _, waitErr := policy.ParseBurstAfter(inherited)
	_, _, wayHomeErr := policy.ParseWayHome(inherited)
	_, switchErr := policy.ParseSwitch(pod.Annotations)
	_, replacementsErr := policy.ParseReplacements(pod.Annotations)
	_, unreplaced := policy.ReplaceHostPaths(pod)
	limits, _ := p.CloudLimits(in.NamespaceAnnotations) // Decide says so if they are malformed.
	return keys{
		mode: mode, modeErr: modeErr,
		errors:  present(modeErr, sharesErr, waitErr, wayHomeErr, switchErr, replacementsErr),
		managed: policy.HasShares(inherited) || modeErr != nil || mode != policy.ModeNone,
		limited: !limits.IsZero(),
		// A malformed key counts as off where it matters, as in policy.Decide: a burst label overrides the switches,
		// and enforce ignores the quota.
		off: mode == policy.ModeOff || modeErr != nil || unreplaced != nil ||
			(sharesErr != nil || waitErr != nil) && mode != policy.ModeEnforce || (switchErr != nil && mode == policy.ModeNone),
	}
}

func (k keys) result(p *policy.Policy, in policy.Input) Result {
	r := Result{Decision: p.Decide(in), Managed: k.managed, Limited: k.limited, Errors: k.errors, Off: k.off}
	if k.modeErr == nil {
		r.BurstMode = k.mode
	}
	// A Pod that can never burst needs no extender, and its namespace may have most of the cluster's Pods.
	r.Managed = k.managed || k.limited && !r.Forbidden()
	return r
}

// input looks up the owners only if the Pod has no burst label. The label of the Pod overrides that of its owner, which
// overrides that of the namespace. A Pod with a burst label is managed even if its namespace cannot be looked up: the
// extender decides again, and knows the namespace.
func (e *Evaluator) input(ctx context.Context, pod *corev1.Pod) (in policy.Input, err error) {
	in = policy.Input{Pod: pod, Global: e.facts.Global(), Nodes: e.nodes.Ours()}
	labels, annotations, err := e.owners.Namespace(ctx, pod.Namespace)
	in.NamespaceAnnotations = annotations
	if policy.HasBurstLabel(pod.Labels) {
		return in, nil
	}
	if err != nil {
		return in, err
	}
	if in.WorkloadLabels, err = e.owners.Labels(ctx, pod); err != nil || in.WorkloadLabels != nil {
		return in, err
	}
	in.NamespaceLabels = labels
	return in, nil
}

// claims calls the API server for managed Pods and for Pods in namespaces with limits only, because their node affinity
// and their request for the extender cannot be changed later. Other Pods are evaluated again after the scheduler has
// found no node for them.
func (e *Evaluator) claims(ctx context.Context, pod *corev1.Pod, managed bool) (map[string]string, error) {
	if !managed {
		return e.facts.Claims(pod), nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	return e.facts.FindClaims(ctx, pod)
}

func present(errs ...error) []error {
	var found []error
	for _, err := range errs {
		if err != nil {
			found = append(found, err)
		}
	}
	return found
}
