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

// stuckPod is a Pod for which the cloud has no place.
type stuckPod struct {
	key identity.Key
	// why is for people.
	why string
	// general: since it waits no Pod has been given a place. Otherwise it is only its size that is sold out.
	general bool
}

// stuck lists the Pods for which the cloud has no place, in the order of their names. The cloud is asked for its
// networks only where Pods have waited for too long.
func (k *Keeper) stuck(ctx context.Context) ([]stuckPod, error) {
	var found, late []stuckPod
	pending := k.pending()
	k.hear(ctx, pending)
	for key, pod := range pending {
		placed, words := hasPlace(pod)
		if heard := k.heard[key].words; words == "" || k.isSign(heard) {
			words = heard
		}
		general := !k.lastPlaced.After(k.waiting[key])
		switch {
		case !placed && k.isSign(words):
			found = append(found, stuckPod{key, "the cloud says: " + words, general})
		case k.config.Now().Sub(k.waiting[key]) < k.config.Timeout:
		case placed:
			late = append(late, stuckPod{key: key})
		default:
			late = append(late, stuckPod{key, noPlace(k.config.Timeout, words), general})
		}
	}
	if len(late) > 0 {
		trouble, err := k.networkTrouble(ctx)
		if err != nil {
			return nil, err
		}
		for _, pod := range late {
			if trouble != "" {
				pod.why, pod.general = trouble, true
			}
			if pod.why != "" {
				found = append(found, pod)
			}
		}
	}
	slices.SortFunc(found, func(a, b stuckPod) int { return strings.Compare(a.key.String(), b.key.String()) })
	return found, nil
}

// pending are the cloud Pods that have no address yet. It notes since when, and when a Pod was last given one.
func (k *Keeper) pending() map[identity.Key]*cci.Pod {
	all := k.config.Cloud()
	pods := maps.Clone(all)
	maps.DeleteFunc(pods, func(key identity.Key, pod *cci.Pod) bool {
		if pod.Status.PodIP != "" && !k.placed[key] {
			k.placed[key], k.lastPlaced = true, k.config.Now()
		}
		return pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodPending || pod.Status.PodIP != ""
	})
	maps.DeleteFunc(k.placed, func(key identity.Key, _ bool) bool { return all[key] == nil })
	maps.DeleteFunc(k.waiting, func(key identity.Key, _ time.Time) bool { return pods[key] == nil })
	maps.DeleteFunc(k.told, func(key identity.Key, _ policy.OnSoldOut) bool { return pods[key] == nil })
	for key := range pods {
		if _, known := k.waiting[key]; !known {
			k.waiting[key] = k.config.Now()
		}
	}
	return pods
}

func noPlace(patience time.Duration, words string) string {
	text := fmt.Sprintf("the cloud has found no place for %s", patience)
	if words != "" {
		text += ": " + words
	}
	return text
}

// hasPlace tells whether the cloud has found a place for a Pod, and what it says otherwise. How it shows that it is
// sold out is not documented: a Pod without the condition PodScheduled counts by its containers, which appear when
// there is a place.
func hasPlace(pod *cci.Pod) (placed bool, words string) {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled {
			return c.Status == corev1.ConditionTrue, strings.TrimSpace(c.Reason + " " + c.Message)
		}
	}
	words = strings.TrimSpace(pod.Status.Reason + " " + pod.Status.Message)
	return len(pod.Status.ContainerStatuses)+len(pod.Status.InitContainerStatuses) > 0, words
}

// networkTrouble says in words why no Pod gets an address; empty where the networks are not to blame.
func (k *Keeper) networkTrouble(ctx context.Context) (string, error) {
	networks, err := k.config.Networks(ctx)
	if err != nil {
		return "", fmt.Errorf("asking whether the networks have addresses: %w", err)
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
	return fmt.Sprintf("network %s is not Ready, it is %q", networks[0].Name, networks[0].Status.Status), nil
}
