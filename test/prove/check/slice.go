package check

import (
	"slices"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/prove/record"
)

// Slice returns the part of a record that shows the violation, up to its time: everything about the Pods of the
// revision, and the faults and changes of the switch since the first of them.
func (v *Violation) Slice(entries []record.Entry) []record.Entry {
	var slice []record.Entry
	names := map[string]bool{}
	for _, entry := range entries {
		if entry.At.After(v.At) {
			break
		}
		if entry.Pod != nil && v.uids[entry.Pod.UID] {
			names[entry.Pod.Namespace+"/"+entry.Pod.Name] = true
		}
		if v.concerns(entry, names) {
			slice = append(slice, entry)
		}
	}
	first := slices.IndexFunc(slice, func(entry record.Entry) bool { return entry.Fault == nil && entry.Switch == nil })
	return slice[max(first, 0):]
}

func (v *Violation) concerns(entry record.Entry, names map[string]bool) bool {
	about := func(uid types.UID) bool { return v.uids[uid] }
	switch {
	case entry.Pod != nil:
		return about(entry.Pod.UID)
	case entry.Request != nil:
		return entry.Request.Verb != "prioritize" && about(entry.Request.UID)
	case entry.Response != nil:
		return entry.Response.Verb != "prioritize" && about(entry.Response.UID)
	case entry.Bind != nil:
		return names[entry.Bind.Namespace+"/"+entry.Bind.Name]
	default:
		return entry.Fault != nil || entry.Switch != nil
	}
}
