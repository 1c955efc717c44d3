package objects

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

func TestCopiesAreIndependent(t *testing.T) {
	for _, generation := range []Generation{CCI2, CCI1} {
		for _, res := range All {
			t.Run(generation.APIVersion(res)+" "+res.Kind, func(t *testing.T) {
				obj := generation.New(res)
				obj.SetType(generation.APIVersion(res), res.Kind)
				obj.SetName("first")
				obj.SetLabels(map[string]string{"app": "web"})
				before, err := json.Marshal(obj)
				require.NoError(t, err)

				changed := obj.CopyObject()
				assert.Equal(t, obj, changed)
				changed.SetName("second")
				changed.GetLabels()["app"] = "other"
				SetAnnotation(changed.Meta(), "a", "b")
				changed.SetType("x", "Y")
				after, err := json.Marshal(obj)
				require.NoError(t, err)
				assert.JSONEq(t, string(before), string(after))
			})
		}
	}
}

func TestCopyOfPodIsDeep(t *testing.T) {
	pod := &Pod{Spec: PodSpec{ExtraEphemeralStorage: &ExtraEphemeralStorage{SizeInGiB: 1}}}
	pod.Spec.Containers = []corev1.Container{{Name: "web"}}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "web"}}
	changed := pod.DeepCopy()
	changed.Spec.ExtraEphemeralStorage.SizeInGiB = 2
	changed.Spec.Containers[0].Name = "other"
	changed.Status.ContainerStatuses[0].Name = "other"
	assert.Equal(t, int32(1), pod.Spec.ExtraEphemeralStorage.SizeInGiB)
	assert.Equal(t, "web", pod.Spec.Containers[0].Name)
	assert.Equal(t, "web", pod.Status.ContainerStatuses[0].Name)
}

func TestCopyOfNetworkIsDeep(t *testing.T) {
	network := &Network{
		Spec:   NetworkSpec{SecurityGroups: []string{"sg"}, Subnets: []NetworkSubnet{{"a"}}, IPFamilies: []string{"IPv4"}},
		Status: NetworkStatus{Conditions: []metav1.Condition{{Type: "x"}}, SubnetAttrs: []SubnetAttr{{NetworkID: "n"}}},
	}
	want := *network
	changed := network.CopyObject().(*Network)
	changed.Spec.SecurityGroups[0], changed.Spec.Subnets[0].SubnetID, changed.Spec.IPFamilies[0] = "x", "x", "x"
	changed.Status.Conditions[0].Type, changed.Status.SubnetAttrs[0].NetworkID = "y", "y"
	assert.Equal(t, want, *network)
	assert.Equal(t, []string{"sg"}, network.Spec.SecurityGroups)
	assert.Equal(t, "x", network.Status.Conditions[0].Type)
}

func TestPathsOfGenerations(t *testing.T) {
	k := types.NamespacedName{Namespace: "ns", Name: "x"}
	cases := map[string]struct {
		generation Generation
		res        *Resource
		want       string
	}{
		"a Pod of CCI 2.0":     {CCI2, Pods, "/apis/cci/v2/namespaces/ns/pods/x"},
		"a network of CCI 2.0": {CCI2, Networks, "/apis/yangtse/v2/namespaces/ns/networks/x"},
		"a Pod of CCI 1.0":     {CCI1, Pods, "/api/v1/namespaces/ns/pods/x"},
		"a network of CCI 1.0": {CCI1, Networks, "/apis/networking.cci.io/v1beta1/namespaces/ns/networks/x"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) { assert.Equal(t, tc.want, tc.generation.Path(tc.res, k)) })
	}
}

func TestResourcesAreFound(t *testing.T) {
	for _, res := range All {
		assert.Same(t, res, ResourceFor(res.Group, res.Plural))
		assert.Same(t, res, ResourceNamed(res.Plural))
		assert.True(t, res.Allows("get"))
		assert.False(t, res.Allows("deletecollection"))
	}
	assert.Nil(t, ResourceFor(GroupYangtse, "pods"))
	assert.Nil(t, ResourceNamed("jobs"))
}

func TestStamp(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	first, second := &Pod{}, &Pod{}
	Stamp(first, now)
	Stamp(second, now)
	assert.True(t, first.CreationTimestamp.Time.Equal(now))
	assert.NotEmpty(t, first.UID)
	assert.NotEqual(t, first.UID, second.UID)
}

func TestNetworkStates(t *testing.T) {
	cases := map[string]struct {
		network AnyNetwork
		ready   bool
	}{
		"Ready in CCI 2.0":   {&Network{Status: NetworkStatus{Status: NetworkReady}}, true},
		"Pending in CCI 2.0": {&Network{Status: NetworkStatus{Status: NetworkPending}}, false},
		"Active in CCI 1.0":  {&Network1{Status: Network1Status{State: NetworkActive}}, true},
		"Failed in CCI 1.0":  {&Network1{Status: Network1Status{State: NetworkFailed}}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			_, ready := tc.network.State()
			assert.Equal(t, tc.ready, ready)
		})
	}
}

func TestContainersOfPods(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	pod := &Pod{}
	pod.Spec.InitContainers = []corev1.Container{{Name: "init"}, {Name: "side", RestartPolicy: &always}}
	pod.Spec.Containers = []corev1.Container{{Name: "web"}}
	pod.Status.InitContainerStatuses = []corev1.ContainerStatus{{Name: "init", RestartCount: 3}}
	var names []string
	for _, c := range AllContainers(pod) {
		names = append(names, c.Name)
	}
	assert.Equal(t, []string{"init", "side", "web"}, names)
	assert.Equal(t, int32(3), ContainerStatus(pod, "init").RestartCount)
	assert.Nil(t, ContainerStatus(pod, "web"))
	assert.False(t, IsSidecar(&pod.Spec.InitContainers[0]))
	assert.True(t, IsSidecar(&pod.Spec.InitContainers[1]))
}

func TestProcessImages(t *testing.T) {
	for image, want := range map[string]bool{
		"ccisim/process": true, "ccisim/process:1": true, "ccisim/processes": false, "nginx": false,
	} {
		assert.Equal(t, want, IsProcessImage(image), image)
	}
}
