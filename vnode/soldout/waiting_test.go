package soldout

import (
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestIsScheduled(t *testing.T) {
	container := []corev1.ContainerStatus{{Name: "c"}}
	for name, test := range map[string]struct {
		status    corev1.PodStatus
		scheduled bool
		says      report
	}{
		"nothing is known yet": {},
		"the status gives the cause": {
			status: corev1.PodStatus{Reason: "Unschedulable", Message: "no flavor"}, says: report{"Unschedulable", "no flavor"},
		},
		"the condition gives the cause": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "sold out",
			}}},
			says: report{"Unschedulable", "sold out"},
		},
		"the condition says that the Pod is scheduled": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionTrue,
			}}},
			scheduled: true,
		},
		"the condition has precedence over container statuses": {
			status: corev1.PodStatus{
				Conditions: []corev1.PodCondition{{
					Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable",
				}},
				ContainerStatuses: container,
			},
			says: report{"Unschedulable", ""},
		},
		"without a condition, a container status shows it": {
			status: corev1.PodStatus{ContainerStatuses: container}, scheduled: true,
		},
		"without a condition, an init container status shows it": {
			status: corev1.PodStatus{InitContainerStatuses: container}, scheduled: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			scheduled, says := isScheduled(&cci.Pod{Status: test.status})
			assert.Equal(t, test.scheduled, scheduled)
			assert.Equal(t, test.says, says)
		})
	}
}

func TestNetworkProblem(t *testing.T) {
	network := func(name, status string) cci.Network {
		return cci.Network{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: cci.NetworkStatus{Status: status}}
	}
	for name, test := range map[string]struct {
		networks []cci.Network
		want     string
	}{
		"the network is Ready": {
			[]cci.Network{network("a", cci.NetworkReady)},
			"",
		},
		"one of two networks is Ready": {
			[]cci.Network{network("a", cci.NetworkFailed), network("b", cci.NetworkReady)},
			"",
		},
		"there is no network": {
			nil,
			"the cloud namespace has no network",
		},
		"the network has failed": {
			[]cci.Network{network("a", cci.NetworkFailed)},
			`network a is not Ready: its status is "Failed"`,
		},
		"the network is not set up yet": {
			[]cci.Network{network("a", "")},
			`network a is not Ready: its status is ""`,
		},
		"the addresses are used up": {
			[]cci.Network{network("a", cci.NetworkIPInsufficient)},
			"the subnets of network a have no address left",
		},
		"the addresses of one of two networks are used up": {
			[]cci.Network{network("a", cci.NetworkReady), network("b", cci.NetworkIPInsufficient)},
			"the subnets of network b have no address left",
		},
	} {
		t.Run(name, func(t *testing.T) {
			assert.Equal(t, test.want, networkProblem(test.networks))
		})
	}
}
