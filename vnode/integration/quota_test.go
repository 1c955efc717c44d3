package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/soldout"
)

// quotaOf is a quota of one resource.
func quotaOf(name corev1.ResourceName, most string) ccisim.Fault {
	return ccisim.Fault{Kind: faults.Quota, Hard: corev1.ResourceList{name: resource.MustParse(most)}}
}

// A quota that is too small for one Pod has room for others: the node stays open for them.
func TestAPodLargerThanTheRestOfAQuotaLeavesTheNodeOpen(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud)
	cloud.Fault(t, quotaOf(corev1.ResourceCPU, "8"))
	ns := namespace(t)
	large := replicaOn(cfg.Node.Name, "large")
	request(large, "16", "32Gi")
	create(t, ns, large)
	await(t, ns, "large", hasReason(string(policy.ReasonQuota)))
	awaitEvent(t, ns, "large", string(policy.ReasonQuota))
	eventually(t, func() error {
		for _, pod := range cloud.PodsEver() {
			if pod.Name == cfg.Owner().ProbeName() {
				return nil
			}
		}
		return fmt.Errorf("the cloud should have accepted a probe")
	})
	create(t, ns, podOn(cfg.Node.Name, "small"))
	await(t, ns, "small", isReady)
	assert.NoError(t, isUnlocked(soldout.ReasonHasRoom)(awaitNode(t, cfg.Node.Name, isUnlocked(soldout.ReasonHasRoom))))
	awaitCloudPods(t, cloud, 1)
}

// Pods that end make room in a quota, also while the node is locked.
func TestAPodThatWaitsForAQuotaRunsWhenAnotherEnds(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	cfg := soldOutNode(t, cloud, stay)
	cloud.Fault(t, quotaOf(corev1.ResourcePods, "2"))
	ns := namespace(t)
	for _, name := range []string{"a", "b"} {
		create(t, ns, podOn(cfg.Node.Name, name))
		await(t, ns, name, isReady)
	}
	create(t, ns, replicaOn(cfg.Node.Name, "c"))
	awaitNode(t, cfg.Node.Name, isLocked)
	remove(t, ns, "a")
	await(t, ns, "c", isReady)
}

func TestTheCapacityOfANodeIsWithinTheQuotaOfItsNamespaceInCCI1(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI).In(t, policy.CCI1)
	cloud.Fault(t, quotaOf(corev1.ResourcePods, "7"))
	cfg := settings(t, cloud, nodeName(t))
	start(t, cfg)
	awaitNode(t, cfg.Node.Name, func(object *corev1.Node) error {
		if got := object.Status.Allocatable.Pods().String(); got != "7" {
			return fmt.Errorf("the node has %s Pods, should be 7", got)
		}
		return nil
	})
}
