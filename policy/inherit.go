package policy

import (
	"slices"
	"strings"
)

// Inherit returns the values of the InheritedAnnotations that count for a Pod, nil if there are none. Of each, the
// nearest counts: that of the Pod, else that of its workload, else that of its namespace. workload is nil if the
// workload is not known: then the copies that admission has written to the Pod count (InheritedAnnotation).
func Inherit(pod, workload, namespace map[string]string) map[string]string {
	var values map[string]string
	copied := pod[InheritedAnnotation]
	for _, key := range inherited {
		value, ok := pod[key]
		if ok && workload != nil && copied != "" && isCopied(copied, key) {
			ok = false
		}
		for _, place := range []map[string]string{workload, namespace} {
			if !ok {
				value, ok = place[key]
			}
		}
		if ok {
			if values == nil {
				values = map[string]string{}
			}
			values[key] = value
		}
	}
	return values
}

// inherited is the result of InheritedAnnotations, which Inherit needs for each decision.
var inherited = InheritedAnnotations()

// isCopied reports whether a key is in the value of InheritedAnnotation.
func isCopied(copied, key string) bool {
	for part := range strings.SplitSeq(copied, ",") {
		if part == key {
			return true
		}
	}
	return false
}

// Copies returns what the InheritedAnnotations of a Pod must be, and InheritedAnnotation, given the annotations of its
// workload. A Pod keeps the annotations that are its own. remove are the keys that the Pod must not have any more.
// Applied to the result, it changes nothing.
func Copies(pod, workload map[string]string) (set map[string]string, remove []string) {
	copied := pod[InheritedAnnotation]
	var keys []string
	for _, key := range inherited {
		value, has := pod[key]
		own := has && !isCopied(copied, key)
		wanted, inherits := workload[key]
		switch {
		case own:
		case inherits:
			keys = append(keys, key)
			if !has || value != wanted {
				if set == nil {
					set = map[string]string{}
				}
				set[key] = wanted
			}
		case has:
			remove = append(remove, key)
		}
	}
	list := strings.Join(keys, ",")
	_, marked := pod[InheritedAnnotation]
	switch {
	case list == "" && marked:
		remove = append(remove, InheritedAnnotation)
	case list != copied:
		if set == nil {
			set = map[string]string{}
		}
		set[InheritedAnnotation] = list
	}
	return set, remove
}

// HasShares reports whether annotations have one of the ShareAnnotations. A malformed one counts.
func HasShares(annotations map[string]string) bool {
	return slices.ContainsFunc(inherited[:shareCount], func(key string) bool {
		_, ok := annotations[key]
		return ok
	})
}

// shareCount is how many of the InheritedAnnotations are ShareAnnotations, which come first.
var shareCount = len(ShareAnnotations())
