package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/spillway-k8s/spillway/policy"
)

func TestBrokenPromisesAreFound(t *testing.T) {
	const unschedulable, text = "Unschedulable", "0/2 nodes are available"
	explained := because(unschedulable, text)
	for name, test := range map[string]struct {
		history *history
		want    []string
	}{
		"nothing happens": {newHistory().quiet(), nil},

		// I1
		"one Pod is local, one in the cloud": {newHistory().onLocal("a").inCloud("b").quiet(), nil},
		"a second slot is given while the first is not used yet": {
			newHistory().pod("a").pod("b").filter("a", toLocal).pod("a", slot).filter("b", toLocal).
				pod("b", slot), []string{"I1"},
		},
		"a second slot is given while a Pod is local": {
			newHistory().onLocal("a").pod("b").filter("b", toLocal).pod("b", slot), []string{"I1"},
		},
		"a Pod is bound to a local node without a slot": {
			newHistory().pod("a").filter("a", toLocal).pod("a", on(local)), []string{"I1"},
		},
		"a list contains a Pod that is bound to a local node with its slot": {
			newHistory().pod("a").filter("a", toLocal).pod("a", slot, on(local), listed).pod("b").filter("b", toLocal).
				pod("b", slot), []string{"I1"},
		},
		"a list contains a Pod that is bound to a local node without a slot": {
			newHistory().pod("a").filter("a", toLocal).pod("a", on(local), listed), []string{"I1"},
		},
		"the slot of a terminating Pod is given again": {
			newHistory().onLocal("a").pod("a", terminating).onLocal("b"), nil,
		},
		"the slot of a Pod that went to the cloud is given again": {
			newHistory().pod("a").filter("a", toLocal).pod("a", slot).pod("a", on(cloud)).onLocal("b"), []string{"I2"},
		},
		"a slot without an answer is refused": {
			newHistory().pod("a", slot).filter("a", toWait).onLocal("b"), nil,
		},
		"a slot with an answer is refused": {
			newHistory().pod("a").filter("a", toLocal).pod("a", slot).filter("a", toWait).onLocal("b").
				pod("a", on(local)), []string{"I1"},
		},
		"another revision has its own quota": {newHistory().onLocal("a").onLocal("b", owner("new")), nil},
		"a quota of 0 allows no local Pod":   {newHistory().onLocal("a", quota(0)), []string{"I1"}},
		"a Pod without the marker is placed without the extender": {
			newHistory().onLocal("a").pod("b", unmarked).pod("b", on(local)), nil,
		},
		"a Pod with a nodeName is placed without the extender": {newHistory().onLocal("a").pod("b", on(local)), nil},
		"a Pod that was placed without the extender counts afterwards": {
			newHistory().pod("a", on(local)).onLocal("b"), []string{"I1"},
		},
		"a Pod that was placed without the extender after the request does not count": {
			newHistory().pod("b").filter("b", toLocal).pod("a", on(local)).pod("b", slot).pod("b", on(local)), nil,
		},
		"another Pod is placed without the extender after a lost answer": {
			newHistory().pod("b").pod("b", slot).filter("b", reply{local: 1, err: "lost"}).pod("a", on(local)).
				pod("b", because(unschedulable, text)).filter("b", toLocal), nil,
		},
		"another Pod is placed without the extender while it could not answer": {
			newHistory().pod("b").pod("b", slot).filter("b", reply{err: "slow"}).pod("a", on(local)).
				pod("b", because(unschedulable, text)).filter("b", toLocal), []string{"I1"},
		},
		"an adopted Pod takes a slot": {
			newHistory().onLocal("a", owner("other")).pod("a", owner("rs")).onLocal("b"), []string{"I1"},
		},
		"a released Pod gives its slot back": {
			newHistory().onLocal("a").pod("a", owner("")).onLocal("b"), nil,
		},
		"the switch was off, so quotas did not apply": {
			newHistory().turn(true).onLocal("a", byTheSwitch).pod("b", byTheSwitch).filter("b", toLocal).
				pod("b", on(local)), nil,
		},
		"the switch does not affect Pods with a burst label": {
			newHistory().turn(true).onLocal("a").pod("b").filter("b", toLocal).pod("b", slot), []string{"I1"},
		},

		// I2
		"a Pod is sent to the cloud while a slot is free": {newHistory().inCloud("a"), []string{"I2"}},
		"no local node fits": {
			newHistory().pod("a").filter("a", reply{virtual: 1, noLocalNode: true}).pod("a", on(cloud)).quiet(), nil,
		},
		"a slot becomes free while a Pod is being bound to a virtual node": {
			newHistory().onLocal("a").pod("b").filter("b", toCloud).pod("a", gone).pod("b", on(cloud)).quiet(), nil,
		},
		"a slot became free before the Pod was created": {
			newHistory().onLocal("a").pod("a", gone).inCloud("b"), []string{"I2"},
		},
		"another Pod may hold a slot that was not written": {
			newHistory().pod("a").filter("a", reply{err: "time-out"}).inCloud("b"), nil,
		},
		"another Pod held a slot without an answer at the version of the request, and was deleted later": {
			newHistory().pod("b").pod("a").filter("a", reply{err: "time-out"}).pod("a", slot, listed).pod("a", gone).
				filter("b", toCloud).pod("b", on(cloud)), nil,
		},
		"another Pod held a slot without an answer, and was deleted before the Pod was created": {
			newHistory().pod("a").filter("a", reply{err: "time-out"}).pod("a", slot, listed).pod("a", gone).
				inCloud("b"), []string{"I2"},
		},
		"its own slot does not count against it": {
			newHistory().pod("a").filter("a", toLocal).pod("a", slot).filter("a", toCloud).
				pod("a", on(cloud)), []string{"I2"},
		},
		"a slot counts from when it was written, although the answer came later": {
			newHistory().onLocal("a", quota(2)).pod("b", quota(2)).pod("b", slot).pod("c", quota(2)).pod("a", gone).
				filter("b", toLocal).
				filter("c", toCloud).pod("c", on(cloud)), nil,
		},
		"a slot counts from when it was written, and another one is free": {
			newHistory().onLocal("a", quota(3)).pod("b", quota(3)).pod("b", slot).pod("c", quota(3)).pod("a", gone).
				filter("b", toLocal).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a slot counts from the request for it, although it was written later": {
			newHistory().onLocal("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).
				call("filter", "b", toLocal, func(h *history) { h.pod("a", gone).pod("b", slot) }).filter("c", toCloud).
				pod("c", on(cloud)), nil,
		},
		"a slot counts from the first request that failed": {
			newHistory().onLocal("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).filter("b", reply{err: "slow"}).
				pod("a", gone).filter("b", reply{err: "slow"}).
				pod("b", slot).filter("b", toLocal).filter("c", toCloud).pod("c", on(cloud)), nil,
		},
		"a slot does not count before the request for it": {
			newHistory().onLocal("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).filter("b", toWait).
				pod("a", gone).
				filter("b", toLocal).pod("b", slot).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a slot that was refused counts again when it is answered": {
			newHistory().pod("b", quota(2)).pod("b", slot).filter("b", toLocal).pod("c", quota(2)).
				pod("d", owner("other")).
				filter("b", toWait).filter("b", toLocal).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a Pod is in the cloud although the extender did not send it": {
			newHistory().onLocal("a").pod("b").pod("b", on(cloud)), []string{"I2"},
		},
		"a Pod waits for a free slot while the round is quiet": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("b", because(unschedulable, text)).
				pod("a", gone).
				quiet(), []string{"I2"},
		},
		"a Pod waits for a slot that is held": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("b", because(unschedulable, text)).quiet(), nil,
		},

		// I3
		"a slot that became free is used at once": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("a", gone).after(900 * time.Millisecond).
				onLocal("b"), nil,
		},
		"a slot that became free is used late": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("a", gone).after(time.Second).
				onLocal("b"), []string{"I3"},
		},
		"a slot is used late while the scheduler is behind": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("a", gone).pod("new", owner("new")).
				after(2*time.Second).
				filter("new", toLocal).onLocal("b"), nil,
		},
		"a slot is used late while the scheduler is never idle": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("c", owner("other")).pod("a", gone).
				times(40, func(h *history) { h.after(30*time.Millisecond).filter("c", reply{err: "no"}) }).
				onLocal("b"), nil,
		},
		"a slot is used late although the scheduler was idle": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("c", owner("other")).pod("a", gone).
				times(40, func(h *history) { h.after(30*time.Millisecond).filter("c", reply{err: "no"}) }).
				after(100*time.Millisecond).filter("c", reply{err: "no"}).onLocal("b"), []string{"I3"},
		},
		"a slot is used late during a fault": {
			newHistory().fault("x", false).onLocal("a").pod("b").filter("b", toWait).pod("a", gone).
				after(3*time.Second).
				fault("x", true).onLocal("b"), nil,
		},
		"no Pod waited when the slot became free": {
			newHistory().onLocal("a").pod("a", gone).after(time.Minute).onLocal("b"), nil,
		},

		"the waiting Pod no longer has a quota": {
			newHistory().onLocal("a").pod("b").filter("b", toWait).pod("a", gone).pod("b", noQuota).after(time.Minute).
				pod("b", on(local)), nil,
		},

		// I4
		"a Pod waits without a reason": {newHistory().pod("a", unmanaged).quiet(), []string{"I4"}},
		"a Pod waits with a reason":    {newHistory().pod("a", unmanaged, because(unschedulable, text)).quiet(), nil},

		// I5
		"a Pod is refused twice, and nothing changes": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				quiet(), nil,
		},
		"a Pod is refused in a loop": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				filter("b", toWait).quiet(), []string{"I5"},
		},
		"a Pod is refused again after a change": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				onLocal("other", owner("another")).filter("b", toWait).filter("b", toWait).quiet(), nil,
		},

		"a Pod is refused in a loop long after many changes": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).
				times(9, func(h *history) { h.pod("a") }).after(time.Minute).
				times(3, func(h *history) { h.filter("b", toWait) }).quiet(), []string{"I5"},
		},
		"a Pod is refused twice per change of the cluster": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				times(9, func(h *history) {
					h.after(time.Minute).pod("a").filter("b", toWait).filter("b", toWait)
				}).quiet(), nil,
		},
		"a Pod is refused once per change of the Pod": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				times(9, func(h *history) {
					h.after(time.Minute).pod("b", nominated(local)).filter("b", toWait).pod("b", nominated("")).
						filter("b", toWait)
				}).quiet(), nil,
		},
		"a change of its condition is not a change of the Pod": {
			newHistory().after(time.Minute).pod("b", because(unschedulable, text)).times(9, func(h *history) {
				h.pod("b", because(unschedulable, text)).filter("b", toWait)
			}), []string{"I5"},
		},
		"the scheduler retries a Pod without an answer on its own": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).times(9, func(h *history) {
				h.after(time.Minute).filter("b", reply{err: "no"}).filter("b", toWait)
			}).quiet(), nil,
		},
		"the scheduler retries a Pod whose preemption fails on its own": {
			newHistory().onLocal("a").pod("b", because(unschedulable, text)).after(time.Minute).
				times(9, func(h *history) { h.filter("b", toWait).preempting("b") }).quiet(), nil,
		},

		// I6
		"an eviction is followed by the preemptor": {
			newHistory().onLocal("low", owner("low")).pod("low", preempt).pod("low", gone).onLocal("vip", high).
				quiet(), nil,
		},
		"an eviction is not followed by any Pod": {
			newHistory().onLocal("low", owner("low")).pod("low", preempt).pod("low", gone).quiet(), []string{"I6"},
		},
		"the preemptor goes to the cloud": {
			newHistory().pod("vip", high, nominated(local)).onLocal("low", owner("low")).pod("low", preempt).
				pod("low", gone).
				filter("vip", reply{virtual: 1, noLocalNode: true}).pod("vip", on(cloud)).quiet(), []string{"I6"},
		},
		"the preemptor is deleted": {
			newHistory().onLocal("low", owner("low")).pod("low", preempt).pod("vip", high, nominated(local)).
				pod("low", gone).
				pod("vip", gone).quiet(), nil,
		},

		// I7
		"the scheduler calls the extender for an unmanaged Pod": {
			newHistory().pod("a", unmanaged).filter("a", toLocal), []string{"I7"},
		},
		"an unmanaged Pod waits for one call without an answer": {
			newHistory().pod("plain", unmanaged).pod("a").filter("a", reply{err: "no", took: time.Second}).
				pod("plain", on(local)), nil,
		},
		"an unmanaged Pod waits for many calls without an answer": {
			newHistory().pod("plain", unmanaged).pod("a").filter("a", reply{err: "no", took: time.Second}).
				filter("a", reply{err: "no", took: time.Second}).
				filter("a", reply{err: "no", took: time.Second}).pod("plain", on(local)), []string{"I7"},
		},
		"an unmanaged Pod waits long, a small part of it for calls without an answer": {
			newHistory().pod("plain", unmanaged).pod("a").filter("a", reply{err: "no", took: 1500 * time.Millisecond}).
				after(time.Minute).
				filter("a", reply{err: "no", took: 1500 * time.Millisecond}).pod("plain", on(local)), nil,
		},
		"an unmanaged Pod waits long, a large part of it for calls without an answer": {
			newHistory().pod("plain", unmanaged).pod("a").filter("a", reply{err: "no", took: 1500 * time.Millisecond}).
				after(30*time.Second).
				filter("a", reply{err: "no", took: 1500 * time.Millisecond}).pod("plain", on(local)), []string{"I7"},
		},
		"an answer takes too long": {
			newHistory().pod("a").filter("a", reply{err: "no", took: 3 * time.Second}), []string{"I7"},
		},
		"the harness delays an answer": {
			newHistory().pod("a").fault("extender is slow", false).
				filter("a", reply{err: "no", took: 3 * time.Second}), nil,
		},

		// I8
		"a namespace uses what its limits allow": {
			within("pods=2").counted("a").counted("b").pod("b", terminating).pod("b", gone).counted("c").quiet(), nil,
		},
		"a Pod in the cloud counts until it has terminated": {
			within("pods=2").counted("a").counted("b").pod("b", terminating).counted("c"), []string{"I8"},
		},
		"a namespace uses more Pods than its limits allow": {
			within("pods=1").counted("a").counted("b"), []string{"I8"},
		},
		"a namespace uses more CPU than its limits allow": {
			within("cpu=400m").counted("a").counted("b"), []string{"I8"},
		},
		"a namespace without limits uses what it likes": {
			newHistory().counted("a").counted("b").quiet(), nil,
		},
		"a Pod is bound to a virtual node without a cloud slot": {
			within("pods=1").pod("a", noQuota).filter("a", toCloud).pod("a", on(cloud)), []string{"I8"},
		},
		"a Pod that was bound without the extender counts afterwards": {
			within("pods=1").pod("a", noQuota, unmarked).pod("a", on(cloud)).counted("b"), []string{"I8"},
		},
		"a Pod that was bound without the extender after the request does not count": {
			within("pods=1").pod("b", noQuota).filter("b", toCloud).pod("b", cloudSlot).pod("a", noQuota, unmarked).
				pod("a", on(cloud)).pod("b", on(cloud)), nil,
		},
		"a Pod waits for limits that are used up": {
			within("pods=1").counted("a").pod("b", noQuota, explained).filter("b", limited).quiet(), nil,
		},
		"a Pod waits for limits that leave room": {
			within("pods=1").counted("a").pod("b", noQuota, explained).filter("b", limited).pod("a", gone).quiet(),
			[]string{"I8"},
		},
		"a Pod waits for limits while a slot is reserved": {
			within("pods=1").pod("a", noQuota, explained).filter("a", toCloud).pod("a", cloudSlot).
				pod("b", noQuota, explained).filter("b", limited).quiet(), nil,
		},
		"a Pod waits for limits while a slot may be reserved": {
			within("pods=1").pod("a", noQuota, explained).filter("a", reply{err: "timeout"}).
				pod("b", noQuota, explained).filter("b", limited).quiet(), nil,
		},
		"a Pod over its quota waits for limits although its slot is free": {
			within("pods=0").pod("a", explained).filter("a", reply{reason: policy.ReasonCloudLimits}).quiet(),
			[]string{"I2"},
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
