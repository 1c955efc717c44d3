package podlife

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

func TestNetworkBecomesReady(t *testing.T) {
	e := newEnv(t)
	e.createNamespace("ns")
	e.createPod("early")
	e.step(networkDelay - 1)
	assert.Equal(t, objects.NetworkPending, e.networkStatus())
	assert.Equal(t, map[string]int32{"NetworkNotReady": 1}, e.reasons("early"))
	e.step(1)
	assert.Equal(t, objects.NetworkReady, e.networkStatus())
	assert.NotEmpty(t, e.pod("early").Spec.NodeName, "waiting Pods are reconciled")
}

func TestFaultsOfNetworks(t *testing.T) {
	cases := map[faults.Kind]string{
		faults.NetworkFailed:  objects.NetworkFailed,
		faults.IPInsufficient: objects.NetworkIPInsufficient,
	}
	for kind, want := range cases {
		t.Run(string(kind), func(t *testing.T) {
			e := newNamespaceEnv(t)
			remove := e.inject(faults.Fault{Kind: kind, Path: "/namespaces/ns/networks/net$"})
			assert.Equal(t, want, e.networkStatus())
			remove()
			assert.Equal(t, objects.NetworkReady, e.networkStatus())
		})
	}
}

func TestNetworkIsRemovedAfterItsPods(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web")
	e.delete(objects.Networks, "ns", "net")
	e.step(time.Hour)
	require.NotNil(t, e.get(objects.Networks, "ns", "net"))
	e.delete(objects.Pods, "ns", "web", 0)
	e.step(finalizerDelay)
	assert.Nil(t, e.get(objects.Networks, "ns", "net"))
}

func TestNetworkOfCCI1(t *testing.T) {
	e := newEnv(t, func(_ *Config, s *store.Config) { s.Generation = objects.CCI1 })
	network := &objects.Network1{Status: objects.Network1Status{State: objects.NetworkInitializing}}
	network.Namespace, network.Name = "ns", "net"
	e.create(objects.Networks, network)
	state := func() string { return e.get(objects.Networks, "ns", "net").(*objects.Network1).Status.State }
	assert.Equal(t, objects.NetworkPending, state())
	e.step(networkDelay)
	assert.Equal(t, objects.NetworkActive, state())
	e.delete(objects.Networks, "ns", "net")
	assert.Equal(t, networkTerminating, state())
	e.step(finalizerDelay)
	assert.Nil(t, e.get(objects.Networks, "ns", "net"))
}

func TestNamespaceHasPullSecret(t *testing.T) {
	e := newNamespaceEnv(t)
	secret := e.get(objects.Secrets, "ns", pullSecret).(*objects.Secret)
	assert.Equal(t, corev1.SecretTypeDockerConfigJson, secret.Type)
	assert.Contains(t, secret.Data, corev1.DockerConfigJsonKey)
}

func TestNamespaceIsRemovedWithItsObjects(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web")
	e.delete(objects.Namespaces, "", "ns")
	ns := e.get(objects.Namespaces, "", "ns").(*objects.Namespace)
	assert.Equal(t, corev1.NamespaceTerminating, ns.Status.Phase)
	e.step(stopDelay, finalizerDelay)
	assert.Nil(t, e.pod("web"))
	assert.Nil(t, e.get(objects.Secrets, "ns", pullSecret))
	assert.Empty(t, e.reasons("web"))
	e.step(finalizerDelay)
	assert.Nil(t, e.get(objects.Namespaces, "", "ns"))
}

func volumeAndClaim() (*objects.PersistentVolume, *objects.PersistentVolumeClaim) {
	volume := &objects.PersistentVolume{}
	volume.Name = "share"
	volume.Spec.Capacity = corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	claim := &objects.PersistentVolumeClaim{}
	claim.Namespace, claim.Name, claim.Spec.VolumeName = "ns", "data", "share"
	claim.Status.Phase = corev1.ClaimPending
	return volume, claim
}

func TestClaimIsBoundToItsVolume(t *testing.T) {
	e := newNamespaceEnv(t)
	volume, claim := volumeAndClaim()
	e.createRunning("web", func(pod *objects.Pod) {
		source := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}
		pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: source}}
	})
	e.create(objects.Claims, claim)
	phases := func() (corev1.PersistentVolumePhase, corev1.PersistentVolumeClaimPhase) {
		return e.get(objects.Volumes, "", "share").(*objects.PersistentVolume).Status.Phase,
			e.get(objects.Claims, "ns", "data").(*objects.PersistentVolumeClaim).Status.Phase
	}
	assert.Equal(t, map[string]int32{"Scheduled": 1, "FailedMount": 1}, e.reasons("web"))
	e.create(objects.Volumes, volume)
	volumePhase, claimPhase := phases()
	assert.Equal(t, corev1.VolumeBound, volumePhase)
	assert.Equal(t, corev1.ClaimBound, claimPhase)
	assert.NotNil(t, e.status("web").State.Running)

	e.delete(objects.Claims, "ns", "data")
	e.step(time.Hour)
	require.NotNil(t, e.get(objects.Claims, "ns", "data"), "a Pod uses the claim")
	e.delete(objects.Pods, "ns", "web", 0)
	e.step(finalizerDelay)
	assert.Nil(t, e.get(objects.Claims, "ns", "data"))
	assert.Equal(t, corev1.VolumeReleased, e.get(objects.Volumes, "", "share").(*objects.PersistentVolume).Status.Phase)
}

func TestClaimDoesNotGetVolumeOfAnother(t *testing.T) {
	e := newNamespaceEnv(t)
	volume, claim := volumeAndClaim()
	volume.Spec.ClaimRef = &corev1.ObjectReference{Namespace: "ns", Name: "other"}
	e.create(objects.Volumes, volume)
	e.create(objects.Claims, claim)
	got := e.get(objects.Claims, "ns", "data").(*objects.PersistentVolumeClaim)
	assert.Equal(t, corev1.ClaimPending, got.Status.Phase)
}

func TestEventsAreCounted(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createPod("web")
	e.store.Update(func(tx store.Tx) {
		for range 3 {
			e.controller.recordEvent(tx, tx.Pod("ns", "web"), corev1.EventTypeWarning, "Failed", "the same message")
		}
		e.controller.recordEvent(tx, tx.Pod("ns", "web"), corev1.EventTypeWarning, "Failed", "another message")
		assert.Len(t, e.controller.eventOrder, 2)
	})
	assert.Equal(t, map[string]int32{"Failed": 4}, e.reasons("web"))
}

func TestRunStopsWithItsContext(t *testing.T) {
	e := newNamespaceEnv(t)
	ctx, cancel := context.WithCancel(t.Context())
	go e.controller.Run(ctx)
	cancel()
	select {
	case <-e.controller.Stopped():
	case <-time.After(time.Minute):
		assert.Fail(t, "Run has not ended")
	}
}
