package ledger_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// ask asks for a slot for a Pod with shares for which only virtual nodes fit. until is when it may burst, zero if it
// may now. It confirms a slot.
func (c *cluster) ask(name string, shares policy.Shares, until time.Time) ledger.Outcome {
	uid := types.UID("uid-" + name)
	outcome, slot := c.Reserve(ledger.Request{UID: uid, Shares: shares, CloudFits: true, WaitUntil: until})
	c.Confirm(uid, slot.Kind)
	return outcome
}

func number(n int) policy.Amount  { return policy.Amount{Set: true, Value: n} }
func percent(n int) policy.Amount { return policy.Amount{Set: true, Value: n, Percent: true} }

var (
	now  = time.Time{}
	late = time.Date(2026, 11, 30, 20, 1, 30, 0, time.UTC)
)

func TestPodsThatWaitForRoom(t *testing.T) {
	floor := policy.Shares{LocalMin: number(2)}
	cases := map[string]func(c *cluster){
		"are as many as the minimum": func(c *cluster) {
			for _, name := range []string{"a", "b", "d", "e"} {
				c.pod(name)
			}
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", floor, now))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("b", floor, now))
			assert.Equal(c.t, ledger.Overflow, c.ask("d", floor, now))
			assert.Equal(c.t, ledger.Overflow, c.ask("e", floor, now))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", floor, now), "also when they are tried again")
			assert.Empty(c.t, c.requeued)
		},
		"are fewer when others are on local nodes": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("b", floor, now))
			assert.Equal(c.t, ledger.Overflow, c.ask("d", floor, now))
		},
		"do not keep others from local slots": func(c *cluster) {
			shares := policy.Shares{LocalReplicas: number(2), LocalMin: number(2)}
			for _, name := range []string{"a", "b", "d"} {
				c.pod(name)
			}
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", shares, now))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("b", shares, now))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", shares, now), "it has waited the longest all the same")
			outcome, _ := c.Reserve(ledger.Request{UID: "uid-d", Shares: shares, LocalFits: true, CloudFits: true})
			assert.Equal(c.t, ledger.Local, outcome)
			assert.Equal(c.t, []string{"a"}, c.requeued, "one of them need not wait any more")
			assert.Equal(c.t, ledger.Overflow, c.ask("a", shares, now))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("b", shares, now))
		},
		"wait less when the revision has fewer replicas": func(c *cluster) {
			half := policy.Shares{LocalMin: percent(50)}
			for _, name := range []string{"a", "b", "d", "e"} {
				c.pod(name)
			}
			for _, name := range []string{"a", "b"} {
				assert.Equal(c.t, ledger.LocalMinimum, c.ask(name, half, now))
			}
			c.delete("e")
			assert.Empty(c.t, c.requeued, "half of three is two")
			c.delete("d")
			assert.Equal(c.t, []string{"a"}, c.requeued)
		},
		"make room for each other when one ends": func(c *cluster) {
			for _, name := range []string{"a", "b", "d"} {
				c.pod(name)
			}
			c.ask("a", floor, now)
			c.ask("b", floor, now)
			c.delete("a")
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("d", floor, now))
			assert.Empty(c.t, c.requeued)
		},
		"may burst later, up to the quota": func(c *cluster) {
			shares := policy.Shares{LocalReplicas: number(2), LocalMin: number(1)}
			for _, name := range []string{"a", "b", "d"} {
				c.pod(name)
			}
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", shares, late))
			assert.Equal(c.t, ledger.BurstAfter, c.ask("b", shares, late))
			assert.Equal(c.t, ledger.Overflow, c.ask("d", shares, late), "it would be over the quota")
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", shares, late), "b must not make a burst")
			assert.Equal(c.t, ledger.Overflow, c.ask("b", shares, now))
		},
		"are requeued when they may burst, once": func(c *cluster) {
			shares := policy.Shares{LocalReplicas: number(2)}
			c.pod("a")
			assert.Equal(c.t, ledger.BurstAfter, c.ask("a", shares, late))
			c.RequeueDue(late.Add(-time.Second))
			assert.Empty(c.t, c.requeued)
			c.RequeueDue(late)
			c.RequeueDue(late)
			assert.Equal(c.t, []string{"a"}, c.requeued)
			c.RequeueWaiting()
			assert.Equal(c.t, []string{"a", "a"}, c.requeued, "the first may have been lost")
		},
		"are not requeued after they are gone": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			c.ask("a", policy.Shares{LocalReplicas: number(2)}, late)
			c.ParkUntil("uid-b", late)
			c.delete("a")
			c.pod("b", bound("local-0"))
			c.RequeueDue(late)
			assert.Empty(c.t, c.requeued)
		},
		"without shares are requeued when they may burst, or when policy changes": func(c *cluster) {
			c.pod("a")
			c.ParkUntil("uid-a", late)
			c.PolicyChanged()
			assert.Equal(c.t, []string{"a"}, c.requeued)
			c.RequeueDue(late)
			assert.Equal(c.t, []string{"a", "a"}, c.requeued)
		},
		"are requeued when their namespace changes": func(c *cluster) {
			c.annotations = map[string]string{policy.LocalMinAnnotation: "2"}
			c.pod("a")
			c.ask("a", floor, now)
			c.PolicyChanged()
			assert.Empty(c.t, c.requeued)
			c.annotations = map[string]string{policy.LocalMinAnnotation: "0"}
			c.PolicyChanged()
			assert.Equal(c.t, []string{"a"}, c.requeued)
		},
		"keep a slot that they have, and count once": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("a", floor, now), "its binding failed")
			assert.Equal(c.t, ledger.LocalMinimum, c.ask("b", floor, now))
			assert.Empty(c.t, c.requeued)
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
	}
}

func TestTheCloudShare(t *testing.T) {
	one := policy.Shares{CloudMax: number(1)}
	cases := map[string]func(c *cluster){
		"is recorded on the Pod also without limits": func(c *cluster) {
			c.pod("a")
			_, slot := c.Reserve(ledger.Request{UID: "uid-a", Shares: one, CloudFits: true})
			assert.Equal(c.t, ledger.CloudSlot, slot.Kind)
			assert.True(c.t, slot.Fresh)
		},
		"counts Pods without shares, and slots": func(c *cluster) {
			c.pod("a", withoutQuota)
			c.ChargeCloud("uid-a")
			c.pod("b")
			assert.Equal(c.t, ledger.CloudMaximum, c.ask("b", one, now))
			c.pod("a", bound("virtual-0"))
			assert.Equal(c.t, ledger.CloudMaximum, c.ask("b", one, now))
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.requeued)
			assert.Equal(c.t, ledger.Overflow, c.ask("b", one, now))
		},
		"of a slot that was written after another leader has given the last one is revoked": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Overflow, c.ask("a", one, now))
			c.pod("b", cloudSlot("0.50_1.0"))
			assert.Equal(c.t, ledger.CloudMaximum, c.ask("b", one, now))
			assert.Equal(c.t, ledger.Overflow, c.ask("a", one, now))
		},
		"grows with the replicas": func(c *cluster) {
			half := policy.Shares{CloudMax: percent(50)}
			c.pod("a", bound("virtual-0"))
			c.pod("b")
			c.pod("d")
			assert.Equal(c.t, ledger.CloudMaximum, c.ask("b", half, now))
			c.pod("e")
			assert.Equal(c.t, []string{"b"}, c.requeued)
			assert.Equal(c.t, ledger.Overflow, c.ask("b", half, now))
		},
		"and a local slot requeue a Pod once": func(c *cluster) {
			both := policy.Shares{LocalReplicas: number(1), CloudMax: number(1)}
			c.pod("a", bound("local-0"))
			c.pod("b", bound("virtual-0"))
			c.pod("d")
			assert.Equal(c.t, ledger.CloudMaximum, c.ask("d", both, now))
			c.delete("a")
			c.delete("b")
			assert.Equal(c.t, []string{"d"}, c.requeued)
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
	}
}

func TestRunDeadlinesRequeuesAtEachDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		requeued := make(chan string, 9)
		l := ledger.New(c.virtual, c, func(pod ledger.PodRef) { requeued <- pod.Name })
		store := l.Store(slog.New(slog.DiscardHandler))
		for _, name := range []string{"late", "early"} {
			require.NoError(t, store.Update(c.pod(name)))
		}
		begun := time.Now()
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			l.RunDeadlines(ctx, time.Now)
		}()
		l.ParkUntil("uid-late", begun.Add(time.Hour))
		synctest.Wait()
		l.ParkUntil("uid-early", begun.Add(time.Second))
		assert.Equal(t, "early", <-requeued)
		assert.Equal(t, time.Second, time.Since(begun))
		assert.Equal(t, "late", <-requeued)
		assert.Equal(t, time.Hour, time.Since(begun))
		l.ParkUntil("uid-early", begun)
		assert.Equal(t, "early", <-requeued, "a deadline that has come already")
		stop()
		<-ended
		assert.Empty(t, requeued)
	})
}

func TestSharesInTheNumbersOfAWorkload(t *testing.T) {
	for name, test := range map[string]struct {
		annotations, namespace map[string]string
		want                   ledger.LocalStats
	}{
		"a percentage": {
			map[string]string{policy.LocalReplicasAnnotation: "50%"}, nil,
			ledger.LocalStats{Wanted: 2, Used: 1, Missing: 1, Quota: true},
		},
		"a minimum": {
			map[string]string{policy.LocalMinAnnotation: "3"}, nil,
			ledger.LocalStats{Wanted: 3, Used: 1, Missing: 2, Quota: true},
		},
		"that of the namespace": {
			nil, map[string]string{policy.LocalMaxAnnotation: "2"},
			ledger.LocalStats{Wanted: 2, Used: 1, Missing: 1, Quota: true},
		},
		"a cloud maximum only": {map[string]string{policy.CloudMaxAnnotation: "2"}, nil, ledger.LocalStats{}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.annotations = test.namespace
			share := func(p *corev1.Pod) { p.Annotations = test.annotations }
			c.pod("a", share, bound("local-0"))
			for _, name := range []string{"b", "d"} {
				c.pod(name, share, bound("virtual-0"))
			}
			require.Len(t, c.Stats().Workloads, 1)
			assert.Equal(t, 1, c.Stats().Revisions)
			c.delete("d")
			c.pod("e", share)
			c.pod("f", share)
			assert.Equal(t, test.want, c.Stats().Workloads[0].Local)
		})
	}
}
