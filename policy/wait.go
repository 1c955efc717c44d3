package policy

import (
	"fmt"
	"time"
)

// MaxBurstAfter is the longest time that a Pod can wait before it may burst. Pods that must never burst have the burst
// label off.
const MaxBurstAfter = 24 * time.Hour

// ParseBurstAfter reads BurstAfterAnnotation: how long after its creation a Pod waits for room on local nodes before it
// may burst. ok is false without the annotation.
func ParseBurstAfter(annotations map[string]string) (wait time.Duration, ok bool, err error) {
	value, ok := annotations[BurstAfterAnnotation]
	if !ok {
		return 0, false, nil
	}
	wait, err = time.ParseDuration(value)
	if err != nil || wait < 0 || wait > MaxBurstAfter {
		return 0, true, invalidValue(BurstAfterAnnotation, "", value,
			fmt.Sprintf("must be a duration from 0s to %s, such as \"90s\"", MaxBurstAfter))
	}
	return wait, true, nil
}

// ParseWayHome reads WayHomeAnnotation: whether cloud Pods return when there is room on local nodes. ok is false
// without the annotation.
func ParseWayHome(annotations map[string]string) (returns, ok bool, err error) {
	switch value, ok := annotations[WayHomeAnnotation]; {
	case !ok:
		return false, false, nil
	case value == "true" || value == "false":
		return value == "true", true, nil
	default:
		return false, true, invalidValue(WayHomeAnnotation, "", value, "must be \"true\" or \"false\"")
	}
}
