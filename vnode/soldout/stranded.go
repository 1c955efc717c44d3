package soldout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// strandedPod is a Pod for which the cloud has no capacity.
type strandedPod struct {
	key identity.Key
	// cause is a message for users.
	cause string
	// general: since the Pod waits, no other Pod has been given an address. Otherwise only its size is sold out.
	general bool
}

// findStranded lists the Pods for which the cloud has no capacity, in the order of their names. It reads the networks
// from the cloud only if Pods have waited longer than Timeout.
func (c *Controller) findStranded(ctx context.Context) ([]strandedPod, error) {
	var found, late []strandedPod
	waiting := c.waitingPods()
	c.readWarnings(ctx, waiting)
	for key, pod := range waiting {
		scheduled, message := isScheduled(pod)
		if warning := c.warnings[key].message; message == "" || c.isSign(warning) {
			message = warning
		}
		general := !c.lastAddress.After(c.waitingSince[key])
		switch {
		case !scheduled && c.isSign(message):
			found = append(found, strandedPod{key, "the cloud reports: " + message, general})
		case c.config.Now().Sub(c.waitingSince[key]) < c.config.Timeout:
		case scheduled:
			late = append(late, strandedPod{key: key})
		default:
			late = append(late, strandedPod{key, noCapacity(c.config.Timeout, message), general})
		}
	}
	if len(late) > 0 {
		problem, err := c.networkProblem(ctx)
		if err != nil {
			return nil, err
		}
		for _, pod := range late {
			if problem != "" {
				pod.cause, pod.general = problem, true
			}
			if pod.cause != "" {
				found = append(found, pod)
			}
		}
	}
	slices.SortFunc(found, func(a, b strandedPod) int { return strings.Compare(a.key.String(), b.key.String()) })
	return found, nil
}

// waitingPods returns the cloud Pods that have no address yet. It records since when each waits, and when a Pod last
// got an address.
func (c *Controller) waitingPods() map[identity.Key]*cci.Pod {
	all := c.config.Cloud()
	pods := maps.Clone(all)
	maps.DeleteFunc(pods, func(key identity.Key, pod *cci.Pod) bool {
		if pod.Status.PodIP != "" && !c.hasAddress[key] {
			c.hasAddress[key], c.lastAddress = true, c.config.Now()
		}
		return pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending || pod.Status.PodIP != ""
	})
	maps.DeleteFunc(c.hasAddress, func(key identity.Key, _ bool) bool { return all[key] == nil })
	maps.DeleteFunc(c.waitingSince, func(key identity.Key, _ time.Time) bool { return pods[key] == nil })
	maps.DeleteFunc(c.reported, func(key identity.Key, _ policy.OnSoldOut) bool { return pods[key] == nil })
	for key := range pods {
		if _, known := c.waitingSince[key]; !known {
			c.waitingSince[key] = c.config.Now()
		}
	}
	return pods
}

func noCapacity(timeout time.Duration, message string) string {
	text := fmt.Sprintf("the cloud has had no capacity for the Pod for %s", timeout)
	if message != "" {
		text += ": " + message
	}
	return text
}

// isScheduled reports whether the cloud has found capacity for a Pod, and the message of the cloud if it has not. How
// the cloud shows that it is sold out is not documented. A Pod without the condition PodScheduled counts by its
// container statuses, which appear when it is scheduled.
func isScheduled(pod *cci.Pod) (scheduled bool, message string) {
	if c := policy.PodCondition(&corev1.Pod{Status: pod.Status}, corev1.PodScheduled); c != nil {
		return c.Status == corev1.ConditionTrue, strings.TrimSpace(c.Reason + " " + c.Message)
	}
	message = strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
	return len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) > 0, message
}

// networkProblem returns a message that says why no Pod gets an address, empty if the networks are not the cause.
func (c *Controller) networkProblem(ctx context.Context) (string, error) {
	networks, err := c.config.Networks(ctx)
	if err != nil {
		return "", fmt.Errorf("reading whether the networks have addresses: %w", err)
	}
	if len(networks) == 0 {
		return "the cloud namespace has no network", nil
	}
	is := func(status string) func(cci.Network) bool {
		return func(network cci.Network) bool { return network.Status.Status == status }
	}
	if i := slices.IndexFunc(networks, is(cci.NetworkIPInsufficient)); i >= 0 {
		return fmt.Sprintf("the subnets of network %s have no address left", networks[i].Name), nil
	}
	if slices.ContainsFunc(networks, is(cci.NetworkReady)) {
		return "", nil
	}
	return fmt.Sprintf("network %s is not Ready: its status is %q", networks[0].Name, networks[0].Status.Status), nil
}
