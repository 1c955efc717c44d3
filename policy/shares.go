package policy

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// GroupQuota is the message for a Pod with shares and a scheduling group, which stays on local nodes. The scheduler
// tries the Pods of a group in placements that it may revert: a slot given in one of them would be held by a Pod that
// is not bound. Source: Kubernetes v1.36, pkg/scheduler/schedule_one_podgroup.go.
const GroupQuota = LocalReplicasAnnotation + ", " + LocalMinAnnotation + ", " + LocalMaxAnnotation + " and " +
	CloudMaxAnnotation + " have no effect on Pods of a scheduling group, " +
	"which the scheduler places all together or not at all: remove them, or spec.schedulingGroup of the Pod template"

// NoCap is the cap of a side that has none.
const NoCap = math.MaxInt

// Amount is a number of replicas, or a percentage of the replicas of a revision. The zero value is no amount.
type Amount struct {
	Set     bool
	Value   int
	Percent bool
}

// String returns the amount as users write it.
func (a Amount) String() string {
	switch {
	case !a.Set:
		return ""
	case a.Percent:
		return strconv.Itoa(a.Value) + "%"
	}
	return strconv.Itoa(a.Value)
}

// of returns the amount of so many replicas. A percentage is rounded up if up is true, and down otherwise.
func (a Amount) of(replicas int, up bool) int {
	if !a.Percent {
		return a.Value
	}
	product := a.Value * replicas
	if up {
		product += 99
	}
	return product / 100
}

// Shares say how many replicas of a revision run on local nodes and in the cloud. It is comparable. The zero value says
// nothing.
//
// Percentages are of the active Pods of the revision. Those of local nodes are rounded up and those of the cloud down,
// so that local and cloud percentages that add up to 100% allow every replica.
type Shares struct {
	// LocalReplicas stay on local nodes (LocalReplicasAnnotation).
	LocalReplicas Amount
	// LocalMin never burst (LocalMinAnnotation).
	LocalMin Amount
	// LocalMax run on local nodes at most (LocalMaxAnnotation).
	LocalMax Amount
	// CloudMax run in the cloud at most (CloudMaxAnnotation).
	CloudMax Amount
}

// IsZero reports whether the shares say nothing.
func (s Shares) IsZero() bool { return s == Shares{} }

// String returns the shares as users write them, such as "LOCAL_REPLICAS=30%, spillway.io/local-min=2".
func (s Shares) String() string {
	var parts []string
	for _, part := range s.parts() {
		if part.amount.Set {
			parts = append(parts, part.key+"="+part.amount.String())
		}
	}
	return strings.Join(parts, ", ")
}

// HasLocalCap reports whether the number of replicas on local nodes is limited.
func (s Shares) HasLocalCap() bool { return s.LocalReplicas.Set || s.LocalMax.Set }

// LocalCap returns how many of so many replicas may run on local nodes, NoCap if that is not limited. LocalMin raises
// LocalReplicas, and LocalMax limits both. It never falls when replicas grows, and grows by at most one with each.
func (s Shares) LocalCap(replicas int) int {
	limit := NoCap
	if s.LocalReplicas.Set {
		limit = s.LocalReplicas.of(replicas, true)
		if s.LocalMin.Set {
			limit = max(limit, s.LocalMin.of(replicas, true))
		}
	}
	if s.LocalMax.Set {
		limit = min(limit, s.LocalMax.of(replicas, true))
	}
	return limit
}

// LocalFloor returns how many of so many replicas must not burst: they wait for room on local nodes.
func (s Shares) LocalFloor(replicas int) int {
	if !s.LocalMin.Set {
		return 0
	}
	return min(s.LocalMin.of(replicas, true), s.LocalCap(replicas))
}

// CloudCap returns how many of so many replicas may run in the cloud, NoCap if that is not limited.
func (s Shares) CloudCap(replicas int) int {
	if !s.CloudMax.Set {
		return NoCap
	}
	return s.CloudMax.of(replicas, false)
}

type share struct {
	key    string
	amount Amount
}

func (s Shares) parts() []share {
	return []share{
		{LocalReplicasAnnotation, s.LocalReplicas}, {LocalMinAnnotation, s.LocalMin}, {LocalMaxAnnotation, s.LocalMax},
		{CloudMaxAnnotation, s.CloudMax},
	}
}

// ParseShares reads the ShareAnnotations and checks that they do not contradict each other. The error joins a KeyError
// for each annotation that is wrong.
func ParseShares(annotations map[string]string) (Shares, error) {
	var s Shares
	var errs []error
	for _, part := range []struct {
		key    string
		amount *Amount
	}{
		{LocalReplicasAnnotation, &s.LocalReplicas}, {LocalMinAnnotation, &s.LocalMin},
		{LocalMaxAnnotation, &s.LocalMax}, {CloudMaxAnnotation, &s.CloudMax},
	} {
		var err error
		*part.amount, err = parseAmount(annotations, part.key)
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return Shares{}, err
	}
	return s, s.contradictions()
}

// AmountRight says what an Amount must be.
const AmountRight = "must be a whole number from 0 to 2147483647, such as \"1\", or a percentage of the replicas " +
	"from 0% to 100%, such as \"30%\""

func parseAmount(annotations map[string]string, key string) (Amount, error) {
	value, ok := annotations[key]
	if !ok {
		return Amount{}, nil
	}
	digits, percent := strings.CutSuffix(value, "%")
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || percent && n > 100 {
		return Amount{}, invalidValue(key, "", value, AmountRight)
	}
	return Amount{Set: true, Value: int(n), Percent: percent}, nil
}

// contradictions returns a KeyError for each pair of values that no number of replicas satisfies. A number and a
// percentage do not contradict each other: which of them is larger depends on the number of replicas.
func (s Shares) contradictions() error {
	least, share, most, cloud := share{LocalMinAnnotation, s.LocalMin}, share{LocalReplicasAnnotation, s.LocalReplicas},
		share{LocalMaxAnnotation, s.LocalMax}, share{CloudMaxAnnotation, s.CloudMax}
	return errors.Join(
		least.atMost(share), least.atMost(most), share.atMost(most), cloud.reachesAll(share), cloud.reachesAll(most))
}

// atMost returns an error if the amount is larger than the other one.
func (s share) atMost(other share) error {
	a, b := s.amount, other.amount
	if !a.Set || !b.Set || a.Percent != b.Percent || a.Value <= b.Value {
		return nil
	}
	return invalidValue(s.key, "", a.String(), fmt.Sprintf("must be at most %s, which is %q", other.key, b))
}

// reachesAll returns an error if a local share and a share of the cloud leave replicas that may run nowhere.
func (s share) reachesAll(local share) error {
	a, b := s.amount, local.amount
	switch {
	case !a.Set || !b.Set || a.Percent != b.Percent:
		return nil
	case a.Percent && a.Value+b.Value < 100:
		return invalidValue(s.key, "", a.String(), fmt.Sprintf(
			"must be at least \"%d%%\", because %s is %q: other replicas would run nowhere", 100-b.Value, local.key, b))
	case !a.Percent && a.Value+b.Value == 0:
		return invalidValue(s.key, "", a.String(), fmt.Sprintf(
			"must be more than 0, because %s is %q: no replica would run", local.key, b))
	}
	return nil
}
