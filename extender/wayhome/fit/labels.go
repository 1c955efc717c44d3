package fit

import (
	"iter"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
)

// labelIndex finds Pods by a label, so that a rule of one Pod does not cost a look at all others.
type labelIndex struct {
	all     []placedPod
	byLabel map[label][]placedPod
}

type label struct{ key, value string }

func newLabelIndex(pods []placedPod) *labelIndex {
	x := &labelIndex{all: pods, byLabel: map[label][]placedPod{}}
	for _, p := range pods {
		for key, value := range p.Labels {
			x.byLabel[label{key, value}] = append(x.byLabel[label{key, value}], p)
		}
	}
	return x
}

// matching returns the Pods that the selector matches. It looks at those that have the rarest label that the selector
// requires.
func (x *labelIndex) matching(selector labels.Selector) iter.Seq[placedPod] {
	return func(yield func(placedPod) bool) {
		for _, p := range x.candidates(selector) {
			if selector.Matches(labels.Set(p.Labels)) && !yield(p) {
				return
			}
		}
	}
}

func (x *labelIndex) candidates(selector labels.Selector) []placedPod {
	requirements, selectable := selector.Requirements()
	if !selectable {
		return nil
	}
	best := x.all
	for _, r := range requirements {
		switch r.Operator() {
		case selection.Equals, selection.DoubleEquals, selection.In:
		default:
			continue
		}
		if len(r.ValuesUnsorted()) != 1 {
			continue
		}
		if pods := x.byLabel[label{r.Key(), r.ValuesUnsorted()[0]}]; len(pods) < len(best) {
			best = pods
		}
	}
	return best
}
