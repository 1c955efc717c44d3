package day

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/spillway-k8s/spillway/policy"
)

// kind is the kind of a workload, and how its Pods may be replaced.
type kind int

const (
	// surging is a Deployment that may have one Pod more than its replicas.
	surging kind = iota
	// steady is a Deployment that may never have more Pods than its replicas.
	steady
	// stateful is a StatefulSet.
	stateful
)

func (k kind) String() string {
	return [...]string{"Deployment, maxSurge 1", "Deployment, maxSurge 0", "StatefulSet"}[k]
}

// workload is a workload and its load over the day.
type workload struct {
	name     string
	kind     kind
	milliCPU int64
	// annotations stand on the workload.
	annotations map[string]string
	// least and most are its replicas far from its peak and at it. The peak is at an hour, and hours long.
	least, most int
	peak, hours float64
}

// workloads are the workloads of the day. Their peaks are at different hours: one that is over leaves room for Pods of
// another that have burst meanwhile.
func workloads() []workload {
	return []workload{
		{name: "shop", kind: surging, milliCPU: 500, least: 4, most: 14, peak: 14, hours: 5},
		{name: "reports", kind: steady, milliCPU: 1000, least: 2, most: 8, peak: 9, hours: 1.5},
		{
			name: "api", kind: surging, milliCPU: 500, least: 4, most: 12, peak: 18, hours: 2.5,
			annotations: map[string]string{policy.LocalReplicasAnnotation: "30%", policy.LocalMinAnnotation: "2"},
		},
		{name: "cart", kind: stateful, milliCPU: 500, least: 3, most: 8, peak: 20, hours: 3},
	}
}

// hoursOfDay is the length of the curve.
const hoursOfDay = 24

// stepsPerHour is how often replicas change at most.
const stepsPerHour = 2

// scale is a change of the replicas of a workload.
type scale struct {
	// at is the time since midnight, in the time of the simulated day.
	at       time.Duration
	workload int
	replicas int
}

// curve returns the changes of one day, in their order. The first ones are the replicas at midnight.
func curve(list []workload, seed uint64) (changes []scale) {
	random := rand.New(rand.NewPCG(seed, 0))
	last := make([]int, len(list))
	for step := range hoursOfDay * stepsPerHour {
		for i, w := range list {
			hour := float64(step) / stepsPerHour
			replicas := w.replicas(hour, random.IntN(3)-1)
			if replicas == last[i] {
				continue
			}
			last[i] = replicas
			changes = append(changes, scale{time.Duration(hour * float64(time.Hour)), i, replicas})
		}
	}
	return changes
}

// replicas returns the replicas of the workload at an hour, with a deviation that has its full effect at the peak.
func (w workload) replicas(hour float64, deviation int) int {
	distance := math.Abs(hour - w.peak)
	distance = min(distance, hoursOfDay-distance) / w.hours
	load := math.Exp(-distance * distance)
	replicas := float64(w.least) + float64(w.most-w.least)*load + load*float64(deviation)
	return max(w.least, min(w.most, int(math.Round(replicas))))
}

// The maintenance: one local node is drained at noon, and takes Pods again an hour later.
const (
	drainAt    = 12 * time.Hour
	uncordonAt = 13 * time.Hour
)
