package check

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestWhatIsBrokenIsNamed(t *testing.T) {
	const unschedulable, text = "Unschedulable", "0/2 nodes are available"
	for name, test := range map[string]struct {
		history *history
		want    []string
	}{
		"nothing happens": {newHistory().quiet(), nil},

		// I1
		"one at home, one in the cloud": {newHistory().atHome("a").inCloud("b").quiet(), nil},
		"a second slot is given while the first is not used yet": {
			newHistory().pod("a").pod("b").filter("a", toHome).pod("a", slot).filter("b", toHome).pod("b", slot), []string{"I1"},
		},
		"a second slot is given while a Pod is at home": {newHistory().atHome("a").pod("b").filter("b", toHome).pod("b", slot), []string{"I1"}},
		"a Pod is bound home without a slot":            {newHistory().pod("a").filter("a", toHome).pod("a", on(home)), []string{"I1"}},
		"a Pod is seen in a list, bound home with its slot": {
			newHistory().pod("a").filter("a", toHome).pod("a", slot, on(home), listed).pod("b").filter("b", toHome).pod("b", slot), []string{"I1"},
		},
		"a Pod is seen in a list, bound home without a slot": {newHistory().pod("a").filter("a", toHome).pod("a", on(home), listed), []string{"I1"}},
		"the slot of a terminating Pod is given again":       {newHistory().atHome("a").pod("a", terminating).atHome("b"), nil},
		"the slot of a Pod that went to the cloud":           {newHistory().pod("a").filter("a", toHome).pod("a", slot).pod("a", on(cloud)).atHome("b"), []string{"I2"}},
		"a slot that was never answered is refused": {
			newHistory().pod("a", slot).filter("a", toWait).atHome("b"), nil,
		},
		"a slot is refused that had been answered": {
			newHistory().pod("a").filter("a", toHome).pod("a", slot).filter("a", toWait).atHome("b").pod("a", on(home)), []string{"I1"},
		},
		"another revision has a quota of its own":         {newHistory().atHome("a").atHome("b", owner("new")), nil},
		"a quota of 0 keeps everybody away":               {newHistory().atHome("a", quota(0)), []string{"I1"}},
		"an unmarked Pod comes past the extender":         {newHistory().atHome("a").pod("b", unmarked).pod("b", on(home)), nil},
		"a Pod with a nodeName comes past the extender":   {newHistory().atHome("a").pod("b", on(home)), nil},
		"who came past the extender is counted afterward": {newHistory().pod("a", on(home)).atHome("b"), []string{"I1"}},
		"who came past the extender after the question cannot be": {
			newHistory().pod("b").filter("b", toHome).pod("a", on(home)).pod("b", slot).pod("b", on(home)), nil,
		},
		"another comes past the extender after its answer, which was lost": {
			newHistory().pod("b").pod("b", slot).filter("b", reply{local: 1, err: "lost"}).pod("a", on(home)).pod("b", because(unschedulable, text)).filter("b", toHome), nil,
		},
		"another comes past the extender while it could not answer": {
			newHistory().pod("b").pod("b", slot).filter("b", reply{err: "slow"}).pod("a", on(home)).pod("b", because(unschedulable, text)).filter("b", toHome), []string{"I1"},
		},
		"a Pod that is adopted takes a place": {newHistory().atHome("a", owner("other")).pod("a", owner("rs")).atHome("b"), []string{"I1"}},
		"a Pod that is released gives its place back": {
			newHistory().atHome("a").pod("a", owner("")).atHome("b"), nil,
		},
		"the switch was off, and quotas meant nothing": {
			newHistory().turn(true).atHome("a", byTheSwitch).pod("b", byTheSwitch).filter("b", toHome).pod("b", on(home)), nil,
		},
		"the switch does not matter to a burst label": {
			newHistory().turn(true).atHome("a").pod("b").filter("b", toHome).pod("b", slot), []string{"I1"},
		},

		// I2
		"a Pod is sent to the cloud while a slot is free": {newHistory().inCloud("a"), []string{"I2"}},
		"no local node fits":                              {newHistory().pod("a").filter("a", reply{virtual: 1, noRoom: true}).pod("a", on(cloud)).quiet(), nil},
		"a slot becomes free while a Pod is being bound to the cloud": {
			newHistory().atHome("a").pod("b").filter("b", toCloud).pod("a", gone).pod("b", on(cloud)).quiet(), nil,
		},
		"a slot had become free before the Pod was made": {newHistory().atHome("a").pod("a", gone).inCloud("b"), []string{"I2"}},
		"another may hold a slot that is written nowhere": {
			newHistory().pod("a").filter("a", reply{err: "time-out"}).inCloud("b"), nil,
		},
		"another held one as far as the extender had to know, written and never answered, and has gone meanwhile": {
			newHistory().pod("b").pod("a").filter("a", reply{err: "time-out"}).pod("a", slot, listed).pod("a", gone).filter("b", toCloud).pod("b", on(cloud)), nil,
		},
		"another held one that was never answered, and had gone before the Pod was made": {
			newHistory().pod("a").filter("a", reply{err: "time-out"}).pod("a", slot, listed).pod("a", gone).inCloud("b"), []string{"I2"},
		},
		"its own slot holds no place that it could not have": {
			newHistory().pod("a").filter("a", toHome).pod("a", slot).filter("a", toCloud).pod("a", on(cloud)), []string{"I2"},
		},
		"a slot is held from when it was written, though its answer came later": {
			newHistory().atHome("a", quota(2)).pod("b", quota(2)).pod("b", slot).pod("c", quota(2)).pod("a", gone).filter("b", toHome).
				filter("c", toCloud).pod("c", on(cloud)), nil,
		},
		"a slot is held from when it was written, and another is free": {
			newHistory().atHome("a", quota(3)).pod("b", quota(3)).pod("b", slot).pod("c", quota(3)).pod("a", gone).filter("b", toHome).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a slot is held from when it was asked for, though it was written later": {
			newHistory().atHome("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).
				question("filter", "b", toHome, func(h *history) { h.pod("a", gone).pod("b", slot) }).filter("c", toCloud).pod("c", on(cloud)), nil,
		},
		"a slot is held from when it was first asked for in vain": {
			newHistory().atHome("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).filter("b", reply{err: "slow"}).pod("a", gone).filter("b", reply{err: "slow"}).
				pod("b", slot).filter("b", toHome).filter("c", toCloud).pod("c", on(cloud)), nil,
		},
		"a slot is not held before it was asked for": {
			newHistory().atHome("a", quota(2)).pod("b", quota(2)).pod("c", quota(2)).filter("b", toWait).pod("a", gone).filter("b", toHome).pod("b", slot).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a slot that was refused and is answered again is one": {
			newHistory().pod("b", quota(2)).pod("b", slot).filter("b", toHome).pod("c", quota(2)).pod("d", owner("other")).filter("b", toWait).filter("b", toHome).
				filter("c", toCloud).pod("c", on(cloud)), []string{"I2"},
		},
		"a Pod is in the cloud that nobody sent there": {newHistory().atHome("a").pod("b").pod("b", on(cloud)), []string{"I2"}},
		"a Pod waits for a slot that is free, and all is quiet": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("b", because(unschedulable, text)).pod("a", gone).quiet(), []string{"I2"},
		},
		"a Pod waits for a slot that is taken": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("b", because(unschedulable, text)).quiet(), nil,
		},

		// I3
		"a slot that became free is used at once": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("a", gone).after(900 * time.Millisecond).atHome("b"), nil,
		},
		"a slot that became free is used late": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("a", gone).after(time.Second).atHome("b"), []string{"I3"},
		},
		"a scheduler that is behind is an excuse": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("a", gone).pod("new", owner("new")).after(2*time.Second).
				filter("new", toHome).atHome("b"), nil,
		},
		"a scheduler that has no rest is an excuse": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("c", owner("other")).pod("a", gone).
				times(40, func(h *history) { h.after(30*time.Millisecond).filter("c", reply{err: "no"}) }).atHome("b"), nil,
		},
		"a scheduler that has rested is none": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("c", owner("other")).pod("a", gone).
				times(40, func(h *history) { h.after(30*time.Millisecond).filter("c", reply{err: "no"}) }).after(100*time.Millisecond).filter("c", reply{err: "no"}).atHome("b"), []string{"I3"},
		},
		"a fault is an excuse": {
			newHistory().fault("x", false).atHome("a").pod("b").filter("b", toWait).pod("a", gone).after(3*time.Second).fault("x", true).atHome("b"), nil,
		},
		"nobody waited when the slot became free": {
			newHistory().atHome("a").pod("a", gone).after(time.Minute).atHome("b"), nil,
		},

		"who waited has no quota any more": {
			newHistory().atHome("a").pod("b").filter("b", toWait).pod("a", gone).pod("b", noQuota).after(time.Minute).pod("b", on(home)), nil,
		},

		// I4
		"a Pod waits without a reason": {newHistory().pod("a", unkeyed).quiet(), []string{"I4"}},
		"a Pod waits with a reason":    {newHistory().pod("a", unkeyed, because(unschedulable, text)).quiet(), nil},

		// I5
		"a Pod is refused twice, and nothing changes": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).quiet(), nil,
		},
		"a Pod is refused in a loop": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).filter("b", toWait).quiet(), []string{"I5"},
		},
		"a Pod is refused again after a change": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).
				atHome("other", owner("another")).filter("b", toWait).filter("b", toWait).quiet(), nil,
		},

		"a Pod is refused in a loop long after much has changed": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).times(9, func(h *history) { h.pod("a") }).after(time.Minute).
				times(3, func(h *history) { h.filter("b", toWait) }).quiet(), []string{"I5"},
		},
		"a Pod is refused as often as the cluster changes": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).times(9, func(h *history) {
				h.after(time.Minute).pod("a").filter("b", toWait).filter("b", toWait)
			}).quiet(), nil,
		},
		"a Pod is refused as often as it changes itself": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).filter("b", toWait).filter("b", toWait).times(9, func(h *history) {
				h.after(time.Minute).pod("b", nominated(home)).filter("b", toWait).pod("b", nominated("")).filter("b", toWait)
			}).quiet(), nil,
		},
		"a change of its condition is none of its own": {
			newHistory().after(time.Minute).pod("b", because(unschedulable, text)).times(9, func(h *history) {
				h.pod("b", because(unschedulable, text)).filter("b", toWait)
			}), []string{"I5"},
		},
		"the scheduler tries again by itself what had no answer": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).times(9, func(h *history) {
				h.after(time.Minute).filter("b", reply{err: "no"}).filter("b", toWait)
			}).quiet(), nil,
		},
		"the scheduler tries again by itself whom it cannot evict others for": {
			newHistory().atHome("a").pod("b", because(unschedulable, text)).after(time.Minute).
				times(9, func(h *history) { h.filter("b", toWait).preempting("b") }).quiet(), nil,
		},

		// I6
		"an eviction is followed by the Pod that it was for": {
			newHistory().atHome("low", owner("low")).pod("low", preempt).pod("low", gone).atHome("vip", high).quiet(), nil,
		},
		"an eviction is followed by nothing": {
			newHistory().atHome("low", owner("low")).pod("low", preempt).pod("low", gone).quiet(), []string{"I6"},
		},
		"the Pod that somebody was evicted for goes to the cloud": {
			newHistory().pod("vip", high, nominated(home)).atHome("low", owner("low")).pod("low", preempt).pod("low", gone).
				filter("vip", reply{virtual: 1, noRoom: true}).pod("vip", on(cloud)).quiet(), []string{"I6"},
		},
		"the Pod that somebody was evicted for is deleted": {
			newHistory().atHome("low", owner("low")).pod("low", preempt).pod("vip", high, nominated(home)).pod("low", gone).pod("vip", gone).quiet(), nil,
		},

		// I7
		"the extender is asked about a Pod without a key": {newHistory().pod("a", unkeyed).filter("a", toHome), []string{"I7"}},
		"a Pod without a key waits for one answer that was in vain": {
			newHistory().pod("plain", unkeyed).pod("a").filter("a", reply{err: "no", took: time.Second}).pod("plain", on(home)), nil,
		},
		"a Pod without a key waits for many answers that were in vain": {
			newHistory().pod("plain", unkeyed).pod("a").filter("a", reply{err: "no", took: time.Second}).filter("a", reply{err: "no", took: time.Second}).
				filter("a", reply{err: "no", took: time.Second}).pod("plain", on(home)), []string{"I7"},
		},
		"a Pod without a key waits for long, and a small part of it for answers that were in vain": {
			newHistory().pod("plain", unkeyed).pod("a").filter("a", reply{err: "no", took: 1500 * time.Millisecond}).after(time.Minute).
				filter("a", reply{err: "no", took: 1500 * time.Millisecond}).pod("plain", on(home)), nil,
		},
		"a Pod without a key waits for long, and a large part of it for answers that were in vain": {
			newHistory().pod("plain", unkeyed).pod("a").filter("a", reply{err: "no", took: 1500 * time.Millisecond}).after(30*time.Second).
				filter("a", reply{err: "no", took: 1500 * time.Millisecond}).pod("plain", on(home)), []string{"I7"},
		},
		"an answer takes too long": {newHistory().pod("a").filter("a", reply{err: "no", took: 3 * time.Second}), []string{"I7"}},
		"the harness makes an answer slow": {
			newHistory().pod("a").fault("extender is slow", false).filter("a", reply{err: "no", took: 3 * time.Second}), nil,
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
