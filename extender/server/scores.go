package server

import (
	"strconv"

	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// encodeScores returns the same bytes as package json, in less time: there is a score for each node of the cluster. It
// returns false for a list with a name that needs escapes, which no Node has, and for one that is null.
func encodeScores(scores extenderv1.HostPriorityList) ([]byte, bool) {
	if scores == nil {
		return nil, false
	}
	size := len("[]")
	for i := range scores {
		if !needsNoEscape(scores[i].Host) {
			return nil, false
		}
		size += len(scores[i].Host) + len(`{"Host":"","Score":10},`)
	}
	text := append(make([]byte, 0, size), '[')
	for i := range scores {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, `{"Host":"`...)
		text = append(text, scores[i].Host...)
		text = append(text, `","Score":`...)
		text = strconv.AppendInt(text, scores[i].Score, 10)
		text = append(text, '}')
	}
	return append(text, ']'), true
}

// needsNoEscape reports whether a string has only characters that names of nodes have.
func needsNoEscape(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '.' {
			return false
		}
	}
	return true
}
