package policy

import "strconv"

// GroupQuota is the message for a Pod with a local quota and a scheduling group, which stays on local nodes. The
// scheduler tries the Pods of a group in placements that it may revert: a slot given in one of them would be held by a
// Pod that is not bound. Source: Kubernetes v1.36, pkg/scheduler/schedule_one_podgroup.go.
const GroupQuota = LocalReplicasAnnotation + " has no effect on Pods of a scheduling group, " +
	"which the scheduler places all together or not at all: " +
	"remove the annotation from the Pod template, or spec.schedulingGroup"

// ParseLocalReplicas reads LOCAL_REPLICAS: how many replicas of a revision stay on local nodes. ok is false without the
// annotation. Anything but an integer from 0 to 2147483647 is an error.
func ParseLocalReplicas(annotations map[string]string) (quota int, ok bool, err error) {
	value, ok := annotations[LocalReplicasAnnotation]
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, true, invalidValue(LocalReplicasAnnotation, "", value,
			"must be a whole number from 0 to 2147483647, such as \"1\"")
	}
	return int(n), true, nil
}
