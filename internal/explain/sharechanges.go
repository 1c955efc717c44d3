package explain

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spillway-k8s/spillway/policy"
)

// set changes an annotation that may stand in several places. Where it stands on the Pod itself, that is its Pod
// template, and a change starts a rollout. Everywhere else the workload overrides it without one.
func (s *subject) set(effect, key, value string) Change {
	if _, counts := s.values[key]; counts && s.placeOf(key) == fromPod {
		return s.annotate(effect, key, value)
	}
	w := s.workload()
	if w == nil && (s.Manifest || s.NotCreated) {
		return s.annotate(effect, key, value)
	}
	if s.Manifest {
		return inManifest(effect, map[string]any{"metadata": map[string]any{
			"annotations": map[string]string{key: value},
		}})
	}
	resource, name := "pod", s.Pod.Name
	if w != nil {
		if owner := s.annotatedOwner(key); owner != nil {
			w = owner // A nearer owner counts before the outermost.
		}
		resource, name = resourceOf(*w), w.Name
	}
	return Change{effect, fmt.Sprintf("kubectl -n %s annotate %s %s %s=%s --overwrite", s.Pod.Namespace, resource, name,
		key, value)}
}

// correctShares replaces a malformed share. Which of several that contradict each other is wrong is for the user to
// say.
func (s *subject) correctShares() []Change {
	var malformed *policy.KeyError
	if !errors.As(s.sharesErr, &malformed) {
		return nil
	}
	key := malformed.Key
	if _, err := policy.ParseShares(map[string]string{key: s.values[key]}); err == nil {
		return []Change{{Effect: "change one of the shares that contradict each other: " + malformed.Error()}}
	}
	effect := "correct the quota, such as"
	if key != policy.LocalReplicasAnnotation {
		effect = "correct " + key + ", such as"
	}
	return []Change{s.set(effect, key, "1")}
}

// shareOf lets one more replica run on local nodes, or one fewer: by the one key that does it alone. There may be none.
func (s *subject) shareOf(effect string, by int) []Change {
	for _, key := range []string{policy.LocalReplicasAnnotation, policy.LocalMaxAnnotation} {
		wanted := s.localCap() + by
		value, ok := s.changedShare(key, by, func(shares policy.Shares) bool {
			return shares.LocalCap(s.Replicas.Active) == wanted
		})
		if ok {
			return []Change{s.set(effect, key, value)}
		}
	}
	return nil
}

// lowerFloor lets one more replica burst although no local node fits.
func (s *subject) lowerFloor() []Change {
	floor := s.decision.Shares.LocalFloor(s.Replicas.Active)
	value, ok := s.changedShare(policy.LocalMinAnnotation, -1, func(shares policy.Shares) bool {
		return shares.LocalFloor(s.Replicas.Active) < floor
	})
	if !ok {
		return nil
	}
	return []Change{s.set("let one more replica burst", policy.LocalMinAnnotation, value)}
}

// raiseCloudMax lets one more replica run in the cloud.
func (s *subject) raiseCloudMax() []Change {
	most := s.decision.Shares.CloudCap(s.Replicas.Active)
	value, ok := s.changedShare(policy.CloudMaxAnnotation, +1, func(shares policy.Shares) bool {
		return shares.CloudCap(s.Replicas.Active) > most
	})
	if !ok {
		return nil
	}
	return []Change{s.set("let one more replica run in the cloud", policy.CloudMaxAnnotation, value)}
}

// maxPercent is the most that a percentage can be.
const maxPercent = 100

// changedShare returns the nearest value of a key that is enough, up or down from the present one, and that contradicts
// no other share. A percentage stays one, a number is one more or less.
func (s *subject) changedShare(key string, by int, enough func(policy.Shares) bool) (value string, ok bool) {
	present, counts := s.values[key]
	digits, percent := strings.CutSuffix(present, "%")
	n, err := strconv.Atoi(digits)
	if !counts || err != nil {
		return "", false
	}
	changed := make(map[string]string, len(s.values))
	for k, v := range s.values {
		changed[k] = v
	}
	for range maxPercent {
		if n += by; n < 0 || percent && n > maxPercent {
			return "", false
		}
		value = strconv.Itoa(n)
		if percent {
			value += "%"
		}
		changed[key] = value
		shares, err := policy.ParseShares(changed)
		if err != nil {
			return "", false
		}
		if enough(shares) {
			return value, true
		}
		if !percent {
			return "", false
		}
	}
	return "", false
}
