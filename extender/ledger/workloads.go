package ledger

import (
	"cmp"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// maxWorkloads is how many workloads have metrics of their own. Users create as many as they like, and each costs six
// series. Those with most Pods in the cloud come first. The others are summed for each namespace.
const maxWorkloads = 500

// rolloutHashLabel is the label by which Argo Rollouts names its ReplicaSets.
const rolloutHashLabel = "rollouts-pod-template-hash"

// Workload is what Pods belong to in metrics. Kind and Name are empty for Pods of anything else than the kinds of
// workloadOf: Jobs and bare Pods come and go, and a series for each would never end.
type Workload struct{ Namespace, Kind, Name string }

// workloadOf returns the workload of a Pod. It reads metadata only. A ReplicaSet is named by its Deployment.
func workloadOf(pod *corev1.Pod) Workload {
	w := Workload{Namespace: pod.Namespace}
	owner := metav1.GetControllerOfNoCopy(pod)
	if owner == nil {
		return w
	}
	switch owner.Kind {
	case "ReplicaSet":
		for _, outer := range []struct{ label, kind string }{
			{rolloutHashLabel, "Rollout"}, {appsv1.DefaultDeploymentUniqueLabelKey, "Deployment"},
		} {
			hash := pod.Labels[outer.label]
			if name, ok := strings.CutSuffix(owner.Name, "-"+hash); ok && hash != "" {
				return Workload{pod.Namespace, outer.kind, name}
			}
		}
		w.Kind, w.Name = "ReplicaSet", owner.Name
	case "StatefulSet", "DaemonSet", "ReplicationController":
		w.Kind, w.Name = owner.Kind, owner.Name
	}
	return w
}

// workload is what the Pods of a Workload use in the cloud.
type workload struct {
	pods int // entries that refer to it
	used policy.CloudUse
}

// join makes an entry part of the workload of its Pod.
func (l *Ledger) join(e *entry, key Workload) {
	w, ok := l.workloads[key]
	if !ok {
		w = &workload{}
		l.workloads[key] = w
	}
	w.pods++
	w.used = w.used.Plus(l.cloudUse(e))
	e.workload = key
}

// part takes an entry out of its workload.
func (l *Ledger) part(e *entry) {
	w := l.workloads[e.workload]
	w.used = w.used.Minus(l.cloudUse(e))
	if w.pods--; w.pods == 0 {
		delete(l.workloads, e.workload)
	}
}

// WorkloadStats are the numbers of one Workload.
type WorkloadStats struct {
	Workload
	// Cloud is what its Pods use in the cloud.
	Cloud policy.CloudUse
	Local LocalStats
}

// LocalStats says how the local shares are met, summed over the revisions of a workload.
type LocalStats struct {
	// Wanted is how many Pods the shares keep local: the most that may be, or without a limit the least that must be,
	// and fewer if a revision has fewer Pods. Used is how many slots they have, and Missing how many of those wanted
	// have none.
	Wanted, Used, Missing int
	// Quota says that there are local shares at all.
	Quota bool
}

// wanted returns how many of so many replicas the shares keep local. ok is false if they say nothing about that.
func wanted(s policy.Shares, replicas int) (n int, ok bool) {
	if s.HasLocalCap() {
		return min(s.LocalCap(replicas), replicas), true
	}
	return min(s.LocalFloor(replicas), replicas), s.LocalMin.Set
}

// workloadStats returns the workloads that have local shares or use the cloud.
func (l *Ledger) workloadStats() map[Workload]WorkloadStats {
	all := map[Workload]WorkloadStats{}
	for key, w := range l.workloads {
		if w.used != (policy.CloudUse{}) {
			all[key] = WorkloadStats{Workload: key, Cloud: w.used}
		}
	}
	for _, rev := range l.revisions {
		wanted, ok := wanted(rev.shares, rev.active)
		if !ok {
			continue
		}
		stats := all[rev.workload]
		stats.Workload = rev.workload
		stats.Local = stats.Local.plus(LocalStats{wanted, rev.used(), max(0, wanted-rev.used()), true})
		all[rev.workload] = stats
	}
	return all
}

// bounded returns at most as many named workloads as most, plus one for each namespace that has others.
func bounded(all map[Workload]WorkloadStats, most int) []WorkloadStats {
	rest := map[string]WorkloadStats{}
	var named []WorkloadStats
	merge := func(w WorkloadStats) {
		sum := rest[w.Namespace]
		sum.Namespace = w.Namespace
		sum.Cloud, sum.Local = sum.Cloud.Plus(w.Cloud), sum.Local.plus(w.Local)
		rest[w.Namespace] = sum
	}
	for _, w := range all {
		if w.Name == "" {
			merge(w)
		} else {
			named = append(named, w)
		}
	}
	slices.SortFunc(named, func(a, b WorkloadStats) int {
		return cmp.Or(cmp.Compare(b.Cloud.Pods, a.Cloud.Pods), a.compare(b))
	})
	for _, w := range named[min(most, len(named)):] {
		merge(w)
	}
	named = named[:min(most, len(named))]
	for _, w := range rest {
		named = append(named, w)
	}
	slices.SortFunc(named, WorkloadStats.compare)
	return named
}

func (w WorkloadStats) compare(other WorkloadStats) int {
	return cmp.Or(strings.Compare(w.Namespace, other.Namespace), strings.Compare(w.Kind, other.Kind),
		strings.Compare(w.Name, other.Name))
}

func (s LocalStats) plus(other LocalStats) LocalStats {
	return LocalStats{
		s.Wanted + other.Wanted, s.Used + other.Used, s.Missing + other.Missing, s.Quota || other.Quota,
	}
}

// sharesOf returns the shares of a Pod, zero if it has none that are kept. namespace are the annotations of its
// namespace.
func sharesOf(pod *corev1.Pod, namespace map[string]string) policy.Shares {
	inherits := policy.HasShares(namespace)
	if !inherits && !policy.HasShares(pod.Annotations) || pod.Spec.SchedulingGroup != nil {
		return policy.Shares{}
	}
	if mode, err := policy.ParseMode(pod.Labels); err != nil || mode == policy.ModeEnforce {
		return policy.Shares{} // The Pod runs in the cloud only, or its label is malformed.
	}
	values := pod.Annotations
	if inherits {
		values = policy.Inherit(values, nil, namespace)
	}
	shares, err := policy.ParseShares(values)
	if err != nil {
		return policy.Shares{}
	}
	return shares
}

// inheritedText returns what a namespace says about its Pods, for comparisons.
func inheritedText(namespace map[string]string) string {
	values := policy.Inherit(nil, nil, namespace)
	if len(values) == 0 {
		return ""
	}
	var b strings.Builder
	for _, key := range policy.InheritedAnnotations() {
		if value, ok := values[key]; ok {
			b.WriteString(key + "=" + value + "\n")
		}
	}
	return b.String()
}
