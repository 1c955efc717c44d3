package policy

import (
	"slices"
	"strings"
)

// OnSoldOut is what becomes of a Pod that has been placed on a virtual node whose cloud is sold out.
type OnSoldOut string

const (
	// SoldOutWait: it stays, and starts when the cloud has room again.
	SoldOutWait OnSoldOut = "wait"
	// SoldOutReschedule: it is evicted, so that its workload makes another one for another virtual node, or for home within the quota.
	SoldOutReschedule OnSoldOut = "reschedule"
)

var onSoldOuts = []OnSoldOut{SoldOutWait, SoldOutReschedule}

// ParseOnSoldOut reads OnSoldOutAnnotation; empty where it is not there. A value that is neither of the two is an error, and
// SoldOutWait comes with it: nothing is evicted for a misspelt word.
func ParseOnSoldOut(annotations map[string]string) (OnSoldOut, error) {
	value, ok := annotations[OnSoldOutAnnotation]
	if !ok {
		return "", nil
	}
	if choice := OnSoldOut(value); slices.Contains(onSoldOuts, choice) {
		return choice, nil
	}
	words := []string{string(SoldOutWait), string(SoldOutReschedule)}
	return SoldOutWait, invalidValue(OnSoldOutAnnotation, "", value, "must be one of "+strings.Join(words, ", "))
}
