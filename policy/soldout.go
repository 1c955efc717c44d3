package policy

import (
	"fmt"
	"slices"
)

// OnSoldOut says what happens to a Pod on a virtual node whose cloud is sold out.
type OnSoldOut string

const (
	// SoldOutWait: the Pod stays, and starts when the cloud has capacity again.
	SoldOutWait OnSoldOut = "wait"
	// SoldOutReschedule: the Pod is evicted, so that its workload creates another one for another virtual node, or for a
	// local node within the quota.
	SoldOutReschedule OnSoldOut = "reschedule"
)

var onSoldOuts = []OnSoldOut{SoldOutWait, SoldOutReschedule}

// ParseOnSoldOut reads OnSoldOutAnnotation. It returns an empty value without the annotation. An unknown value is an
// error, and SoldOutWait is returned with it: a typo must not evict a Pod.
func ParseOnSoldOut(annotations map[string]string) (OnSoldOut, error) {
	value, ok := annotations[OnSoldOutAnnotation]
	if !ok {
		return "", nil
	}
	if choice := OnSoldOut(value); slices.Contains(onSoldOuts, choice) {
		return choice, nil
	}
	right := fmt.Sprintf("must be one of %s, %s", SoldOutWait, SoldOutReschedule)
	return SoldOutWait, invalidValue(OnSoldOutAnnotation, "", value, right)
}
