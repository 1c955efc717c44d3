// Package verdict puts a Pod before the policy with everything that the policy needs to know: the switches, the labels of its
// workload and namespace, the kinds of its volumes. It gathers and asks; it decides nothing and changes nothing.
package verdict

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// Facts are what is known of the cluster (internal/facts).
type Facts interface {
	// Global is the global switch. It must not block.
	Global() policy.Switch
	// Claims are the kinds of the volumes behind the Pod's claims. It must not block.
	Claims(*corev1.Pod) map[string]string
	// FindClaims is Claims that asks the API server for claims that are not known, until the context ends.
	FindClaims(context.Context, *corev1.Pod) (map[string]string, error)
}

// Owners knows what a Pod belongs to (admission/workload). Both methods may ask the API server, for a bounded time.
type Owners interface {
	// Labels are the labels of the nearest owner that bears a burst label; nil where none does.
	Labels(context.Context, *corev1.Pod) (map[string]string, error)
	// Namespace are the labels of a namespace.
	Namespace(ctx context.Context, name string) (map[string]string, error)
}

// Judge gives verdicts. It holds no state: many goroutines may use it at once.
type Judge struct {
	policy  *policy.Policy
	facts   Facts
	owners  Owners
	timeout time.Duration
}

// New makes a Judge. timeout is how long the claims of a Pod may be looked for.
func New(p *policy.Policy, facts Facts, owners Owners, timeout time.Duration) *Judge {
	return &Judge{policy: p, facts: facts, owners: owners, timeout: timeout}
}

// Verdict is the policy's decision about a Pod and what admission has to know beside it.
type Verdict struct {
	policy.Decision
	// Keyed: the Pod, its workload or its namespace has a say about bursting beyond the switches, so the extender places it.
	Keyed bool
	// Label is the burst mode that was found for the Pod, ModeNone where there is none or where it is malformed.
	Label policy.Mode
	// Faults are the malformed keys, each with its value and what would be right.
	Faults []error
	// Off: the Pod shall never burst for what is written on it. The label says so, or a key that matters to it is malformed.
	Off bool
}

// Forbidden tells whether the Pod may not burst whatever the global switch says: it is Off, or the cloud cannot run it.
func (v Verdict) Forbidden() bool {
	return !v.MayBurst() && (v.Off || v.Reason != policy.ReasonSwitchOff)
}

// Decide gives the verdict about a Pod, whose namespace must be set. The Pod is not changed. An error means that its owners or the
// claims of a keyed Pod could not be looked up.
func (j *Judge) Decide(ctx context.Context, pod *corev1.Pod) (Verdict, error) {
	in, err := j.gather(ctx, pod)
	if err != nil {
		return Verdict{}, err
	}
	mode, modeErr := policy.ResolveMode(pod.Labels, in.WorkloadLabels, in.NamespaceLabels)
	_, hasQuota, quotaErr := policy.ParseLocalReplicas(pod.Annotations)
	_, switchErr := policy.ParseSwitch(pod.Annotations)
	_, replacementsErr := policy.ParseReplacements(pod.Annotations)
	_, unreplaced := policy.ReplaceHostPaths(pod)
	keyed := hasQuota || modeErr != nil || mode != policy.ModeNone
	if in.Claims, err = j.claims(ctx, pod, keyed); err != nil {
		return Verdict{}, err
	}
	v := Verdict{
		Decision: j.policy.Decide(in),
		Keyed:    keyed,
		Faults:   present(modeErr, quotaErr, switchErr, replacementsErr),
		// What is malformed counts as off where it matters, as in policy.Decide: a burst label beats the switches, and enforce knows no quota.
		Off: mode == policy.ModeOff || modeErr != nil || unreplaced != nil ||
			(quotaErr != nil && mode != policy.ModeEnforce) || (switchErr != nil && mode == policy.ModeNone),
	}
	if modeErr == nil {
		v.Label = mode
	}
	return v, nil
}

// gather looks further only where nearer ones say nothing: the Pod's own label wins over its workload's, that over its namespace's.
func (j *Judge) gather(ctx context.Context, pod *corev1.Pod) (in policy.Input, err error) {
	in = policy.Input{Pod: pod, Global: j.facts.Global()}
	if mode, err := policy.ParseMode(pod.Labels); err != nil || mode != policy.ModeNone {
		return in, nil
	}
	if in.WorkloadLabels, err = j.owners.Labels(ctx, pod); err != nil || in.WorkloadLabels != nil {
		return in, err
	}
	in.NamespaceLabels, err = j.owners.Namespace(ctx, pod.Namespace)
	return in, err
}

// claims looks further for a keyed Pod only, whose node affinity is for good: others are judged again when they have found no node.
func (j *Judge) claims(ctx context.Context, pod *corev1.Pod, keyed bool) (map[string]string, error) {
	if !keyed {
		return j.facts.Claims(pod), nil
	}
	ctx, cancel := context.WithTimeout(ctx, j.timeout)
	defer cancel()
	return j.facts.FindClaims(ctx, pod)
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
