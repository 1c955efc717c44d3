package explain

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// Setting is a key that may stand on a Pod, on its workload, on its namespace, or in the configuration: the one that
// counts.
type Setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// From says where it stands, such as "Deployment cart".
	From string `json:"from"`
}

// Wait is how long a Pod must wait for room on local nodes before it may burst.
type Wait struct {
	// Until is when it may burst, in RFC 3339.
	Until string `json:"until"`
	// Left is how long that is from now, such as "41s"; empty if it is over, or if the time of the question is not
	// known.
	Left string `json:"left,omitempty"`
}

// The places of a Setting that have no name of their own.
const (
	fromPod           = "Pod"
	fromWorkload      = "workload"
	fromConfiguration = "configuration"
)

// maxValue is how many bytes of the value of a key an explanation has: a malformed one may be long.
const maxValue = 100

// workloadAnnotations returns the annotations that a Pod that does not exist yet would get from its owners, of each key
// that of the nearest, as package owners of admission does. For a Pod that exists what admission has copied counts, as
// for the extender.
func (s *subject) workloadAnnotations() map[string]string {
	if !s.NotCreated || len(s.Owners) == 0 {
		return nil
	}
	values := map[string]string{}
	for _, key := range policy.InheritedAnnotations() {
		if owner := s.annotatedOwner(key); owner != nil {
			values[key] = owner.Annotations[key]
		}
	}
	return values
}

// annotatedOwner returns the nearest owner that has an annotation, nil if none has it. The annotations of a ReplicaSet
// are copies of those of its Deployment, and may be older.
func (s *subject) annotatedOwner(key string) *Owner {
	for i := range s.Owners {
		owner := &s.Owners[i]
		if owner.Kind == "ReplicaSet" && i+1 < len(s.Owners) {
			continue
		}
		if _, ok := owner.Annotations[key]; ok {
			return owner
		}
	}
	return nil
}

// placeOf says where a key stands that counts for the Pod.
func (s *subject) placeOf(key string) string {
	value, own := s.Pod.Annotations[key]
	if own && !s.isCopied(key) {
		return fromPod
	}
	if owner := s.annotatedOwner(key); owner != nil && (s.NotCreated || own && owner.Annotations[key] == value) {
		return owner.String()
	}
	if own {
		return fromWorkload // Which one is not known, or it has another value now.
	}
	return "namespace " + s.Pod.Namespace
}

// isCopied reports whether admission has copied a key from the workload to the Pod.
func (s *subject) isCopied(key string) bool {
	for copied := range strings.SplitSeq(s.Pod.Annotations[policy.InheritedAnnotation], ",") {
		if copied == key {
			return true
		}
	}
	return false
}

// places returns the settings that count, and where each stands.
func (s *subject) places() []Setting {
	var settings []Setting
	for _, key := range policy.InheritedAnnotations() {
		if value, ok := s.values[key]; ok {
			settings = append(settings, Setting{key, policy.Clip(value, maxValue), s.placeOf(key)})
		} else if key == policy.BurstAfterAnnotation && s.decision.BurstAfter > 0 {
			settings = append(settings, Setting{key, s.decision.BurstAfter.String(), fromConfiguration})
		}
	}
	return settings
}

// countQuota returns the state of the shares of the Pod, nil if it has none.
func (s *subject) countQuota() *Quota {
	shares, err := policy.ParseShares(s.values)
	s.sharesErr = err
	if err != nil || shares.IsZero() {
		return nil
	}
	r := s.Replicas
	quota := &Quota{Replicas: r.Active, InCloud: r.InCloud, Waiting: r.Waiting}
	if s.knowsAmounts(shares) {
		if shares.HasLocalCap() {
			quota.Wanted = new(shares.LocalCap(r.Active))
		}
		if shares.LocalMin.Set {
			quota.Floor = new(shares.LocalFloor(r.Active))
		}
		if shares.CloudMax.Set {
			quota.CloudMax = new(shares.CloudCap(r.Active))
		}
	}
	if !s.decision.Shares.IsZero() {
		quota.Used, quota.Holders, quota.NotListed = r.Used, r.Holders, r.Used-len(r.Holders)
	}
	return quota
}

// knowsAmounts reports whether the number of replicas is known, or does not matter.
func (s *subject) knowsAmounts(shares policy.Shares) bool {
	return s.Replicas.Active > 0 || !hasPercentage(shares)
}

func hasPercentage(shares policy.Shares) bool {
	return shares.LocalReplicas.Percent || shares.LocalMin.Percent || shares.LocalMax.Percent ||
		shares.CloudMax.Percent
}

// localCap returns how many replicas of the revision may run on local nodes.
func (s *subject) localCap() int { return s.decision.Shares.LocalCap(s.Replicas.Active) }

// isAtLocalCap reports whether the revision has all replicas on local nodes that it may have.
func (s *subject) isAtLocalCap() bool {
	shares := s.decision.Shares
	return shares.HasLocalCap() && s.knowsAmounts(shares) && s.Replicas.Used >= s.localCap()
}

// quotaIsUsedUp reports whether the shares leave no local slot for the Pod.
func (s *subject) quotaIsUsedUp() bool { return s.isAtLocalCap() && !s.holdsSlot() }

func (s *subject) holdsSlot() bool { return s.quota != nil && s.Replicas.Holds }

// cloudMaxReached reports whether the shares leave no room in the cloud for a Pod that waits.
func (s *subject) cloudMaxReached() bool {
	shares := s.decision.Shares
	return shares.CloudMax.Set && s.place == Waiting && !s.HasCloudSlot &&
		s.Replicas.InCloud+s.Replicas.Reserved >= shares.CloudCap(s.Replicas.Active)
}

// localReplicas says how many replicas of a workload would run on local nodes, such as "10 replicas, 3".
func (s *subject) localReplicas() string {
	shares := s.decision.Shares
	switch {
	case !s.knowsAmounts(shares):
		return "replicas, " + localShare(shares).String()
	case hasPercentage(shares):
		return fmt.Sprintf("%d replicas, %d", s.Replicas.Active, s.localCap())
	default:
		return fmt.Sprintf("replicas, %d", s.localCap())
	}
}

// localShare is the share of local nodes that users mean first.
func localShare(shares policy.Shares) policy.Amount {
	if shares.LocalReplicas.Set {
		return shares.LocalReplicas
	}
	return shares.LocalMax
}

// counts are what a message about shares does not contain, because it changes.
func (s *subject) counts() string {
	if s.quota == nil || s.decision.Shares.IsZero() {
		return ""
	}
	switch r := s.Replicas; s.message.Code {
	case policy.ReasonLocalQuota:
		return fmt.Sprintf(" (%d of %d)", r.Used, s.localCap())
	case policy.ReasonLocalMin:
		return fmt.Sprintf(" (%d of %d that never burst are on local nodes)",
			min(r.Used, s.decision.Shares.LocalFloor(r.Active)), s.decision.Shares.LocalFloor(r.Active))
	case policy.ReasonCloudMax:
		return fmt.Sprintf(" (%d of %d in the cloud)", r.InCloud+r.Reserved, s.decision.Shares.CloudCap(r.Active))
	default:
		return ""
	}
}

// quotaStep says what the shares are for the replicas of now, and where these are.
func (s *subject) quotaStep() Step {
	shares, err := policy.ParseShares(s.values)
	switch {
	case err != nil:
		return Step{"quota", Prevents, policy.Summary(strings.Split(err.Error(), "\n"))}
	case shares.IsZero():
		return Step{"quota", None, "no " + policy.LocalReplicasAnnotation}
	case s.decision.Shares.IsZero():
		return Step{"quota", None, shares.String() + s.noEffect()}
	case s.NotCreated && shares == (policy.Shares{LocalReplicas: shares.LocalReplicas}) && !hasPercentage(shares):
		return Step{"quota", Allows, shares.String() + ": so many replicas of the revision stay local"}
	case s.NotCreated:
		return Step{"quota", Allows, shares.String() + s.amounts("")}
	}
	r, effect := s.Replicas, Allows
	if s.cloudMaxReached() || s.place == Waiting &&
		(s.message.Code == policy.ReasonLocalMin || s.message.Code == policy.ReasonCloudMax) {
		effect = Prevents
	}
	now := fmt.Sprintf(": %d on local nodes, %d in the cloud, %d waiting", r.Used, r.InCloud, r.Waiting)
	return Step{"quota", effect, shares.String() + s.amounts("; now") + now}
}

func (s *subject) noEffect() string {
	if s.Pod.Spec.SchedulingGroup != nil {
		return ": no effect on Pods of a scheduling group"
	}
	return " has no effect: the Pod may run in one place only"
}

// amounts says what the shares are for the replicas of now, if the settings themselves do not say it. then follows.
func (s *subject) amounts(then string) string {
	shares := s.decision.Shares
	if shares == (policy.Shares{LocalReplicas: shares.LocalReplicas}) && !hasPercentage(shares) ||
		!s.knowsAmounts(shares) {
		return ""
	}
	n := s.Replicas.Active
	var parts []string
	if shares.HasLocalCap() {
		parts = append(parts, fmt.Sprintf("%d on local nodes at most", shares.LocalCap(n)))
	}
	if shares.LocalMin.Set {
		parts = append(parts, fmt.Sprintf("%d never burst", shares.LocalFloor(n)))
	}
	if shares.CloudMax.Set {
		parts = append(parts, fmt.Sprintf("%d in the cloud at most", shares.CloudCap(n)))
	}
	of := ""
	if n > 0 {
		of = fmt.Sprintf("; of %s", replicas(n))
	}
	return of + ": " + strings.Join(parts, ", ") + then
}

func replicas(n int) string {
	if n == 1 {
		return "1 replica"
	}
	return fmt.Sprintf("%d replicas", n)
}

// wait returns how long the Pod must wait for room on local nodes, nil if it need not, or does not wait at all.
func (s *subject) wait() *Wait {
	if s.place != Waiting || s.decision.BurstAfter == 0 {
		return nil
	}
	until := s.decision.BurstsAt(s.Pod).UTC()
	wait := &Wait{Until: until.Format(time.RFC3339)}
	if left := until.Sub(s.Now); !s.Now.IsZero() && left > 0 {
		wait.Left = left.Round(time.Second).String()
	}
	return wait
}

// waitsForToleration reports whether the Pod waits before it may burst and does not tolerate virtual nodes yet: the
// extender is not called for it, and admission adds the toleration then.
func (s *subject) waitsForToleration() bool {
	return s.decision.MayBurst() && s.decision.BurstAfter > 0 && !policy.ToleratesProvider(&s.Pod.Spec) &&
		(s.Now.IsZero() || s.Now.Before(s.decision.BurstsAt(s.Pod)))
}

// waitStep says how long the Pod waits for room on local nodes before it may burst. ok is false if it need not.
func (s *subject) waitStep() (step Step, ok bool) {
	if _, _, err := policy.ParseBurstAfter(s.values); err != nil {
		return Step{"wait", Prevents, err.Error()}, true
	}
	if s.decision.BurstAfter == 0 {
		return Step{}, false
	}
	text := policy.BurstAfterAnnotation + "=" + cmp.Or(s.values[policy.BurstAfterAnnotation],
		s.decision.BurstAfter.String())
	switch {
	case s.NotCreated:
		return Step{"wait", Allows, text + ": so long it waits for room on local nodes before it may burst"}, true
	case s.place != Waiting:
		return Step{"wait", None, text + ": it has been placed"}, true
	case s.message.Code == policy.ReasonBurstAfter:
		return Step{"wait", Prevents, fmt.Sprintf("%s: it may burst from %s on", text, s.wait().Until)}, true
	case s.quotaIsUsedUp():
		return Step{"wait", None, text + ": a Pod over its quota does not wait for local nodes"}, true
	default:
		return Step{"wait", Allows, fmt.Sprintf("%s: it may burst from %s on", text, s.wait().Until)}, true
	}
}
