package policy

import "strconv"

// GroupQuota says why a Pod with a local quota and a scheduling group stays home, and what would change it. The scheduler tries the Pods of
// a group in placements that it takes back: a slot that is given in one would be held by a Pod that then goes nowhere. Source:
// kube-scheduler 1.36, schedule_one_podgroup.go.
const GroupQuota = LocalReplicasAnnotation + " cannot be kept for Pods of a scheduling group, which the scheduler places all together or not at all: " +
	"remove the annotation from the Pod template, or spec.schedulingGroup"

// ParseLocalReplicas reads LOCAL_REPLICAS: how many replicas of a revision stay on local nodes. ok is false where the
// annotation is missing. Anything but a whole number from 0 to 2147483647 is an error.
func ParseLocalReplicas(annotations map[string]string) (quota int, ok bool, err error) {
	value, ok := annotations[LocalReplicasAnnotation]
	if !ok {
		return 0, false, nil
	}
	n, err := strconv.ParseUint(value, 10, 31)
	if err != nil {
		return 0, true, invalidValue(LocalReplicasAnnotation, "", value, "must be a whole number from 0 to 2147483647, such as \"1\"")
	}
	return int(n), true, nil
}
