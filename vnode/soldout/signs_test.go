package soldout

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

func TestWhetherTheCloudHasAPlace(t *testing.T) {
	container := []corev1.ContainerStatus{{Name: "c"}}
	for name, test := range map[string]struct {
		status corev1.PodStatus
		placed bool
		words  string
	}{
		"nothing is known yet": {},
		"the cloud says in the Pod's status why not": {
			status: corev1.PodStatus{Reason: "Unschedulable", Message: "no flavor"}, words: "Unschedulable no flavor",
		},
		"the cloud says in a condition why not": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{
				Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable", Message: "sold out",
			}}},
			words: "Unschedulable sold out",
		},
		"a condition says that it has one": {
			status: corev1.PodStatus{Conditions: []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue}}}, placed: true,
		},
		"a condition weighs more than containers": {
			status: corev1.PodStatus{
				Conditions:        []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "Unschedulable"}},
				ContainerStatuses: container,
			},
			words: "Unschedulable",
		},
		"without a condition, containers show it":      {status: corev1.PodStatus{ContainerStatuses: container}, placed: true},
		"without a condition, init containers show it": {status: corev1.PodStatus{InitContainerStatuses: container}, placed: true},
	} {
		t.Run(name, func(t *testing.T) {
			placed, words := hasPlace(&cci.Pod{Status: test.status})
			assert.Equal(t, test.placed, placed)
			assert.Equal(t, test.words, words)
		})
	}
}

func TestWhyNoPodGetsAnAddress(t *testing.T) {
	network := func(name, status string) cci.Network {
		return cci.Network{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: cci.NetworkStatus{Status: status}}
	}
	for name, test := range map[string]struct {
		networks []cci.Network
		want     string
	}{
		"the network is not to blame":     {[]cci.Network{network("a", cci.NetworkReady)}, ""},
		"one of two is enough":            {[]cci.Network{network("a", cci.NetworkFailed), network("b", cci.NetworkReady)}, ""},
		"somebody has deleted it":         {nil, "the cloud namespace has no network"},
		"it has failed":                   {[]cci.Network{network("a", cci.NetworkFailed)}, `network a is not Ready, it is "Failed"`},
		"it is not set up yet":            {[]cci.Network{network("a", "")}, `network a is not Ready, it is ""`},
		"its addresses are used up":       {[]cci.Network{network("a", cci.NetworkIPInsufficient)}, "the subnets of network a have no address left"},
		"those of one of two are used up": {[]cci.Network{network("a", cci.NetworkReady), network("b", cci.NetworkIPInsufficient)}, "the subnets of network b have no address left"},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Keeper{config: Config{Networks: func(context.Context) ([]cci.Network, error) { return test.networks, nil }}}
			got, err := k.networkTrouble(t.Context())
			require.NoError(t, err)
			assert.Equal(t, test.want, got)
		})
	}
}
