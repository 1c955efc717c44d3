package e2e

import (
	"testing"

	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// TestASchedulerOfItsOwn tests the topology of the chart's default: the extender is called for every Pod of a scheduler
// next to that of the cluster.
func TestASchedulerOfItsOwn(t *testing.T) {
	t.Parallel()
	list := append(stories.OwnScheduler(), stories.All()...)
	for _, story := range stories.Further() {
		switch story.Name {
		case "waiting", "preemption", "extender-down", "admission-down", "labels":
			list = append(list, story)
		}
	}
	playAll(t, list, func(c *system.Config) { c.Shape.Topology = system.TopologyOwnScheduler })
}

// TestOtherSchedulers tests Pods of schedulers that do not call the extender, next to one that does.
func TestOtherSchedulers(t *testing.T) {
	t.Parallel()
	playAll(t, stories.Schedulers(), func(c *system.Config) {
		c.Shape.Topology = system.TopologyService
		c.OtherScheduler = stories.AddSimulations
	})
}
