package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

const (
	locals     = policy.LocalReplicasAnnotation
	atLeast    = policy.LocalMinAnnotation
	atMost     = policy.LocalMaxAnnotation
	clouds     = policy.CloudMaxAnnotation
	burstAfter = policy.BurstAfterAnnotation
)

func TestBrokenSharesAreFound(t *testing.T) {
	// Three replicas: half of them, rounded up, may be local.
	half := has(locals, "50%")
	halfOf3 := func() *history { return newHistory().pod("a", half).pod("b", half).pod("c", half) }
	gives := func(h *history, names ...string) *history {
		for _, name := range names {
			h.filter(name, toLocal).pod(name, slot).pod(name, on(local))
		}
		return h
	}
	floor1, floor2 := has(atLeast, "1"), has(atLeast, "2")
	one, cloudHalf := has(clouds, "1"), has(clouds, "50%")
	for name, test := range map[string]struct {
		history *history
		want    []string
	}{
		// I1
		"a percentage is rounded up": {gives(halfOf3(), "a", "b").pod("c", gone).quiet(), nil},
		"a percentage is exceeded":   {gives(halfOf3(), "a", "b", "c"), []string{"I1"}},
		"a percentage of the replicas before a scale-in is held afterwards": {
			gives(halfOf3(), "a", "b").pod("c", gone).pod("b", terminating).pod("a").quiet(), nil,
		},
		"the replicas ended after the call for the Pod": {
			gives(halfOf3(), "a").pod("b").call("filter", "b", toLocal, func(h *history) {
				h.pod("c", gone).pod("b", slot)
			}).pod("b", on(local)), nil,
		},
		"the replicas ended before the call for the Pod": {
			gives(halfOf3(), "a").pod("c", gone).pod("b").filter("b", toLocal).pod("b", slot), []string{"I1"},
		},
		"Pods without shares count as replicas": {
			newHistory().pod("a", half).pod("b", noQuota).pod("c", noQuota).
				call("filter", "a", toLocal, func(h *history) {
					h.pod("a", slot)
				}).pod("d", half).filter("d", toLocal).pod("d", slot), nil,
		},
		"a local Pod without shares holds a slot": {
			newHistory().pod("a", noQuota, unmarked).pod("a", on(local)).onLocal("b"), []string{"I1"},
		},
		"a largest share is exceeded": {
			newHistory().onLocal("a", has(atMost, "1")).onLocal("b", has(atMost, "1")), []string{"I1"},
		},
		"a floor raises a quota": {
			newHistory().onLocal("a", has(locals, "1", atLeast, "2")).onLocal("b", has(locals, "1", atLeast, "2")).
				quiet(), nil,
		},
		"the shares of the namespace count": {
			gives(settled(map[string]string{locals: "1"}).pod("a", noQuota).pod("b", noQuota), "a", "b"),
			[]string{"I1"},
		},
		"the shares of the Pod count before those of the namespace": {
			gives(settled(map[string]string{locals: "1"}).pod("a", quota(2)).pod("b", quota(2)), "a", "b").quiet(), nil,
		},
		"the shares were smaller when the Pod was called for": {
			newHistory().onLocal("a").pod("b").call("filter", "b", toLocal, func(h *history) {
				h.pod("b", quota(2)).pod("b", slot)
			}).pod("b", on(local)).quiet(), nil,
		},
		"the shares became smaller before the call": {
			newHistory().onLocal("a", quota(2)).pod("b", quota(2)).pod("b", quota(1)).filter("b", toLocal).
				pod("b", slot),
			[]string{"I1"},
		},
		"contradicting shares keep the Pod local": {
			gives(newHistory().pod("a", has(locals, "1", atMost, "0")), "a").quiet(), nil,
		},

		// I2
		"a Pod is sent to the cloud while its percentage leaves room": {
			gives(halfOf3(), "a").pod("b").filter("b", toCloud).pod("b", on(cloud)), []string{"I2"},
		},
		"a Pod is sent to the cloud when its percentage left no room": {
			gives(halfOf3(), "a", "b").filter("c", toCloud).pod("c", on(cloud)).quiet(), nil,
		},
		"a Pod without a local cap is sent to the cloud while a local node fits": {
			newHistory().inCloud("a", floor1, cloudSlot), []string{"I2"},
		},
		"a Pod waits although more replicas allow another slot": {
			newHistory().onLocal("a", half).pod("b", half).pod("b", because("Unschedulable", "text")).
				filter("b", toWait).
				onLocal("c", half, owner("other")).pod("d", half, owner("rs")).pod("d", on(cloud)).quiet(),
			[]string{"I2"},
		},

		// I5
		"a Pod is retried because its revision has another replica": {
			newHistory().after(time.Minute).stays("a", toFloor, floor1).filter("a", toFloor).
				times(3, func(h *history) { h.pod("b", gone).pod("b").filter("a", toFloor).filter("a", toFloor) }), nil,
		},

		// I9
		"as many are in the cloud as may": {newHistory().bursts("a", one).quiet(), nil},
		"more are in the cloud than may": {
			newHistory().bursts("a", one).bursts("b", one), []string{"I9"},
		},
		"a percentage of the cloud is rounded down": {
			newHistory().pod("a", cloudHalf).pod("b", cloudHalf).pod("c", cloudHalf).bursts("a").bursts("b"),
			[]string{"I9"},
		},
		"a Pod that terminates in the cloud leaves room": {
			newHistory().bursts("a", one).pod("a", terminating).bursts("b", one), nil,
		},
		"the replicas ended while a Pod was being bound to the cloud": {
			newHistory().pod("a", cloudHalf).pod("b", cloudHalf).filter("a", toBurst).pod("a", cloudSlot).
				pod("b", gone).
				pod("a", on(cloud)), nil,
		},
		"the replicas ended before a Pod was sent to the cloud": {
			newHistory().pod("a", cloudHalf).pod("b", cloudHalf).pod("b", gone).pod("a").filter("a", toBurst).
				pod("a", cloudSlot).pod("a", on(cloud)), []string{"I9"},
		},
		"a Pod is in the cloud without a cloud slot": {
			newHistory().pod("a", one).filter("a", toBurst).pod("a", on(cloud)), []string{"I9"},
		},
		"a Pod that must run in the cloud is held to the cap": {
			newHistory().bursts("a", one, enforced).bursts("b", one, enforced), []string{"I9"},
		},
		"a Pod that came to the cloud without the extender counts afterwards": {
			newHistory().pod("a", one, unmarked).pod("a", on(cloud)).bursts("b", one), []string{"I9"},
		},
		"a Pod came to the cloud without the extender after the call": {
			newHistory().pod("b", one).call("filter", "b", toBurst, func(h *history) {
				h.pod("a", one, unmarked).pod("a", on(cloud)).pod("b", cloudSlot)
			}).pod("b", on(cloud)), nil,
		},
		"a Pod waits for a share of the cloud that is used up": {
			newHistory().bursts("a", one).stays("b", toShare, one).quiet(), nil,
		},
		"a Pod waits for a share of the cloud that has room": {
			newHistory().bursts("a", one).stays("b", toShare, one).pod("a", gone).quiet(), []string{"I9"},
		},

		// I10: the floor
		"a Pod bursts when the floor is local": {newHistory().onLocal("a", floor1).bursts("b", floor1).quiet(), nil},
		"a Pod bursts when the floor waits": {newHistory().stays("a", toFloor, floor1).bursts("b", floor1).quiet(),
			nil},
		"a Pod bursts below the floor": {newHistory().bursts("a", floor1), []string{"I10"}},
		"a Pod bursts below the floor although another one is local": {
			newHistory().onLocal("a", floor2).bursts("b", floor2), []string{"I10"},
		},
		"a Pod bursts, and one of the floor ends meanwhile": {
			newHistory().onLocal("a", floor1).pod("b", floor1).filter("b", toBurst).pod("a", gone).pod("b", cloudSlot).
				pod("b", on(cloud)), nil,
		},
		"a Pod bursts after one of the floor has ended": {
			newHistory().onLocal("a", floor1).pod("a", gone).bursts("b", floor1), []string{"I10"},
		},
		"a Pod that may have been refused for the floor counts": {
			newHistory().pod("a", floor1).filter("a", reply{err: "lost", noLocalNode: true}).bursts("b", floor1), nil,
		},
		"a Pod that waits for burst-after is not one of the floor": {
			newHistory().stays("a", toBurstAfter, has(atLeast, "1", burstAfter, "10m")).bursts("b", floor1),
			[]string{"I10"},
		},
		"more Pods wait for the floor than it has": {
			newHistory().stays("a", toFloor, floor1).stays("b", toFloor, floor1).quiet(), []string{"I10"},
		},
		"a Pod waits for a floor that is local": {
			newHistory().onLocal("a", floor1).stays("b", toFloor, floor1).quiet(), []string{"I10"},
		},
		"a Pod waits for the floor while a local node has room": {
			newHistory().room(1000).stays("a", toFloor, floor1, needs(300)).quiet(), []string{"I10"},
		},
		"a Pod waits for the floor while the local node is full": {
			newHistory().room(1000).onLocal("b", owner("other"), needs(800)).stays("a", toFloor, floor1, needs(300)).
				quiet(),
			nil,
		},

		// I10: the wait
		"a Pod bursts before it has waited": {
			wait(newHistory(), "a", "5s").after(4*time.Second).filter("a", toBurst).pod("a", on(cloud)),
			[]string{"I10"},
		},
		"a Pod bursts when it has waited": {
			wait(newHistory(), "a", "5s").after(5*time.Second).filter("a", toBurst).pod("a", on(cloud)).quiet(), nil,
		},
		"a Pod bursts long after it has waited": {
			wait(newHistory(), "a", "5s").after(7*time.Second).filter("a", toBurst).pod("a", on(cloud)), []string{"I3"},
		},
		"a Pod bursts long after it has waited, because of a fault": {
			wait(newHistory(), "a", "5s").fault("x", false).after(7*time.Second).filter("a", toBurst).
				pod("a", on(cloud)), nil,
		},
		"a Pod bursts before it has waited while the clock is wrong": {
			wait(newHistory(), "a", "5s").fault("extender: its clock jumps", false).after(time.Second).
				filter("a", toBurst).
				pod("a", on(cloud)), nil,
		},
		"a Pod over its quota does not wait": {
			wait(newHistory().onLocal("b"), "a", "5s", locals, "1").filter("a", toBurst).pod("a", on(cloud)), nil,
		},
		"a Pod within its quota does": {
			wait(newHistory(), "a", "5s", locals, "1").filter("a", toBurst).pod("a", on(cloud)), []string{"I10"},
		},
		"a Pod over its quota waits": {
			wait(newHistory().onLocal("b"), "a", "5m", locals, "1").after(5 * time.Second).quiet(), []string{"I10"},
		},
		"a slot became free before a Pod was told to wait": {
			wait(newHistory().onLocal("b").pod("b", gone), "a", "5m", locals, "1").after(5 * time.Second).quiet(), nil,
		},
		"a Pod waits although that has ended": {
			wait(newHistory(), "a", "5s").after(7 * time.Second).quiet(), []string{"I10"},
		},
		"an unmanaged Pod bursts before it has waited": {
			settled(map[string]string{burstAfter: "5s"}).unmanagedNow("a").pod("a", on(cloud)), []string{"I10"},
		},
		"an unmanaged Pod bursts when it has waited": {
			settled(map[string]string{burstAfter: "5s"}).unmanagedNow("a").after(5*time.Second).pod("a", on(cloud)),
			nil,
		},
		"a Pod is retried when its wait has ended": {
			wait(newHistory().after(time.Minute), "a", "5s").filter("a", toBurstAfter).after(10*time.Second).
				filter("a", toBurst).filter("a", toBurst), nil,
		},

		// I11
		"a Pod has the annotations of its workload": {
			newHistory().wrote(record.Workload{Name: "rs", Settings: map[string]string{locals: "50%"}}).
				onLocal("a", half, app("rs")).quiet(), nil,
		},
		"a Pod has other annotations than its workload": {
			newHistory().wrote(record.Workload{Name: "rs", Settings: map[string]string{locals: "60%"}}).
				onLocal("a", half, app("rs")).quiet(), []string{"I11"},
		},
		"a Pod that does not belong to the workload keeps its annotations": {
			newHistory().wrote(record.Workload{Name: "rs", Settings: map[string]string{locals: "60%"}}).
				onLocal("a", half, app("rs")).pod("a", owner("")).quiet(), nil,
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			if want == nil {
				want = []string{}
			}
			assert.Equal(t, want, test.history.broken(t))
		})
	}
}

func enforced(p *record.Pod) { p.Burst = string(policy.ModeEnforce) }

// room sets what Pods can request on the local node.
func (h *history) room(cpu int64) *history {
	return h.add(record.Entry{Node: &record.Node{Name: local, MilliCPU: cpu, Room: "room", Open: true}})
}

// wait creates a Pod that is refused because it must wait for local nodes.
func wait(h *history, name, duration string, settings ...string) *history {
	return h.stays(name, toBurstAfter, has(append(settings, burstAfter, duration)...), h.born)
}

// unmanagedNow creates an unmanaged Pod.
func (h *history) unmanagedNow(name string) *history { return h.pod(name, plain, h.born) }

func TestBrokenWaysHomeAreFound(t *testing.T) {
	home := record.Workload{Name: "web", WayHome: true, MinAvailable: 1}
	replicas := func(names ...string) *history {
		h := newHistory().wrote(home)
		for _, name := range names {
			h.pod(name, noQuota, app("web"), h.born).filter(name, toBurst).pod(name, on(cloud), ready)
		}
		return h.after(time.Minute)
	}
	returns := func(h *history, name string) *history {
		return h.pod(name, moving).pod(name, evicted).pod(name, gone)
	}
	for name, test := range map[string]struct {
		history *history
		want    []string
	}{
		"a Pod returns":             {returns(replicas("a", "b"), "a").quiet(), nil},
		"a Pod returns by eviction": {replicas("a", "b").pod("a", evicted).pod("a", gone).quiet(), nil},
		"a move is undone":          {replicas("a").pod("a", moving).pod("a", unmoved).quiet(), nil},
		"a move does not end":       {replicas("a").pod("a", moving).quiet(), []string{"I12"}},
		"two Pods return after a pause": {
			returns(returns(replicas("a", "b", "c"), "a").after(time.Second), "b").quiet(), nil,
		},
		"two Pods return without a pause": {
			returns(returns(replicas("a", "b", "c"), "a"), "b"), []string{"I12"},
		},
		"a Pod is moved twice without a pause": {
			replicas("a").pod("a", moving).pod("a", unmoved).pod("a", moving), []string{"I12"},
		},
		"too many Pods are on their way": {
			replicas("a").wrote(record.Workload{Name: "x", WayHome: true}).
				wrote(record.Workload{Name: "y", WayHome: true}).
				pod("x", app("x"), on(cloud)).pod("y", app("y"), on(cloud)).pod("a", moving).pod("x", moving).
				pod("y", moving), []string{"I12"},
		},
		"a Pod that stays returns": {
			newHistory().wrote(record.Workload{Name: "web"}).pod("a", app("web"), on(cloud)).pod("a", moving),
			[]string{"I12"},
		},
		"a Pod that must run in the cloud returns": {
			replicas("a").pod("a", enforced).pod("a", moving), []string{"I12"},
		},
		"a young Pod returns": {
			newHistory().wrote(home).youngInCloud("a").pod("a", moving), []string{"I12"},
		},
		"a move leaves too few ready Pods": {
			replicas("a").pod("a", moving).pod("a", evicted), []string{"I12"},
		},
		"an eviction leaves too few ready Pods": {replicas("a").pod("a", evicted), []string{"I12"}},
		"the harness evicts a Pod": {replicas("a").ends("a").pod("a", evicted).pod("a", gone).quiet(),
			nil},
		"another Pod ends just before a move": {
			replicas("a", "b").pod("b", gone).pod("a", evicted), nil,
		},
		"another Pod ended long before a move": {
			replicas("a", "b").pod("b", gone).after(time.Minute).pod("a", evicted), []string{"I12"},
		},
		"a Pod on its way home holds its place in its revision": {
			newHistory().wrote(home).bursts("a", app("web"), has(clouds, "1")).after(time.Minute).pod("a", moving).
				bursts("b", has(clouds, "1")), []string{"I9"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := test.want
			if want == nil {
				want = []string{}
			}
			assert.Equal(t, want, test.history.broken(t))
		})
	}
}

// youngInCloud creates a Pod in the cloud.
func (h *history) youngInCloud(name string) *history {
	return h.pod(name, app("web"), noQuota, h.born).filter(name, toBurst).pod(name, on(cloud))
}
