package wayhome

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/spillway-k8s/spillway/internal/counters"
)

// outcome is how a move has ended.
type outcome string

const (
	// outcomeMoved: the Pod was evicted, and its successor is on a local node.
	outcomeMoved outcome = "moved"
	// outcomeUndone: the Pod has stayed, and its successor was given up.
	outcomeUndone outcome = "undone"
	// outcomeFailed: the Pod was evicted first, and its successor is not on a local node.
	outcomeFailed outcome = "failed"
)

// stay is why a Pod stays in the cloud for now: a value of a label.
type stay string

const (
	staysStopped    stay = "stopped"
	staysStarting   stay = "newLeader"
	staysScheduled  stay = "schedule"
	staysBusy       stay = "maxMoves"
	staysUnexamined stay = "queued"
	staysPaused     stay = "pause"
	staysFailed     stay = "failedBefore"
	staysMoving     stay = "otherPodMoves"
	staysYoung      stay = "minAge"
	staysUnready    stay = "notReady"
	staysOwner      stay = "otherController"
	staysWaiting    stay = "otherPodWaits"
	staysPlacement  stay = "placement"
	staysRoom       stay = "noRoom"
	staysUnsteady   stay = "stableFor"
	staysWorkload   stay = "workload"
	staysBudget     stay = "evictionRefused"
	staysError      stay = "error"
	// leaves: it moves.
	leaves stay = ""
)

func stays() []stay {
	return []stay{
		staysStopped, staysStarting, staysScheduled, staysBusy, staysUnexamined, staysPaused, staysFailed, staysMoving,
		staysYoung, staysUnready, staysOwner, staysWaiting, staysPlacement, staysRoom, staysUnsteady, staysWorkload,
		staysBudget, staysError,
	}
}

type metrics struct {
	moves    *prometheus.CounterVec
	moving   prometheus.Gauge
	staying  *prometheus.GaugeVec
	failures prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		moves: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "spillway_extender_way_home_moves_total",
			Help: "Pods that were to return from the cloud to local nodes, by outcome: moved, undone (the Pod has " +
				"stayed in the cloud, because its successor was not Ready on a local node or the Pod could not be " +
				"evicted), failed (the Pod was evicted first, and its successor is not on a local node).",
		}, []string{"outcome"}),
		moving: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "spillway_extender_way_home_moving",
			Help: "Moves from the cloud to local nodes that have begun and have not ended.",
		}),
		staying: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "spillway_extender_way_home_candidates",
			Help: "Pods in the cloud that return when they can, by what they or the next Pod of their workload wait " +
				"for: stopped (WAY_HOME), newLeader, schedule, maxMoves, queued (not examined yet), pause, " +
				"failedBefore (a longer pause), otherPodMoves, minAge, notReady, otherController, otherPodWaits, " +
				"placement (the share, or the burst mode), noRoom, stableFor, workload (an update, or unavailable " +
				"replicas), evictionRefused, error.",
		}, []string{"reason"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "spillway_extender_way_home_errors_total",
			Help: "Requests for the way home that have failed. They are made again.",
		}),
	}
	for _, c := range []prometheus.Collector{m.moves, m.moving, m.staying, m.failures} {
		if err := registerer.Register(c); err != nil {
			return nil, fmt.Errorf("registering the metrics of the way home: %w", err)
		}
	}
	counters.Start(m.moves, counters.Values(outcomeMoved, outcomeUndone, outcomeFailed))
	m.show(nil, 0)
	return m, nil
}

// show sets the gauges.
func (m *metrics) show(candidates map[stay]int, moving int) {
	m.moving.Set(float64(moving))
	for _, s := range stays() {
		m.staying.WithLabelValues(string(s)).Set(float64(candidates[s]))
	}
}
