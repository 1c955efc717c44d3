package check

import (
	"maps"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// terms are what applies to a Pod from a resource version on, if the switch is on.
type terms struct {
	version uint64
	at      time.Time
	policy.Decision
}

// noteTerms remembers the terms of a Pod that has changed from before, which is nil for a new one.
func (w *world) noteTerms(p *pod, before *record.Pod) {
	if before != nil && len(p.terms) > 0 && maps.Equal(before.Settings, p.Settings) && before.Burst == p.Burst &&
		before.Switch == p.Switch && (before.Quota == nil) == (p.Quota == nil) &&
		(p.Quota == nil || *before.Quota == *p.Quota) {
		return
	}
	p.terms = append(p.terms, terms{p.Version, w.now, w.decide(&p.Pod, policy.SwitchOn)})
}

// now returns the current terms.
func (p *pod) now() terms {
	if len(p.terms) == 0 {
		return terms{}
	}
	return p.terms[len(p.terms)-1]
}

// between returns the terms that were valid at any time between two versions.
func (p *pod) between(from, to uint64) []terms {
	first := 0
	for i, t := range p.terms {
		if t.version <= from {
			first = i
		}
	}
	last := first
	for last+1 < len(p.terms) && p.terms[last+1].version <= to {
		last++
	}
	return p.terms[first : last+1]
}

// period is the time of a decision about a Pod: the extender knew everything up to the first version, and nothing after
// the last. The caps and the floor are the smallest and the largest that any terms and any number of replicas in the
// period allow.
type period struct {
	from, to             uint64
	leastCap, mostCap    int
	leastFloor           int
	mostCloud            int
	wait                 time.Duration
	allCapped, allClouds bool // all terms have a local cap, or a cap of the cloud
}

func (p *pod) period(from, to uint64) period {
	fewest, most := p.revision.replicas.between(from, to, nil)
	d := period{
		from: from, to: to, leastCap: policy.NoCap, leastFloor: policy.NoCap, wait: policy.MaxBurstAfter,
		allCapped: true, allClouds: true,
	}
	for _, t := range p.between(from, to) {
		d.leastCap, d.mostCap = min(d.leastCap, t.Shares.LocalCap(fewest)), max(d.mostCap, t.Shares.LocalCap(most))
		d.leastFloor = min(d.leastFloor, t.Shares.LocalFloor(fewest))
		d.mostCloud = max(d.mostCloud, t.Shares.CloudCap(most))
		d.wait = min(d.wait, t.BurstAfter)
		d.allCapped, d.allClouds = d.allCapped && t.Shares.HasLocalCap(), d.allClouds && t.Shares.CloudMax.Set
	}
	return d
}

// isControlled reports whether the extender controls where the Pod runs: the scheduler calls it for the Pod, from the
// beginning.
func (w *world) isControlled(p *pod) bool {
	return p.Marked && p.born.Node == "" && p.Scheduler != plan.OtherScheduler
}

// sharesCount reports whether the Pod's shares apply to it now: it has some, it may burst, and the switch has allowed
// that for longer than any component may lag behind.
func (w *world) sharesCount(p *pod) bool {
	return !p.now().Shares.IsZero() && w.mayBurst(p)
}

// mayBurst reports whether the Pod may burst, whatever any component knows of the switch.
func (w *world) mayBurst(p *pod) bool {
	if !p.now().MayBurst() {
		return false
	}
	return w.decide(&p.Pod, policy.SwitchOff).MayBurst() || !w.wasOff(p.bornAt.Add(-switchLag))
}

func (w *world) decide(p *record.Pod, global policy.Switch) policy.Decision {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Labels: map[string]string{}, Annotations: annotationsOf(p),
	}}
	if p.Burst != "" {
		pod.Labels[policy.BurstLabel] = p.Burst
	}
	if p.Switch != "" {
		pod.Annotations[policy.SwitchKey] = p.Switch
	}
	return w.rules.Decide(policy.Input{Pod: pod, Global: global, NamespaceAnnotations: w.settings[p.Namespace]})
}

// annotationsOf returns the annotations of a Pod that workloads and namespaces may have too.
func annotationsOf(p *record.Pod) map[string]string {
	annotations := maps.Clone(p.Settings)
	if annotations == nil {
		annotations = map[string]string{}
	}
	if p.Quota != nil {
		annotations[policy.LocalReplicasAnnotation] = strconv.Itoa(*p.Quota)
	}
	return annotations
}

// isManaged reports whether the Pod or its namespace asks Spillway for anything that makes the Pod a managed one.
func (w *world) isManaged(p *pod) bool {
	return p.Marked || p.Burst != "" || p.Switch != "" || policy.HasShares(annotationsOf(&p.Pod)) ||
		policy.HasShares(w.settings[p.Namespace])
}

// refusedFor reports whether the last answer refused the Pod for a reason.
func (p *pod) refusedFor(reasons ...policy.Reason) bool {
	if p.response == nil {
		return false
	}
	for _, reason := range reasons {
		if strings.HasPrefix(p.response.Refusal, policy.RefusalPrefix+string(reason)+":") {
			return true
		}
	}
	return false
}

// mayClaim reports whether the extender may count a claim of the Pod: one of the floor, or any.
func (p *pod) mayClaim(floor bool) bool {
	if !p.Active() || p.Node != "" {
		return false
	}
	return p.possiblyClaims || p.refusedFor(policy.ReasonLocalMin) || !floor && p.refusedFor(policy.ReasonBurstAfter)
}
