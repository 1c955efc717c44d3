package main

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// quantile returns the smallest value that the given share of the values does not exceed (nearest rank). There must be
// a value.
func quantile[T cmp.Ordered](values []T, share float64) T {
	sorted := slices.Sorted(slices.Values(values))
	rank := int(math.Ceil(share * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

// median returns the middle value, or the mean of the two middle values. There must be a value.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}

// mean returns the sum divided by the number. There must be a value.
func mean(times []time.Duration) time.Duration {
	var sum time.Duration
	for _, took := range times {
		sum += took
	}
	return sum / time.Duration(len(times))
}
