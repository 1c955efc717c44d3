package plan

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// drawSettings returns shares that do not contradict each other, nor those of the namespace, and perhaps a wait for
// room on local nodes. with has some of them.
func drawSettings(random *rand.Rand, namespace, with map[string]string) map[string]string {
	for {
		settings := maps.Clone(with)
		if settings == nil {
			settings = map[string]string{}
		}
		for _, key := range policy.ShareAnnotations() {
			if random.IntN(2) == 0 && settings[key] == "" {
				settings[key] = drawAmount(random, key)
			}
		}
		if random.IntN(3) == 0 && settings[policy.BurstAfterAnnotation] == "" {
			settings[policy.BurstAfterAnnotation] = draw(random, "1s", "3s", "6s")
		}
		if agrees(namespace, settings) && policy.HasShares(settings) {
			return settings
		}
	}
}

// agrees reports whether shares contradict neither each other nor those of the namespace.
func agrees(namespace, settings map[string]string) bool {
	all := map[string]string{}
	maps.Copy(all, namespace)
	maps.Copy(all, settings)
	_, err := policy.ParseShares(all)
	return err == nil
}

func drawAmount(random *rand.Rand, key string) string {
	if random.IntN(2) == 0 {
		return strconv.Itoa(5*random.IntN(21)) + "%"
	}
	if key == policy.CloudMaxAnnotation {
		return strconv.Itoa(1 + random.IntN(5))
	}
	return strconv.Itoa(random.IntN(4))
}

// drawNamespace returns what stands on the namespace of a round. Most have nothing: a namespace with shares has no
// unmanaged Pods.
func drawNamespace(random *rand.Rand, calm bool) map[string]string {
	if calm {
		return nil // I7 is measured there.
	}
	return draw(random, nil, nil,
		map[string]string{policy.BurstAfterAnnotation: "2s"},
		map[string]string{policy.CloudMaxAnnotation: "4"},
		map[string]string{policy.LocalReplicasAnnotation: "40%"})
}

// drawCrowd returns a workload that finds room for three of its Pods on a small node of its own: its other Pods wait
// there because of a floor or of burst-after, or go to the cloud.
func drawCrowd(random *rand.Rand, number, node int, within time.Duration, namespace map[string]string) Workload {
	w := drawWorkload(random, number, within/2, namespace)
	w.Kind, w.Parallel = draw(random, Deployment, Deployment, ReplicaSet, StatefulSet), true
	w.Scheduler, w.Burst, w.Quota = "", policy.ModeLocalPrefer, nil
	w.Nodes, w.Node, w.CPU, w.Replicas = draw(random, Tight, Tight, Tight, TightOnly), node, 300, 3+random.IntN(6)
	w.Settings, w.OnWorkload = drawCrowded(random, namespace), random.IntN(3) > 0
	w.Steps = nil
	for range 2 + random.IntN(3) {
		step := Step{After: time.Second + upTo(random, within/4), Do: draw(random, Scale, Delete, Delete, Evict,
			Rollout)}
		step.Count = 1 + random.IntN(2)
		switch {
		case step.Do == Scale:
			step.Count = random.IntN(9)
		case w.OnWorkload && random.IntN(2) == 0:
			step.Do, step.Settings = EditShares, drawCrowded(random, namespace)
		}
		w.Steps = append(w.Steps, step)
	}
	return w
}

// drawCrowded returns settings by which some Pods of a crowd wait: for its floor, for burst-after or for room in its
// share of the cloud.
func drawCrowded(random *rand.Rand, namespace map[string]string) map[string]string {
	for {
		if settings := drawWaiting(random, namespace); agrees(namespace, settings) {
			return settings
		}
	}
}

func drawWaiting(random *rand.Rand, namespace map[string]string) map[string]string {
	floor := draw(random, "2", "4", "5", "60%", "100%")
	wait := draw(random, "3s", "10s", "30s", "10m")
	share := draw(random, "1", "2", "25%", "40%")
	switch random.IntN(6) {
	case 0:
		return map[string]string{policy.LocalMinAnnotation: floor}
	case 1:
		return map[string]string{policy.LocalMinAnnotation: floor, policy.BurstAfterAnnotation: wait}
	case 2:
		return map[string]string{policy.CloudMaxAnnotation: share}
	case 3:
		return map[string]string{policy.CloudMaxAnnotation: share, policy.BurstAfterAnnotation: wait}
	case 4:
		return map[string]string{
			policy.LocalMinAnnotation: floor, policy.CloudMaxAnnotation: share, policy.BurstAfterAnnotation: wait,
		}
	default:
		return drawSettings(random, namespace, map[string]string{policy.BurstAfterAnnotation: wait})
	}
}

// drawReturning returns a workload whose cloud Pods may return. There is room for them on local nodes when its quota is
// raised. Some have a PodDisruptionBudget.
func drawReturning(random *rand.Rand, number int, within time.Duration) Workload {
	w := Workload{
		Name: fmt.Sprintf("w%d", number), Start: upTo(random, within/2), CPU: 100, Nodes: Wide,
		Burst: policy.ModeLocalPrefer,
		Kind:  draw(random, Deployment, Deployment, Deployment, ReplicaSet, StatefulSet),
		Surge: draw(random, "25%", "100%", "0"), Unavailable: "1", Parallel: true, OnWorkload: true, WayHome: true,
		Replicas: 3 + random.IntN(3),
	}
	if random.IntN(3) > 0 {
		w.MinAvailable = w.Replicas - 1
	}
	quota := random.IntN(2)
	shares := func() map[string]string {
		return map[string]string{policy.LocalReplicasAnnotation: strconv.Itoa(quota)}
	}
	w.Settings = shares()
	for range 2 {
		quota += 1 + random.IntN(2)
		w.Steps = append(w.Steps,
			Step{After: within/4 + upTo(random, within/4), Do: EditShares, Settings: shares()},
			Step{
				After: within/4 + upTo(random, within/4), Do: draw(random, Delete, Evict, Rollout, Scale),
				Count: 1 + random.IntN(2),
			})
		if last := &w.Steps[len(w.Steps)-1]; last.Do == Scale {
			last.Count = w.Replicas - random.IntN(2)
		}
	}
	return w
}
