package ledger_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/extender/ledger"
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
		quota  *int
		want   ledger.Outcome
	}{
		"the quota is used up":                  {"local-0", "", nil, new(1), ledger.Cloud},
		"a slot of the quota is free":           {"local-0", "", nil, new(2), ledger.Local},
		"another revision has slots of its own": {"local-0", "", otherRevision, new(1), ledger.Local},
		"the limits are used up":                {"virtual-0", "pods=1", nil, nil, ledger.Limited},
		"the limits have room":                  {"virtual-0", "pods=2", nil, nil, ledger.Cloud},
		"another namespace has used nothing":    {"virtual-0", "pods=1", otherNamespace, nil, ledger.Cloud},
		"the size of the Pod counts":            {"virtual-0", "cpu=2", large, nil, ledger.Limited},
		"limits do not concern local slots":     {"virtual-0", "pods=1", nil, new(1), ledger.Local},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.limit(test.limits)
			c.pod("first", bound(test.first))
			before := c.Snapshot()
			request := ledger.Request{Quota: test.quota, LocalFits: test.quota != nil, CloudFits: true}
			assert.Equal(t, test.want, c.Peek(template(c, test.pod...), request))
			assert.Equal(t, before, c.Snapshot())
		})
	}
}

func TestAPodThatHasEndedIsGoneForPeekToo(t *testing.T) {
	c := newCluster(t)
	pod := c.pod("first", phase(corev1.PodSucceeded))
	assert.Equal(t, ledger.Gone, c.Peek(pod, ledger.Request{UID: pod.UID, LocalFits: true, CloudFits: true}))
}
