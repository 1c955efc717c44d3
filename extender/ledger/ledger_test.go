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

// virtualNodes are the names of the virtual nodes. All others are local.
type virtualNodes map[string]bool

func (v virtualNodes) IsVirtual(name string) bool { return v[name] }
func (v virtualNodes) IsLocal(name string) bool   { return !v[name] }

// cluster is what the ledger sees, and which Pods it requeues.
type cluster struct {
	*ledger.Ledger
	t        *testing.T
	store    cache.ReflectorStore
	virtual  virtualNodes
	requeued []string
	version  int
	objects  map[string]*corev1.Pod
	limits   policy.CloudLimits
	// annotations are those of every namespace.
	annotations map[string]string
	rules       *policy.Policy
}

// Use implements ledger.Billing.
func (c *cluster) Use(pod *corev1.Pod) policy.CloudUse {
	use, err := c.rules.CloudUse(pod)
	require.NoError(c.t, err)
	return use
}

// Limits implements ledger.Billing. All namespaces have the same limits.
func (c *cluster) Limits(string) policy.CloudLimits { return c.limits }

// Annotations implements ledger.Billing. All namespaces have the same annotations.
func (c *cluster) Annotations(string) map[string]string { return c.annotations }

// limit sets the limits of the namespaces, and reports the change.
func (c *cluster) limit(text string) {
	c.t.Helper()
	var err error
	c.limits, err = policy.ParseCloudLimits(text)
	require.NoError(c.t, err)
	c.PolicyChanged()
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, virtual: virtualNodes{"virtual-0": true}, objects: map[string]*corev1.Pod{}}
	var err error
	c.rules, err = policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	c.Ledger = ledger.New(
		c.virtual, c,
		func(pod ledger.PodRef) { c.requeued = append(c.requeued, pod.Name) },
	)
	c.store = c.Store(slog.New(slog.DiscardHandler))
	c.relist()
	return c
}

// relist gives the ledger a full list of the Pods that exist.
func (c *cluster) relist() {
	c.t.Helper()
	c.version++
	list := make([]any, 0, len(c.objects))
	for _, pod := range c.objects {
		list = append(list, pod)
	}
	require.NoError(c.t, c.store.Replace(list, strconv.Itoa(c.version)))
}

// pod creates or changes a Pod of one ReplicaSet.
func (c *cluster) pod(name string, change ...func(*corev1.Pod)) *corev1.Pod {
	c.t.Helper()
	c.version++
	pod, ok := c.objects[name]
	if !ok {
		isController := true
		pod = &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: name, UID: types.UID("uid-" + name),
			Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{
				{Kind: "ReplicaSet", Name: "web", UID: "web", Controller: &isController},
			},
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

// replicas are the shares of a Pod with so many local replicas.
func replicas(n int) policy.Shares {
	return policy.Shares{LocalReplicas: policy.Amount{Set: true, Value: n}}
}

// reserve asks for a slot. Nodes of both classes fit unless fits says otherwise. It confirms a slot.
func (c *cluster) reserve(name string, fits ...bool) ledger.Outcome {
	local, cloud := true, true
	if len(fits) == 2 {
		local, cloud = fits[0], fits[1]
	}
	uid := types.UID("uid-" + name)
	outcome, slot := c.Reserve(ledger.Request{UID: uid, Shares: replicas(1), LocalFits: local, CloudFits: cloud})
	c.Confirm(uid, slot.Kind)
	return outcome
}

func bound(node string) func(*corev1.Pod) { return func(p *corev1.Pod) { p.Spec.NodeName = node } }
func terminating(p *corev1.Pod)           { p.DeletionTimestamp = &metav1.Time{Time: time.Unix(1, 0)} }
func phase(ph corev1.PodPhase) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Status.Phase = ph }
}
func released(p *corev1.Pod)    { p.OwnerReferences[0].Controller = nil }
func adopted(p *corev1.Pod)     { p.OwnerReferences[0].Controller = new(true) }
func slotWritten(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = string(p.UID) }

// Which nodes fit.
var (
	onlyCloud = []bool{false, true}
	onlyLocal = []bool{true, false}
)

func TestASlot(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is given to the first Pod, and the second goes to the cloud": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"is kept by its Pod however often Reserve is called": func(c *cluster) {
			c.pod("a")
			_, slot := c.Reserve(ledger.Request{UID: "uid-a", Shares: replicas(1), LocalFits: true, CloudFits: true})
			assert.Equal(c.t, ledger.Slot{Kind: ledger.LocalSlot, Fresh: true}, slot)
			outcome, slot := c.Reserve(ledger.Request{UID: "uid-a", Shares: replicas(1), LocalFits: true})
			assert.Equal(c.t, ledger.Local, outcome)
			assert.Equal(c.t, ledger.Slot{Kind: ledger.LocalSlot}, slot)
		},
		"is held by a bound local Pod": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"is not held by a Pod in the cloud": func(c *cluster) {
			c.pod("a", bound("virtual-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is free when its Pod is terminating": func(c *cluster) {
			c.pod("a", bound("local-0"), terminating)
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is free when its Pod is released by its owner": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Wait, c.reserve("b", onlyLocal...))
			c.pod("a", released)
			assert.Equal(c.t, []string{"b"}, c.requeued)
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is held by a Pod that was adopted by the owner": func(c *cluster) {
			c.pod("a", released, bound("local-0"))
			c.pod("b")
			c.pod("a", adopted)
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"is released and adopted together with its Pod": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.pod("a", released)
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
			c.pod("a", adopted)
			c.pod("c")
			c.delete("b")
			assert.Equal(c.t, ledger.Cloud, c.reserve("c"), "the slot is that of a again")
		},
		"is free when its Pod has finished": func(c *cluster) {
			c.pod("a", bound("local-0"), phase(corev1.PodSucceeded))
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is free when its Pod is deleted": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.delete("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is counted by revision: a new ReplicaSet has its own slots": func(c *cluster) {
			c.pod("old", bound("local-0"))
			c.pod("new", func(p *corev1.Pod) { p.OwnerReferences[0].UID = "web-2" })
			assert.Equal(c.t, ledger.Local, c.reserve("new"))
		},
		"is counted by revision: the hash of a StatefulSet identifies its revisions": func(c *cluster) {
			hash := func(h string) func(*corev1.Pod) {
				return func(p *corev1.Pod) { p.Labels = map[string]string{"controller-revision-hash": h} }
			}
			c.pod("old", hash("1"), bound("local-0"))
			c.pod("new", hash("2"))
			c.pod("newer", hash("2"))
			assert.Equal(c.t, ledger.Local, c.reserve("new"))
			assert.Equal(c.t, ledger.Cloud, c.reserve("newer"))
		},
		"is not given to a Pod for which no local node fits": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Overflow, c.reserve("a", onlyCloud...))
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"reserved for a Pod that goes to the cloud is free only when the Pod is seen there": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			assert.Equal(c.t, ledger.Overflow, c.reserve("a", onlyCloud...),
				"its binding failed, and no local node fits now")
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"), "the first binding may still succeed")
			c.pod("a", bound("virtual-0"))
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"that is written on a Pod is kept after a restart": func(c *cluster) {
			c.pod("a", slotWritten)
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
		},
		"that is written for another Pod does not count: a template cannot copy slots": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b", func(p *corev1.Pod) { p.Annotations[policy.LocalSlotAnnotation] = "uid-a" })
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"that is written after another leader has given it to another Pod is revoked": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.pod("b", slotWritten)
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
			assert.Equal(c.t, ledger.Local, c.reserve("a"), "this ledger gave the slot")
			c.pod("b", func(p *corev1.Pod) { p.Labels = map[string]string{"any": "change"} })
			c.delete("a")
			assert.Equal(c.t, ledger.Local, c.reserve("b"), "a slot is free now")
			c.pod("d")
			assert.Equal(c.t, ledger.Cloud, c.reserve("d"), "the slot is given once")
		},
		"that another leader wrote within the quota is kept": func(c *cluster) {
			c.pod("a")
			c.pod("b", slotWritten)
			assert.Equal(c.t, ledger.Cloud, c.reserve("a"))
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"whose write was slow is revoked if another Pod was bound without the extender meanwhile": func(c *cluster) {
			c.pod("a")
			outcome, _ := c.Reserve(ledger.Request{UID: "uid-a", Shares: replicas(1), LocalFits: true})
			assert.Equal(c.t, ledger.Local, outcome)
			c.pod("a", slotWritten)
			c.pod("b", bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.reserve("a"))
		},
		"that is confirmed is kept even if another Pod is bound without the extender": func(c *cluster) {
			c.pod("a")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.pod("b", bound("local-0"))
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
		},
		"of an earlier term is revoked if another leader has given it to another Pod": func(c *cluster) {
			c.pod("a")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.ResetConfirmed()
			c.pod("b", slotWritten, bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.reserve("a"))
		},
		"that could not be written is free again": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.Cancel("uid-a", ledger.LocalSlot)
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is held by a Pod that may not burst even if the quota is used up": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			c.pod("d")
			c.ReserveBeyondQuota("uid-a")
			c.ReserveBeyondQuota("uid-b")
			assert.Equal(c.t, ledger.Cloud, c.reserve("d"))
		},
		"of a Pod on an unknown node counts until the node is known to be virtual": func(c *cluster) {
			c.pod("a", bound("virtual-1"))
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
			c.virtual["virtual-1"] = true
			c.Recount()
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is free when its Pod was deleted while the watch was interrupted": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			delete(c.objects, "a")
			c.relist()
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"stays reserved when the Pods are listed again": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			c.relist()
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"is not given to a Pod that is terminating or deleted": func(c *cluster) {
			c.pod("a", terminating)
			assert.Equal(c.t, ledger.Gone, c.reserve("a"))
			assert.Equal(c.t, ledger.Gone, c.reserve("never"))
		},
		"is held by a Pod without the annotation: it is a replica too": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("a", withoutQuota)
			assert.Equal(c.t, ledger.Cloud, c.reserve("b"))
		},
		"is not needed by a Pod that is bound already, which the scheduler does not know yet": func(c *cluster) {
			c.pod("a", bound("virtual-0"))
			assert.Equal(c.t, ledger.Cloud, c.reserve("a"))
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
	}
}

func TestAWaitingPod(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is requeued when the slot becomes free, first in, first out": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			assert.Equal(c.t, ledger.Wait, c.reserve("b", onlyLocal...))
			assert.Equal(c.t, ledger.Wait, c.reserve("d", onlyLocal...))
			assert.Empty(c.t, c.requeued)
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.requeued, "one slot requeues one Pod")
		},
		"is requeued after a Pod that was requeued before it is deleted": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			c.reserve("b", onlyLocal...)
			c.reserve("d", onlyLocal...)
			c.pod("a", terminating)
			c.delete("b")
			assert.Equal(c.t, []string{"b", "d"}, c.requeued)
		},
		"is requeued after a Pod that was requeued before it goes to the cloud": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.pod("d")
			c.reserve("b", onlyLocal...)
			c.reserve("d", onlyLocal...)
			c.pod("a", terminating)
			assert.Equal(c.t, ledger.Overflow, c.reserve("b", onlyCloud...))
			assert.Equal(c.t, []string{"b", "d"}, c.requeued)
		},
		"is requeued when a node becomes virtual": func(c *cluster) {
			c.pod("a", bound("virtual-1"))
			c.pod("b")
			c.reserve("b", onlyLocal...)
			c.virtual["virtual-1"] = true
			c.Recount()
			assert.Equal(c.t, []string{"b"}, c.requeued)
		},
		"is requeued once for a slot, and again by RequeueWaiting": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.reserve("b", onlyLocal...)
			c.delete("a")
			c.pod("other", func(p *corev1.Pod) { p.OwnerReferences = nil })
			assert.Equal(c.t, []string{"b"}, c.requeued)
			c.RequeueWaiting()
			assert.Equal(c.t, []string{"b", "b"}, c.requeued)
		},
		"is not requeued while the slot is taken": func(c *cluster) {
			c.pod("a", bound("local-0"))
			c.pod("b")
			c.reserve("b", onlyLocal...)
			c.RequeueWaiting()
			assert.Empty(c.t, c.requeued)
		},
		"that policy refused is requeued when policy changes": func(c *cluster) {
			c.pod("a")
			c.Park("uid-a")
			c.PolicyChanged()
			c.PolicyChanged()
			assert.Equal(c.t, []string{"a"}, c.requeued)
		},
		"is requeued by a new leader if its condition says that it was refused": func(c *cluster) {
			says := func(status corev1.ConditionStatus, message string) func(*corev1.Pod) {
				return func(p *corev1.Pod) {
					p.Status.Conditions = []corev1.PodCondition{
						{Type: corev1.PodScheduled, Status: status, Message: message},
					}
				}
			}
			const refused = "0/4 nodes are available: 1 Spillway LocalQuotaReached: this revision has its " +
				"LOCAL_REPLICAS on local nodes. no new claims to deallocate"
			c.pod("waits", says(corev1.ConditionFalse, refused))
			c.pod("no longer", says(corev1.ConditionFalse, refused))
			c.pod("no longer", says(corev1.ConditionFalse, "0/4 nodes are available: 4 Insufficient cpu."))
			c.pod("new")
			c.pod("runs", bound("local-0"), says(corev1.ConditionFalse, refused))
			c.pod("ends", terminating, says(corev1.ConditionFalse, refused))
			c.RequeueRefused()
			assert.Equal(c.t, []string{"waits"}, c.requeued)
		},
		"that policy refused is not requeued once it is bound": func(c *cluster) {
			c.pod("a")
			c.Park("uid-a")
			c.pod("a", bound("local-0"))
			c.PolicyChanged()
			assert.Empty(c.t, c.requeued)
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
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
	assert.False(t, c.HasLocalBelow(-10), "a Pod of the same priority is not preempted")
	c.pod("buffer", terminating)
	assert.False(t, c.HasLocalBelow(0), "a Pod that is terminating makes room already")
	c.pod("unknown", bound("virtual-1"), priority(-10))
	assert.True(t, c.HasLocalBelow(0))
	c.virtual["virtual-1"] = true
	c.Recount()
	assert.False(t, c.HasLocalBelow(0))
}

func TestWaitFor(t *testing.T) {
	t.Run("returns at once if the version has been seen", func(t *testing.T) {
		c := newCluster(t)
		require.NoError(t, c.WaitFor(t.Context(), c.pod("a").ResourceVersion))
	})
	t.Run("blocks until the version is seen", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 1)
		done := make(chan error)
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done)
	})
	t.Run("returns an error that says what it waited for when the context ends", func(t *testing.T) {
		c := newCluster(t)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorContains(t, c.WaitFor(ctx, "99"),
			"waiting for the watch of Pods to reach the version that the scheduler has seen")
	})
	t.Run("does not wait again for a watch that has stalled", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 2)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		require.ErrorIs(t, c.WaitFor(ctx, next), context.DeadlineExceeded)
		require.ErrorContains(t, c.WaitFor(t.Context(), next), "the watch has stalled", "it would block forever")
		done := make(chan error)
		c.pod("a")
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done, "after an event it waits again")
	})
	t.Run("waits again after the scheduler has canceled its request", func(t *testing.T) {
		c := newCluster(t)
		next := strconv.Itoa(c.version + 1)
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, c.WaitFor(canceled, next), context.Canceled)
		done := make(chan error)
		go func() { done <- c.WaitFor(t.Context(), next) }()
		c.pod("a")
		require.NoError(t, <-done)
	})
	t.Run("rejects an invalid resource version", func(t *testing.T) {
		err := newCluster(t).WaitFor(t.Context(), "x")
		require.ErrorContains(t, err, `metadata.resourceVersion: invalid value "x"`)
	})
	t.Run("does not go back if a list is older", func(t *testing.T) {
		c := newCluster(t)
		seen := c.pod("a").ResourceVersion
		require.NoError(t, c.store.Replace(nil, "1"))
		require.NoError(t, c.WaitFor(t.Context(), seen))
	})
}
