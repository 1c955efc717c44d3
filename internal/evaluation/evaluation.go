// Package evaluation collects what the policy needs to know about a Pod: the switches, the labels and annotations of
// its owners and its namespace, the kinds of its volumes, and the virtual nodes. Then it calls the policy. It makes no
// decision of its own and changes nothing.
package evaluation

import (
	"context"
	"errors"
	"strings"
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

// Owners knows what a Pod belongs to (admission/owners). Both methods may call the API server, for a bounded time.
type Owners interface {
	// Workload returns what the owners of a Pod say about it.
	Workload(context.Context, *corev1.Pod) (Workload, error)
	// Namespace returns the labels and the annotations of a namespace.
	Namespace(ctx context.Context, name string) (labels, annotations map[string]string, err error)
}

// Workload is what the owners of a Pod say about it.
type Workload struct {
	// Labels are those of the nearest owner that has a burst label, nil if there is none.
	Labels map[string]string
	// Annotations are the policy.InheritedAnnotations of the owners, of each that of the nearest owner that has it. nil
	// means that they are not known.
	Annotations map[string]string
	// Places say which owner has each of them, such as "Deployment web".
	Places map[string]string
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
	// HasShares reports whether the Pod, its owner or its namespace has shares, also malformed ones.
	HasShares bool
	// BurstMode is the burst mode of the Pod, its owner or its namespace. It is ModeNone if there is none or if the
	// label is malformed.
	BurstMode policy.Mode
	// Workload is what the owners of the Pod say. Its labels are not set for a Pod with a burst label.
	Workload Workload
	// Errors are the malformed keys, each with its value, what would be right, and where it stands if that is not the
	// Pod.
	Errors []error
	// Off reports whether the keys of the Pod forbid bursting: the label is off, or a key that matters is malformed.
	Off bool
}

// Forbidden reports whether the Pod may not burst whatever the global switch says: it is Off, or the cloud cannot run
// it.
func (r Result) Forbidden() bool {
	return !r.MayBurst() && (r.Off || r.Reason != policy.ReasonSwitchOff)
}

// NeedsExtender reports whether the Pod may go to the cloud only if the extender is called for it. Nothing else counts
// it towards the limits of its namespace, or knows how many replicas its revision has on which nodes.
func (r Result) NeedsExtender() bool {
	return r.Limited || r.Shares.LocalMin.Set || r.Shares.CloudMax.Set
}

// StaysLocal reports whether the Pod requests to burst with keys that are right, and may not: what it is or needs keeps
// it on local nodes.
func (r Result) StaysLocal() bool { return r.Managed && r.Forbidden() && !r.Off }

// Evaluate returns the result for a Pod, whose namespace must be set. It does not change the Pod. It returns an error
// if it cannot look up the owners of the Pod or the claims of a managed Pod.
func (e *Evaluator) Evaluate(ctx context.Context, pod *corev1.Pod) (Result, error) {
	in, workload, err := e.input(ctx, pod)
	if err != nil {
		return Result{}, err
	}
	k := read(e.policy, in, workload.Places)
	if in.Claims, err = e.claims(ctx, pod, k.managed || k.limited); err != nil {
		return Result{}, err
	}
	r := k.result(e.policy, in)
	r.Workload = workload
	return r, nil
}

// Of returns the result for a complete input.
func Of(p *policy.Policy, in policy.Input) Result { return read(p, in, nil).result(p, in) }

// keys are what the keys of a Pod, its owner and its namespace say.
type keys struct {
	mode             policy.Mode
	modeErr          error
	errors           []error
	managed, limited bool
	shares, off      bool
}

// read reads the keys. places say which owner has which annotation, as far as that is known.
func read(p *policy.Policy, in policy.Input, places map[string]string) keys {
	pod := in.Pod
	mode, modeErr := policy.ResolveMode(pod.Labels, in.WorkloadLabels, in.NamespaceLabels)
	inherited := policy.Inherit(pod.Annotations, in.WorkloadAnnotations, in.NamespaceAnnotations)
	_, sharesErr := policy.ParseShares(inherited)
	_, _, waitErr := policy.ParseBurstAfter(inherited)
	_, _, wayHomeErr := policy.ParseWayHome(inherited)
	_, switchErr := policy.ParseSwitch(pod.Annotations)
	_, replacementsErr := policy.ParseReplacements(pod.Annotations)
	unreplaced := policy.HostPathsError(pod)
	limits, _ := p.CloudLimits(in.NamespaceAnnotations) // Decide says so if they are malformed.
	return keys{
		mode: mode, modeErr: modeErr,
		errors: present(modeErr, placed(sharesErr, in, places), placed(waitErr, in, places),
			placed(wayHomeErr, in, places), switchErr, replacementsErr),
		shares:  policy.HasShares(inherited),
		managed: policy.HasShares(inherited) || modeErr != nil || mode != policy.ModeNone,
		limited: !limits.IsZero(),
		// A malformed key counts as off where it matters, as in policy.Decide: a burst label overrides the switches,
		// and of the shares and waits enforce reads the cap of the cloud only.
		off: mode == policy.ModeOff || modeErr != nil || unreplaced != nil ||
			(sharesErr != nil || waitErr != nil) && mode != policy.ModeEnforce || malformedCloudMax(inherited) ||
			(switchErr != nil && mode == policy.ModeNone),
	}
}

func malformedCloudMax(values map[string]string) bool {
	value, ok := values[policy.CloudMaxAnnotation]
	if !ok {
		return false
	}
	_, err := policy.ParseShares(map[string]string{policy.CloudMaxAnnotation: value})
	return err != nil
}

func (k keys) result(p *policy.Policy, in policy.Input) Result {
	r := Result{
		Decision: p.Decide(in), Managed: k.managed, Limited: k.limited, HasShares: k.shares,
		Errors: k.errors, Off: k.off,
	}
	if k.modeErr == nil {
		r.BurstMode = k.mode
	}
	// A Pod that can never burst needs no extender, and its namespace may have most of the cluster's Pods.
	r.Managed = k.managed || k.limited && !r.Forbidden()
	return r
}

// input looks up the owners and the namespace. The burst label of the Pod overrides that of its owner, which overrides
// that of the namespace. A Pod with a burst label is managed even if its owners or its namespace cannot be looked up:
// the extender decides again and knows the namespace, and controller inheritance adds what the owners say.
func (e *Evaluator) input(ctx context.Context, pod *corev1.Pod) (in policy.Input, workload Workload, err error) {
	in = policy.Input{Pod: pod, Global: e.facts.Global(), Nodes: e.nodes.Ours()}
	labels, annotations, err := e.owners.Namespace(ctx, pod.Namespace)
	in.NamespaceAnnotations = annotations
	labelled := policy.HasBurstLabel(pod.Labels)
	if err != nil && !labelled {
		return in, Workload{}, err
	}
	workload, err = e.owners.Workload(ctx, pod)
	if err != nil {
		workload = Workload{}
		if !labelled {
			return in, workload, err
		}
	}
	in.WorkloadAnnotations = workload.Annotations
	if labelled {
		workload.Labels = nil
		return in, workload, nil
	}
	if in.WorkloadLabels = workload.Labels; in.WorkloadLabels == nil {
		in.NamespaceLabels = labels
	}
	return in, workload, nil
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

// placed adds to errors of inherited annotations where these stand, unless that is the Pod.
func placed(err error, in policy.Input, places map[string]string) error {
	var found []error
	for _, fault := range policy.KeyErrors(err) {
		told := *fault
		for _, key := range policy.InheritedAnnotations() {
			if key != fault.Key && !strings.Contains(fault.Right, key) {
				continue
			}
			if place := placeOf(key, in, places); place != "" {
				told.Right += "; " + key + " is an annotation of " + place
			}
		}
		found = append(found, &told)
	}
	return errors.Join(found...)
}

// placeOf returns which object other than the Pod has the annotation that counts for the Pod, empty if it is the Pod.
func placeOf(key string, in policy.Input, places map[string]string) string {
	own := policy.Inherit(in.Pod.Annotations, map[string]string{}, nil)
	if _, ok := own[key]; ok {
		return ""
	}
	if place := places[key]; place != "" {
		return place
	}
	if _, ok := policy.Inherit(in.Pod.Annotations, in.WorkloadAnnotations, nil)[key]; ok {
		return "the workload"
	}
	if _, ok := in.NamespaceAnnotations[key]; ok {
		return "Namespace " + in.Pod.Namespace
	}
	return ""
}
