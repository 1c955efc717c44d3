package ledger_test

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/policy/sizes"
)

// cloud asks for a cloud slot for a Pod without a quota for which no local node fits. It confirms the slot.
func (c *cluster) cloud(name string) ledger.Outcome {
	outcome, slot := c.Reserve(ledger.Request{UID: types.UID("uid-" + name), CloudFits: true})
	c.Confirm(types.UID("uid-"+name), slot.Kind)
	return outcome
}

// sized requests a size by annotation.
func sized(size string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[policy.FlavorAnnotation] = size }
}

// cloudSlot writes a slot to the Pod, as an extender does.
func cloudSlot(size string) func(*corev1.Pod) {
	return func(p *corev1.Pod) { p.Annotations[policy.CloudSlotAnnotation] = string(p.UID) + "/" + size }
}

// used returns what the Pods of the namespace use.
func (c *cluster) used() policy.CloudUse {
	c.t.Helper()
	accounts := c.Stats().Accounts
	require.Len(c.t, accounts, 1)
	return accounts[0].Used
}

func TestACloudSlot(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is given while the limits allow it": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"), "a Pod keeps its slot however often Reserve is called")
		},
		"says what must be recorded": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", sized("2.00_4.0"))
			_, slot := c.Reserve(ledger.Request{UID: "uid-a", CloudFits: true})
			use := policy.CloudUse{Pods: 1, Flavor: sizes.Flavor{MilliCPU: 2000, MilliGiB: 4000}}
			assert.Equal(c.t, ledger.Slot{Kind: ledger.CloudSlot, Use: use, Fresh: true}, slot)
			_, slot = c.Reserve(ledger.Request{UID: "uid-a", CloudFits: true})
			assert.Equal(c.t, ledger.Slot{Kind: ledger.CloudSlot, Use: use}, slot)
		},
		"counts the billed size, that of a Pod without requests too": func(c *cluster) {
			c.limit("cpu=1")
			for _, name := range []string{"a", "b", "d"} {
				c.pod(name)
			}
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
			assert.Equal(c.t, ledger.Limited, c.cloud("d"), "two of the default size use 1 vCPU")
		},
		"need not be recorded without limits, but counts when limits are set": func(c *cluster) {
			c.pod("a")
			c.pod("b")
			c.pod("d", bound("virtual-0"))
			_, slot := c.Reserve(ledger.Request{UID: "uid-a", CloudFits: true})
			assert.Equal(c.t, ledger.Slot{}, slot)
			c.ChargeCloud("uid-b")
			c.limit("pods=9")
			assert.EqualValues(c.t, 3, c.used().Pods)
			_, slot = c.Reserve(ledger.Request{UID: "uid-a", CloudFits: true})
			assert.Equal(c.t, ledger.CloudSlot, slot.Kind, "now it must be recorded")
		},
		"given without limits is kept when limits are set that are too low": func(c *cluster) {
			c.pod("a")
			c.ChargeCloud("uid-a")
			c.limit("pods=0")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"), "the Pod may be bound already")
		},
		"is held by a Pod in the cloud": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
		},
		"is not held by a Pod on a local node": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("a", bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is held by a Pod in the cloud while it terminates: its user chooses for how long": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"), terminating)
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			c.pod("a", phase(corev1.PodFailed))
			assert.Equal(c.t, []string{"b"}, c.requeued)
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is free when a Pod that terminates in the cloud is deleted": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"), terminating)
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			c.delete("a")
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is free when its Pod is terminating before it is bound, finished or deleted": func(c *cluster) {
			c.limit("pods=1")
			for i, end := range []func(name string){
				func(name string) { c.pod(name, terminating) },
				func(name string) { c.pod(name, phase(corev1.PodFailed)) },
				func(name string) { c.delete(name) },
			} {
				name := string(rune('a' + i))
				c.pod(name)
				assert.Equal(c.t, ledger.Cloud, c.cloud(name))
				end(name)
			}
		},
		"is kept by a Pod that finds a local node, until it is seen there": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
			assert.Equal(c.t, ledger.Limited, c.cloud("b"), "the binding to the virtual node may still succeed")
			c.pod("a", bound("local-0"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is counted by namespace": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			c.pod("b", func(p *corev1.Pod) { p.Namespace = "other" })
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"that is written on a Pod is kept after a restart": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", cloudSlot("0.50_1.0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
		},
		"of another Pod does not count: a template cannot copy slots": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", func(p *corev1.Pod) { p.Annotations[policy.CloudSlotAnnotation] = "uid-x/0.50_1.0" })
			assert.Zero(c.t, c.used().Pods)
		},
		"that was written after another leader has given the last one is revoked": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("b", cloudSlot("0.50_1.0"))
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("b", func(p *corev1.Pod) { p.Labels = map[string]string{"any": "change"} })
			assert.EqualValues(c.t, 1, c.used().Pods)
			c.delete("a")
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"of an earlier term is revoked if another leader has given it to another Pod": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.ResetConfirmed()
			c.pod("b", cloudSlot("0.50_1.0"), bound("virtual-0"))
			assert.Equal(c.t, ledger.Limited, c.cloud("a"))
		},
		"that is reported is kept even if another Pod is bound without the extender": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("b", bound("virtual-0"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
		},
		"that could not be written is free again": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			c.pod("b")
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.Cancel("uid-a", ledger.CloudSlot)
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is not given to a Pod with a quota that finds a local node": func(c *cluster) {
			c.limit("pods=0")
			c.pod("a")
			assert.Equal(c.t, ledger.Local, c.reserve("a"))
		},
		"is needed by a Pod over its quota": func(c *cluster) {
			c.limit("pods=0")
			c.pod("a", bound("local-0"))
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.reserve("b"))
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.requeued, "it waits for its quota too")
			assert.Equal(c.t, ledger.Local, c.reserve("b"))
		},
		"is not given to a Pod that tries preemption first": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a")
			request := ledger.Request{UID: "uid-a", Shares: replicas(1), CloudFits: true, PreemptFirst: true}
			outcome, _ := c.Reserve(request)
			assert.Equal(c.t, ledger.Preempt, outcome)
			assert.Zero(c.t, c.used().Pods)
		},
		"keeps its size when the size of the Pod is lowered later": func(c *cluster) {
			c.limit("cpu=2")
			c.pod("a", sized("2.00_4.0"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("a", sized("0.25_0.5"))
			assert.EqualValues(c.t, 2000, c.used().MilliCPU, "before the slot is seen")
			c.pod("a", cloudSlot("2.00_4.0"), bound("virtual-0"))
			assert.EqualValues(c.t, 2000, c.used().MilliCPU, "the cloud bills this size as long as the Pod runs")
		},
		"grows with its Pod only within the limits": func(c *cluster) {
			c.limit("cpu=2")
			c.pod("a", sized("0.25_0.5"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
			c.pod("a", cloudSlot("0.25_0.5"), sized("2.00_4.0"))
			outcome, slot := c.Reserve(ledger.Request{UID: "uid-a", CloudFits: true})
			assert.Equal(c.t, ledger.Cloud, outcome)
			assert.EqualValues(c.t, 2000, slot.Use.MilliCPU)
			c.pod("a", sized("4.00_8.0"))
			assert.Equal(c.t, ledger.Limited, c.cloud("a"))
			assert.EqualValues(c.t, 4000, c.used().MilliCPU, "it counts: an earlier answer may still be acted on")
			c.limit("cpu=4")
			assert.Equal(c.t, []string{"a"}, c.requeued)
			assert.Equal(c.t, ledger.Cloud, c.cloud("a"))
		},
		"of a Pod on an unknown node counts once the node is known to be virtual": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-1"))
			assert.Zero(c.t, c.used().Pods)
			c.virtual["virtual-1"] = true
			c.Recount()
			assert.EqualValues(c.t, 1, c.used().Pods)
		},
		"is free when its Pod was deleted while the watch was interrupted": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			c.pod("b")
			delete(c.objects, "a")
			c.relist()
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is not given to a Pod that is gone": func(c *cluster) {
			c.limit("pods=1")
			assert.Equal(c.t, ledger.Gone, c.cloud("never"))
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
	}
}

func TestAPodThatWaitsForACloudSlot(t *testing.T) {
	cases := map[string]func(c *cluster){
		"is requeued when there is room, first in, first out": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			for _, name := range []string{"b", "d"} {
				c.pod(name)
				assert.Equal(c.t, ledger.Limited, c.cloud(name))
			}
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.requeued)
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
			c.delete("b")
			assert.Equal(c.t, []string{"b", "d"}, c.requeued)
		},
		"is requeued when the limits are raised, as many as fit": func(c *cluster) {
			c.limit("pods=0")
			for _, name := range []string{"a", "b", "d"} {
				c.pod(name)
				c.cloud(name)
			}
			c.limit("pods=2")
			assert.Equal(c.t, []string{"a", "b"}, c.requeued)
			c.limit("")
			assert.Equal(c.t, []string{"a", "b", "d"}, c.requeued)
		},
		"keeps its position when the scheduler retries it": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			for _, name := range []string{"b", "d", "b", "b"} {
				c.pod(name)
				c.cloud(name)
			}
			c.delete("a")
			assert.Equal(c.t, []string{"b"}, c.requeued)
		},
		"does not wait behind one that is too large": func(c *cluster) {
			c.limit("cpu=2")
			c.pod("a", sized("2.00_4.0"), bound("virtual-0"))
			c.pod("huge", sized("4.00_8.0"))
			c.pod("large", sized("2.00_4.0"))
			c.pod("small", sized("0.25_0.5"))
			for _, name := range []string{"huge", "large", "small"} {
				assert.Equal(c.t, ledger.Limited, c.cloud(name))
			}
			c.delete("a")
			assert.Equal(c.t, []string{"large"}, c.requeued, "small comes after large")
			c.pod("other", sized("1.00_2.0"))
			assert.Equal(c.t, ledger.Cloud, c.cloud("other"))
			assert.Equal(c.t, []string{"large", "small"}, c.requeued, "large does not fit any more")
		},
		"is requeued when one that was requeued before it is deleted, or goes to a local node": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			for _, name := range []string{"b", "d", "e"} {
				c.pod(name)
				c.cloud(name)
			}
			c.delete("a")
			c.delete("b")
			assert.Equal(c.t, []string{"b", "d"}, c.requeued)
			c.pod("d", bound("local-0"))
			assert.Equal(c.t, []string{"b", "d", "e"}, c.requeued)
		},
		"is requeued when policy refuses one that was requeued before it": func(c *cluster) {
			c.limit("pods=1")
			c.pod("a", bound("virtual-0"))
			for _, name := range []string{"b", "d"} {
				c.pod(name)
				c.cloud(name)
			}
			c.delete("a")
			c.Park("uid-b")
			assert.Equal(c.t, []string{"b", "d"}, c.requeued)
		},
		"stays in the queue when its local quota is removed": func(c *cluster) {
			c.limit("pods=0")
			c.pod("b", bound("local-0"))
			c.pod("a")
			assert.Equal(c.t, ledger.Limited, c.reserve("a"))
			c.pod("a", func(p *corev1.Pod) { delete(p.Annotations, policy.LocalReplicasAnnotation) })
			c.limit("pods=1")
			assert.Equal(c.t, []string{"a"}, c.requeued)
		},
		"is requeued when it becomes small enough": func(c *cluster) {
			c.limit("cpu=1")
			c.pod("a", sized("2.00_4.0"))
			assert.Equal(c.t, ledger.Limited, c.cloud("a"))
			c.pod("a", sized("1.00_2.0"))
			assert.Equal(c.t, []string{"a"}, c.requeued)
		},
		"is not needed by a Pod that was bound before there were limits, and counts in its size": func(c *cluster) {
			c.pod("a", bound("virtual-0"), sized("2.00_4.0"))
			c.limit("cpu=2")
			c.pod("a", bound("virtual-0"), sized("0.25_0.5"))
			assert.EqualValues(c.t, 2000, c.used().MilliCPU, "the cloud bills what it bills")
			c.pod("b")
			assert.Equal(c.t, ledger.Limited, c.cloud("b"))
			c.pod("a", bound("virtual-0"), sized("4.00_8.0"))
			assert.EqualValues(c.t, 4000, c.used().MilliCPU)
			c.delete("a")
			assert.Equal(c.t, ledger.Cloud, c.cloud("b"))
		},
		"is requeued once for a slot, and again by RequeueWaiting": func(c *cluster) {
			c.limit("pods=0")
			c.pod("a")
			c.cloud("a")
			c.limit("pods=1")
			c.pod("b", bound("local-0"))
			assert.Equal(c.t, []string{"a"}, c.requeued)
			c.RequeueWaiting()
			assert.Equal(c.t, []string{"a", "a"}, c.requeued)
		},
		"does not wait if a local node fits": func(c *cluster) {
			c.limit("pods=0")
			c.pod("a")
			outcome, _ := c.Reserve(ledger.Request{UID: "uid-a", LocalFits: true, CloudFits: true})
			assert.Equal(c.t, ledger.Limited, outcome)
			assert.Zero(c.t, c.Stats().Accounts[0].Waiting)
		},
	}
	for name, test := range cases {
		t.Run(name, func(t *testing.T) { test(newCluster(t)) })
	}
}

func TestCollectorExportsTheAccountsOfNamespacesWithLimits(t *testing.T) {
	c := newCluster(t)
	c.pod("a", bound("virtual-0"), sized("2.00_4.0"))
	assert.Zero(t, testutil.CollectAndCount(ledger.NewCollector(c.Ledger), "spillway_ledger_cloud_used"))
	c.limit("pods=1,memory=8Gi")
	c.pod("b")
	c.cloud("b")
	const usedHelp = "What the Pods of a namespace with limits use in the cloud: pods, cpu in cores and memory in " +
		"bytes, in billed sizes."
	want := `
# HELP spillway_ledger_cloud_limit What the Pods of a namespace may use in the cloud, in the same units.
# TYPE spillway_ledger_cloud_limit gauge
spillway_ledger_cloud_limit{namespace="default",resource="memory"} 8.589934592e+09
spillway_ledger_cloud_limit{namespace="default",resource="pods"} 1
# HELP spillway_ledger_cloud_used ` + usedHelp + `
# TYPE spillway_ledger_cloud_used gauge
spillway_ledger_cloud_used{namespace="default",resource="cpu"} 2
spillway_ledger_cloud_used{namespace="default",resource="memory"} 4.294967296e+09
spillway_ledger_cloud_used{namespace="default",resource="pods"} 1
# HELP spillway_ledger_cloud_waiting_pods Number of Pods that wait because of the limits of their namespace.
# TYPE spillway_ledger_cloud_waiting_pods gauge
spillway_ledger_cloud_waiting_pods{namespace="default"} 1
`
	require.NoError(t, testutil.CollectAndCompare(ledger.NewCollector(c.Ledger), strings.NewReader(want),
		"spillway_ledger_cloud_limit", "spillway_ledger_cloud_used", "spillway_ledger_cloud_waiting_pods"))
}
