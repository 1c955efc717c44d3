package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
	"github.com/spillway-k8s/spillway/policy"
)

// template makes a Pod of the revision that does not exist.
func template(c *cluster, change ...func(*corev1.Pod)) *corev1.Pod {
	pod := c.objects["first"].DeepCopy()
	pod.Name, pod.UID, pod.ResourceVersion, pod.Spec.NodeName = "", "", "", ""
	for _, apply := range change {
		apply(pod)
	}
	return pod
}

func TestAPodThatDoesNotExistIsDecidedByTheCounts(t *testing.T) {
	otherRevision := []func(*corev1.Pod){func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" }}
	otherNamespace := []func(*corev1.Pod){func(p *corev1.Pod) { p.Namespace = "other" }}
	large := []func(*corev1.Pod){sized("4.00_8.0")}
	for name, test := range map[string]struct {
		first  string // the node of the Pod that exists
		limits string
		pod    []func(*corev1.Pod)
		shares policy.Shares
		want   ledger.Outcome
	}{
		"the quota is used up":                  {"local-0", "", nil, replicas(1), ledger.Cloud},
		"a slot of the quota is free":           {"local-0", "", nil, replicas(2), ledger.Local},
		"another revision has slots of its own": {"local-0", "", otherRevision, replicas(1), ledger.Local},
		"the limits are used up":                {"virtual-0", "pods=1", nil, policy.Shares{}, ledger.Limited},
		"the limits have room":                  {"virtual-0", "pods=2", nil, policy.Shares{}, ledger.Cloud},
		"another namespace has used nothing":    {"virtual-0", "pods=1", otherNamespace, policy.Shares{}, ledger.Cloud},
		"the size of the Pod counts":            {"virtual-0", "cpu=2", large, policy.Shares{}, ledger.Limited},
		"limits do not concern local slots":     {"virtual-0", "pods=1", nil, replicas(1), ledger.Local},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.limit(test.limits)
			c.pod("first", bound(test.first))
			before := c.Snapshot()
			request := ledger.Request{Shares: test.shares, LocalFits: !test.shares.IsZero(), CloudFits: true}
			assert.Equal(t, test.want, c.Look(template(c, test.pod...), 0).Outcome(request))
			assert.Equal(t, before, c.Snapshot())
		})
	}
}

func TestAPodThatHasEndedIsGoneForOutcomeToo(t *testing.T) {
	c := newCluster(t)
	pod := c.pod("first", phase(corev1.PodSucceeded))
	assert.Equal(t, ledger.Gone, c.Look(pod, 0).Outcome(ledger.Request{LocalFits: true, CloudFits: true}))
}

func TestLookNamesTheHoldersOfTheRevision(t *testing.T) {
	c := newCluster(t)
	c.pod("first", bound("local-0"))
	c.pod("second")
	require.Equal(t, ledger.Local, c.Look(c.objects["second"], 0).Outcome(anySlot(3)))
	_, slot := c.Reserve(ledger.Request{UID: "uid-second", Shares: replicas(3), LocalFits: true, CloudFits: true})
	require.Equal(t, ledger.LocalSlot, slot.Kind)
	c.pod("third", bound("virtual-0"))
	c.pod("fourth")
	c.pod("other", bound("local-0"), func(p *corev1.Pod) { p.OwnerReferences[0].UID = "other" })
	c.pod("stranger", bound("local-0"), func(p *corev1.Pod) { p.Namespace = "other" })
	want := ledger.LocalSlots{
		Used: 2, InCloud: 1, Waiting: 1,
		Holders: []ledger.Holder{{Name: "first", Node: "local-0"}, {Name: "second"}},
	}
	assert.Equal(t, want, c.Look(c.objects["fourth"], 10).Local)
	want.Held = true
	assert.Equal(t, want, c.Look(c.objects["second"], 10).Local)
	assert.Len(t, c.Look(c.objects["second"], 1).Local.Holders, 1)
	assert.Empty(t, c.Look(c.objects["second"], 0).Local.Holders)
	c.delete("first")
	assert.Equal(t, []ledger.Holder{{Name: "second"}}, c.Look(c.objects["fourth"], 10).Local.Holders)
}

// TestTheUIDOfAPodOfAnotherNamespaceTellsNothing: who asks chooses the UID.
func TestTheUIDOfAPodOfAnotherNamespaceTellsNothing(t *testing.T) {
	c := newCluster(t)
	c.pod("first", bound("local-0"))
	asked := template(c, func(p *corev1.Pod) { p.Namespace, p.UID = "other", "uid-first" })
	sight := c.Look(asked, 10)
	assert.False(t, sight.Known)
	assert.Equal(t, ledger.LocalSlots{}, sight.Local)
	assert.Equal(t, ledger.Local, sight.Outcome(anySlot(1)))
}

func TestASightStaysAsItIs(t *testing.T) {
	c := newCluster(t)
	sight := c.Look(c.pod("first"), 10)
	require.Equal(t, ledger.Local, c.reserve("first"))
	c.pod("second", bound("local-0"))
	assert.Equal(t, ledger.Local, sight.Outcome(anySlot(1)))
	assert.Equal(t, ledger.LocalSlots{Waiting: 1}, sight.Local)
}

// TestANodeThatChangesItsClassLeavesNoHolder: an event of a Pod may come between the change of its node and Recount.
func TestANodeThatChangesItsClassLeavesNoHolder(t *testing.T) {
	for name, becomesVirtual := range map[string]bool{"to virtual": true, "to local": false} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.virtual["changing"] = !becomesVirtual
			c.pod("first", bound("changing"))
			c.pod("second", bound("local-0"))
			c.virtual["changing"] = becomesVirtual
			c.delete("first")
			want := ledger.LocalSlots{Used: 1, Holders: []ledger.Holder{{Name: "second", Node: "local-0"}}}
			want.Held = true
			assert.Equal(t, want, c.Look(c.objects["second"], 10).Local)
			c.Recount()
			assert.Equal(t, want, c.Look(c.objects["second"], 10).Local)
		})
	}
}

// anySlot is a request for which nodes of both classes fit.
func anySlot(quota int) ledger.Request {
	return ledger.Request{Shares: replicas(quota), LocalFits: true, CloudFits: true}
}
