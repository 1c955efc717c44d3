package policy

import (
	"slices"
	"strings"
)

// Keys returns all labels and annotations that Spillway reads or writes, without those that end with a number
// (CloudFileAnnotation).
func Keys() []string {
	return slices.Concat(userKeys(), WrittenAnnotations(), []string{
		NodeTypeLabel, TrustedNodeLabel, LiqoNodeLabel, ResolvConfAnnotation, FixedIPAnnotation, FlavorAnnotation,
		ProviderTaintKey, string(PlacementResource), string(LocalReplicasCondition), SoldOutUntilAnnotation,
		SoldOutLockAnnotation, UninstallLabel, DeletionCostAnnotation, CloudClusterKey, CloudNodeAnnotation,
		CloudNamespaceAnnotation, CloudNameAnnotation, CloudUIDAnnotation, CloudOwnerLabel, CloudSizeAnnotation,
		CloudSourceKindAnnotation, CloudSourceNamespaceAnnotation, CloudSourceNameAnnotation,
		CloudSourceUIDAnnotation, CloudSourceVolumeAnnotation, CloudRenewAnnotation, DoctorLabel,
		DoctorUntilAnnotation,
	})
}

// userKeys returns the keys that users write on Pods, workloads and Namespaces.
func userKeys() []string {
	return slices.Concat(PodAnnotations(), []string{BurstLabel, BurstLabelAlias},
		NamespaceAnnotations(), []string{NamespaceEnforceLabel})
}

// MaybeMistyped is a regular expression (RE2) for keys that Mistyped may report. It saves a program from looking at
// all others.
const MaybeMistyped = `^(spillway[.]io/|virtual-kubelet[.]io/|bursting[.]cci[.]io/|coordinator[.]cci[.]io/|` +
	`virtual-node-|[A-Z]+_[A-Z_]+$|(?i:local[-_]?replicas?|auto[-_]?scale[-_]?eks)$)`

// Mistyped reports whether a key is meant for Spillway, but is none of its Keys, and returns the most similar key that
// users write. A key is meant for Spillway if it begins with Prefix, or is one typing error away from a key.
func Mistyped(key string) (similar string, ok bool) {
	if slices.Contains(Keys(), key) || strings.HasPrefix(key, CloudFileAnnotation) {
		return "", false
	}
	ours, best := strings.HasPrefix(key, Prefix), -1
	for _, known := range userKeys() {
		if ours != strings.HasPrefix(known, Prefix) {
			continue
		}
		errors := typingErrors(plain(key), plain(known))
		if best < 0 || errors < best {
			similar, best = known, errors
		}
	}
	return similar, ours || best <= 1
}

// plain returns a key without what is confused most: case and separators.
func plain(key string) string {
	return strings.NewReplacer("-", "", "_", "", ".", "").Replace(strings.ToLower(Clip(key, 100)))
}

// typingErrors returns how many letters must be added, removed, replaced or exchanged with their neighbour to get
// from one text to the other (optimal string alignment distance).
func typingErrors(a, b string) int {
	var two, one []int // The rows of a without its last two letters, and without the last.
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		two, one, row = one, row, make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			replaced := one[j]
			if a[i] != b[j] {
				replaced++
			}
			row[j+1] = min(replaced, one[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], two[j-1]+1)
			}
		}
	}
	return row[len(b)]
}
