package ledger_test

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// cluster is what the ledger sees, and whom it wakes.
type cluster struct {
	*ledger.Ledger
	t       *testing.T
	store   cache.ReflectorStore
	virtual map[string]bool
	woken   []string
	version int
	objects map[string]*corev1.Pod
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, virtual: map[string]bool{"virtual-0": true}, objects: map[string]*corev1.Pod{}}
	c.Ledger = ledger.New(func(node string) bool { return c.virtual[node] }, func(pod ledger.PodRef) { c.woken = append(c.woken, pod.Name) })
	c.store = c.Store(slog.New(slog.DiscardHandler))
	c.relist()
	return c
}

// relist hands the ledger a whole list of the Pods that are.
func (c *cluster) relist() {
	c.t.Helper()
	c.version++
	list := make([]any, 0, len(c.objects))
	for _, pod := range c.objects {
		list = append(list, pod)
	}
	require.NoError(c.t, c.store.Replace(list, strconv.Itoa(c.version)))
}

// pod makes or changes a Pod of one ReplicaSet.
func (c *cluster) pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	c.t.Helper()
	c.version++
	pod, ok := c.objects[name]
	if !ok {
		isController := true
		pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name),
			Annotations:     map[string]string{policy.LocalReplicasAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web", UID: "web", Controller: &isController}},
		}}
	}
	pod = pod.DeepCopy()
	for _, apply := range change {
		apply(pod)
	}
	pod.ResourceVersion = strconv.Itoa(c.version)
	c.objects[name] = pod
	require.NoError(c.t, c.store.Update(pod))
	return pod
}

func (c *cluster) delete(name string) {
	c.t.Helper()
	c.version++
	pod := c.objects[name].DeepCopy()
	pod.ResourceVersion = strconv.Itoa(c.version)
	delete(c.objects, name)
	require.NoError(c.t, c.store.Delete(pod))
}

// ask asks with room everywhere unless said otherwise, and tells the scheduler.
func (c *cluster) ask(name string, fits ...bool) ledger.Answer {
	local, cloud := true, true
	if len(fits) == 2 {
		local, cloud = fits[0], fits[1]
	}
	uid := types.UID("uid-" + name)
	answer, _ := c.Ask(ledger.Request{UID: uid, Quota: 1, LocalFits: local, CloudFits: cloud})
	if answer == ledger.Local {
		c.Tell(uid)
	}
	return answer
}

func bound(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func terminating(p *corev1.Pod)           { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
func phase(ph corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = ph }
}
func released(p *corev1.Pod)    { p.OwnerReferences[0].Controller = nil }
func adopted(p *corev1.Pod)     { p.OwnerReferences[0].Controller = new(true) }
func slotWritten(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) }

// only is a node list in which nothing fits but the cloud, and home.
var (
	onlyCloud = []bool{false, true}
	onlyLocal = []bool{true, false}
)

func TestASlot(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is given to the first Pod, and the second goes to the cloud": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
		},
		"stays with its Pod however often it asks": func(c *cluster) {
			c.pod("a")
			_, fresh := c.Ask(ledger.Request{UID: "uid-a", Quota: 1, LocalFits: true, CloudFits: true})
			assert.True(c.t, fresh)
			answer, fresh := c.Ask(ledger.Request{UID: "uid-a", Quota: 1, LocalFits: true})
			assert.Equal(c.t, ledger.Local, answer)
			assert.False(c.t, fresh)
		},
		"is held by a bound local Pod": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
		},
		"is not held by a Pod in the cloud": func(c *cluster) {
			c.pod("a", bound("virtual-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is free when its Pod terminates": func(c *cluster) {
			c.pod("a", bound("local-0"), terminating)
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is free when its Pod is taken from its owner": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Wait, c.ask("b", onlyLocal...))
			c.pod("a", released)
			assert.Equal(c.t, []string{"b"}, c.woken)
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is held by a Pod that was given to the owner": func(c *cluster) {
			c.pod("a", released, bound("local-0"))
			c.pod("b")
			c.pod("a", adopted)
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
		},
		"goes with the Pod that it is promised to": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.pod("a", released)
			assert.Equal(c.t, ledger.Local, c.ask("b"))
			c.pod("a", adopted)
			c.pod("c")
			c.delete("b")
			assert.Equal(c.t, ledger.Cloud, c.ask("c"), "it is a's again")
		},
		"is free when its Pod has finished": func(c *cluster) {
			c.pod("a", bound("local-0"), phase(corev1.PodSucceeded))
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is free when its Pod is deleted": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.delete("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is counted by revision: a new ReplicaSet has slots of its own": func(c *cluster) {
			c.pod("old", bound("local-0"))
			c.pod("new", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "web-2" })
			assert.Equal(c.t, ledger.Local, c.ask("new"))
		},
		"is counted by revision: a StatefulSet's hash tells them apart": func(c *cluster) {
			hash := func(h string) func(*corev1.Pod) {
				return func(p *corev1.Pod) { p.Labels = map[string]string{"controller-revision-hash": h} }
			}
			c.pod("old", hash("1"), bound("local-0"))
			c.pod("new", hash("2"))
			c.pod("newer", hash("2"))
			assert.Equal(c.t, ledger.Local, c.ask("new"))
			assert.Equal(c.t, ledger.Cloud, c.ask("newer"))
		},
		"is not taken by a Pod for which no local node fits": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Overflow, c.ask("a", onlyCloud...))
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"promised to a Pod that then goes to the cloud is free only when it is seen there": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			assert.Equal(c.t, ledger.Overflow, c.ask("a", onlyCloud...), "its binding failed, and home is full now")
			assert.Equal(c.t, ledger.Cloud, c.ask("b"), "the first binding may still land")
			c.pod("a", bound("virtual-0"))
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"written on a Pod is its own after a restart": func(c *cluster) {
			c.pod("a", slotWritten)
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
			assert.Equal(c.t, ledger.Local, c.ask("a"))
		},
		"written for another Pod means nothing: a template cannot bring slots along": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b", func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = "uid-a" })
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
		},
		"written too late, when another leader had given it away, is not its Pod's": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.pod("b", slotWritten)
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
			assert.Equal(c.t, ledger.Local, c.ask("a"), "it was given here")
			c.pod("b", func(p *corev1.Pod) { p.Labels = map[string]string{"any": "change"} })
			c.delete("a")
			assert.Equal(c.t, ledger.Local, c.ask("b"), "a slot is free now, and is given as to any other")
			c.pod("d")
			assert.Equal(c.t, ledger.Cloud, c.ask("d"), "once")
		},
		"written by another leader within the quota is its Pod's": func(c *cluster) {
			c.pod("a")
			c.pod("b", slotWritten)
			assert.Equal(c.t, ledger.Cloud, c.ask("a"))
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"that took long to write is taken back where another Pod came past the extender meanwhile": func(c *cluster) {
			c.pod("a")
			answer, _ := c.Ask(ledger.Request{UID: "uid-a", Quota: 1, LocalFits: true})
			assert.Equal(c.t, ledger.Local, answer)
			c.pod("a", slotWritten)
			c.pod("b", bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.ask("a"))
		},
		"that the scheduler was told of stays with its Pod whoever comes past the extender": func(c *cluster) {
			c.pod("a")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.pod("b", bound("local-0"))
			assert.Equal(c.t, ledger.Local, c.ask("a"))
		},
		"given in an earlier term, and again by another leader, is the other's": func(c *cluster) {
			c.pod("a")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.Disown()
			c.pod("b", slotWritten, bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.ask("a"))
		},
		"that could not be written is free again": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.Cancel("uid-a")
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is held by a Pod that may not burst, whatever the quota": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			c.pod("d")
			c.Hold("uid-a")
			c.Hold("uid-b")
			assert.Equal(c.t, ledger.Cloud, c.ask("d"))
		},
		"on an unknown node counts as local until the node is known to be virtual": func(c *cluster) {
			c.pod("a", bound("virtual-1"))
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
			c.virtual["virtual-1"] = true
			c.Recount()
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"is free when its Pod was deleted while the watch was cut": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			delete(c.objects, "a")
			c.relist()
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"stays promised over a relist": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.ask("a"))
			c.relist()
			assert.Equal(c.t, ledger.Cloud, c.ask("b"))
		},
		"is not given to a Pod that is gone": func(c *cluster) {
			c.pod("a", terminating)
			assert.Equal(c.t, ledger.Gone, c.ask("a"))
			assert.Equal(c.t, ledger.Gone, c.ask("never"))
		},
		"is free when its Pod loses the annotation": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("a", func(p *corev1.Pod) { delete(p.Annotations, policy.LocalReplicasAnnotation) })
			assert.Equal(c.t, ledger.Local, c.ask("b"))
		},
		"of a Pod that the scheduler does not know to be bound is where it is bound": func(c *cluster) {
			c.pod("a", bound("virtual-0"))
			assert.Equal(c.t, ledger.Cloud, c.ask("a"))
		},
	}
	for name, story := range cases {
		t.Run(name, func(t *testing.T) { story(newCluster(t)) })
	}
}

func TestAWaitingPod(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is woken when the slot frees, first come first": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			assert.Equal(c.t, ledger.Wait, c.ask("b", onlyLocal...))
			assert.Equal(c.t, ledger.Wait, c.ask("d", onlyLocal...))
			assert.Empty(c.t, c.woken)
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.woken, "one slot wakes one Pod")
		},
		"is woken in place of one that was woken and is deleted": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			c.ask("b", onlyLocal...)
			c.ask("d", onlyLocal...)
			c.pod("a", terminating)
			c.delete("b")
			assert.Equal(c.t, []string{"b", "d"}, c.woken)
		},
		"is woken when one that was woken goes to the cloud after all": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			c.ask("b", onlyLocal...)
			c.ask("d", onlyLocal...)
			c.pod("a", terminating)
			assert.Equal(c.t, ledger.Overflow, c.ask("b", onlyCloud...))
			assert.Equal(c.t, []string{"b", "d"}, c.woken)
		},
		"is woken when a node turns out to be virtual": func(c *cluster) {
			c.pod("a", bound("virtual-1"))
			c.pod("b")
			c.ask("b", onlyLocal...)
			c.virtual["virtual-1"] = true
			c.Recount()
			assert.Equal(c.t, []string{"b"}, c.woken)
		},
		"is woken once for a slot, and again by the net": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.ask("b", onlyLocal...)
			c.delete("a")
			c.pod("other", func(p *corev1.Pod) { p.OwnerReferences = nil })
			assert.Equal(c.t, []string{"b"}, c.woken)
			c.WakeWaiting()
			assert.Equal(c.t, []string{"b", "b"}, c.woken)
		},
		"is not woken while the slot is taken": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.ask("b", onlyLocal...)
			c.WakeWaiting()
			assert.Empty(c.t, c.woken)
		},
		"that was refused by policy is woken when policy changes": func(c *cluster) {
			c.pod("a")
			c.Park("uid-a")
			c.WakeParked()
			c.WakeParked()
			assert.Equal(c.t, []string{"a"}, c.woken)
		},
		"is woken by a new leader that finds the refusal in its condition, and nobody else is": func(c *cluster) {
			says := func(status corev1.ConditionStatus, message string) func(*corev1.Pod) {
				return func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: status, Message: message}}
				}
			}
			const refused = "0/4 nodes are available: 1 Spillway LocalQuotaReached: this revision has its LOCAL_REPLICAS at home. no new claims to deallocate"
			c.pod("waits", says(corev1.ConditionFalse, refused))
			c.pod("no longer", says(corev1.ConditionFalse, refused))
			c.pod("no longer", says(corev1.ConditionFalse, "0/4 nodes are available: 4 Insufficient cpu."))
			c.pod("new")
			c.pod("runs", bound("local-0"), says(corev1.ConditionFalse, refused))
			c.pod("ends", terminating, says(corev1.ConditionFalse, refused))
			c.WakeRefused()
			assert.Equal(c.t, []string{"waits"}, c.woken)
		},
		"that was refused by policy and is bound is not woken": func(c *cluster) {
			c.pod("a")
			c.Park("uid-a")
			c.pod("a", bound("local-0"))
			c.WakeParked()
			assert.Empty(c.t, c.woken)
		},
	}
	for name, story := range cases {
		t.Run(name, func(t *testing.T) { story(newCluster(t)) })
	}
}

func TestLoadCountsActivePodsOfANode(t *testing.T) {
	c := newCluster(t)
	c.pod("a", bound("virtual-0"))
	c.pod("b", bound("virtual-0"))
	assert.Equal(t, 2, c.Load("virtual-0"))
	c.pod("b", phase(corev1.PodFailed))
	assert.Equal(t, 1, c.Load("virtual-0"))
	c.delete("b")
	c.delete("a")
	assert.Equal(t, 0, c.Load("virtual-0"))
}

func TestHasLocalBelow(t *testing.T) {
	priority := func(value int32) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.Priority = &value } }
	c := newCluster(t)
	c.pod("cloud", bound("virtual-0"), priority(-100))
	c.pod("unbound", priority(-100))
	c.pod("buffer", bound("local-0"), priority(-10))
	assert.True(t, c.HasLocalBelow(0))
	assert.False(t, c.HasLocalBelow(-10), "an equal priority gives way to nobody")
	c.pod("buffer", terminating)
	assert.False(t, c.HasLocalBelow(0), "a Pod that terminates makes room already")
	c.pod("stranger", bound("virtual-1"), priority(-10))
	assert.True(t, c.HasLocalBelow(0))
	c.virtual["virtual-1"] = true
	c.Recount()
	assert.False(t, c.HasLocalBelow(0))
}

func TestWaitFor(t *testing.T) {
	t.Run("returns at once what has been seen", func(t *testing.T) {
		c := newCluster(t)
		require.NoError(t, c.WaitFor(t.Context(), c.pod("a").ResourceVersion))
	})
	t.Run("blocks until it is seen", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 1)
		done := make(chan error)
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done)
	})
	t.Run("ends with the context, and says what it waited for", func(t *testing.T) {
		c := newCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorContains(t, c.WaitFor(ctx, "99"), "waiting to see in the watch of Pods what the scheduler has seen")
	})
	t.Run("does not wait again for a watch that stands still", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.WaitFor(ctx, next), context.DeadlineExceeded)
		require.ErrorContains(t, c.WaitFor(t.Context(), next), "it stands still", "it would block for ever")
		done := make(chan error)
		c.pod("a")
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done, "after an event it waits as ever")
	})
	t.Run("waits again after a scheduler that has given up", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 1)
		gone, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.WaitFor(gone, next), context.Canceled)
		done := make(chan error)
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done)
	})
	t.Run("refuses what is no resource version", func(t *testing.T) {
		err := newCluster(t).WaitFor(t.Context(), "x")
		require.ErrorContains(t, err, `metadata.resourceVersion: invalid value "x"`)
	})
	t.Run("does not go back with an older list", func(t *testing.T) {
		c := newCluster(t)
		seen := c.pod("a").ResourceVersion
		require.NoError(t, c.store.Replace(nil, "1"))
		require.NoError(t, c.WaitFor(t.Context(), seen))
	})
}
