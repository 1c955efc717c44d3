package soldout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// minNamespaces is the number of namespaces whose Pods must wait to lock a node without a probe.
	minNamespaces = 2
	// maxSizes is the number of sizes that a message names.
	maxSizes = 10
)

// strandedPod is a Pod for which the cloud has no room.
type strandedPod struct {
	*waitingPod
	// pod is the Pod of the cluster, nil if it is gone or being deleted.
	pod *corev1.Pod
	// cause is a message for the users of the Pod.
	cause string
}

// finding is what a check has found out about the cloud.
type finding struct {
	// cause is why the whole cloud has no room, empty if it has. It contains nothing that users write.
	cause string
	// quota: the cause is a quota. accepted: the cloud accepts the probe while the node is locked for a quota.
	quota, accepted bool
	// found: a Pod or the probe has found room since the last check.
	found bool
	// sizes are the sizes that are sold out, if not all are.
	sizes []string
}

// stranded lists the Pods for which the cloud has no room, in the order of their names: their sizes are sold out, the
// networks have no addresses, or a quota has no room for them.
func (c *Controller) stranded() []strandedPod {
	var found []strandedPod
	for _, w := range c.waiting {
		s := strandedPod{waitingPod: w, pod: c.podOf(w)}
		switch {
		case !c.isLate(w):
			continue
		case c.problem != "":
			s.cause = c.problem
		case w.scheduled:
			continue
		case c.hasSign(w):
			s.cause = fmt.Sprintf("size %s is sold out: the cloud reports: %s", w.size, c.says(w))
		default:
			s.cause = fmt.Sprintf("size %s is sold out: the cloud has had no capacity for the Pod for %s",
				w.size, c.config.Timeout)
			if says := c.says(w); says != "" {
				s.cause += ": " + says
			}
		}
		found = append(found, s)
	}
	for _, w := range c.refused {
		if !w.since.Before(c.opened) {
			found = append(found, strandedPod{w, c.podOf(w), "a quota of the cloud has no room for it"})
		}
	}
	slices.SortFunc(found, func(a, b strandedPod) int { return strings.Compare(a.key.String(), b.key.String()) })
	return found
}

// podOf returns the Pod of the cluster, nil if it is gone or being deleted.
func (c *Controller) podOf(w *waitingPod) *corev1.Pod {
	pod, err := c.config.Pods.Pods(w.key.Namespace).Get(w.key.Name)
	if err != nil || pod.UID != w.key.UID || pod.DeletionTimestamp != nil {
		return nil
	}
	return pod
}

// hasOwner reports whether a controller would replace the Pod. Other Pods never lock the node: nothing would take them
// away, so the lock would return as long as they wait.
func hasOwner(pod *corev1.Pod) bool { return pod != nil && metav1.GetControllerOfNoCopy(pod) != nil }

// sizesOf returns the sizes of Pods in order, each once.
func sizesOf(stranded []strandedPod) []string {
	var sizes []string
	for _, s := range stranded {
		if !s.scheduled && !s.forQuota() {
			sizes = append(sizes, s.size)
		}
	}
	slices.Sort(sizes)
	return slices.Compact(sizes)
}

// listed returns the first sizes as text.
func listed(sizes []string) string {
	if len(sizes) > maxSizes {
		return fmt.Sprintf("%s and %d more", strings.Join(sizes[:maxSizes], ", "), len(sizes)-maxSizes)
	}
	return strings.Join(sizes, ", ")
}

// decide finds out whether the whole cloud has room for Pods.
func (c *Controller) decide(ctx context.Context, node *nodeState, stranded []strandedPod) (finding, error) {
	switch {
	case node.lockedForQuota() && c.config.Probe != nil:
		return c.decideQuota(ctx)
	case c.problem != "":
		return finding{cause: c.problem}, c.removeProbe(ctx)
	case node.locked:
		return finding{}, c.removeProbe(ctx)
	case c.config.Probe == nil:
		return decideByNamespaces(stranded, c.lastAddress), c.removeProbe(ctx)
	}
	waits, err := c.updateProbe(ctx, c.wantsProbe(), c.wantsQuotaProbe())
	if c.probe.refusal != "" {
		return finding{cause: c.quotaCause(), quota: true}, err
	}
	owned := slices.DeleteFunc(slices.Clone(stranded), func(s strandedPod) bool {
		return s.forQuota() || !hasOwner(s.pod)
	})
	if !waits || len(owned) == 0 {
		return finding{}, err
	}
	return finding{cause: fmt.Sprintf("a probe of size %s finds no room either, as Pods of size %s",
		c.probeSize(), listed(sizesOf(owned)))}, err
}

// decideQuota finds out whether the quota has room again for which the node is locked.
func (c *Controller) decideQuota(ctx context.Context) (finding, error) {
	_, err := c.updateProbe(ctx, false, true)
	switch {
	case c.probe.refusal != "":
		return finding{cause: c.quotaCause(), quota: true}, err
	case c.probe.accepted:
		return finding{accepted: true}, errors.Join(err, c.removeProbe(ctx))
	}
	return finding{}, err
}

// quotaCause contains what the cloud says about the probe.
func (c *Controller) quotaCause() string {
	return fmt.Sprintf("a quota is used up: a probe of size %s is refused: %s", c.probeSize(), c.probe.refusal)
}

// decideByNamespaces finds out whether the whole cloud has room, as far as Pods alone can show it: those of several
// namespaces wait for the same, and no Pod has been given an address since they do. A user may own all controllers and
// choose all sizes, but works in one namespace.
func decideByNamespaces(stranded []strandedPod, lastAddress time.Time) finding {
	for _, forQuota := range []bool{true, false} {
		shows := slices.DeleteFunc(slices.Clone(stranded), func(s strandedPod) bool {
			return s.forQuota() != forQuota || !hasOwner(s.pod) || lastAddress.After(s.since)
		})
		namespaces := map[string]bool{}
		for _, s := range shows {
			namespaces[s.key.Namespace] = true
		}
		switch {
		case len(namespaces) < minNamespaces:
		case forQuota:
			return finding{quota: true, cause: fmt.Sprintf("a quota has no room for Pods of %d namespaces", len(namespaces))}
		default:
			return finding{cause: fmt.Sprintf("Pods of %d namespaces find no room, of size %s",
				len(namespaces), listed(sizesOf(shows)))}
		}
	}
	return finding{}
}
