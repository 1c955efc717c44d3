package policy

import "strconv"

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
