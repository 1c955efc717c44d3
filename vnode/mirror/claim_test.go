package mirror

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var data = mirrorOf(identity.MirrorClaim, "data")

// addClaim writes claim data to the cluster, bound to a volume with the handle.
func (h *harness) addClaim(handle string, changes ...func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)) {
	h.t.Helper()
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "data", UID: types.UID("claim-" + handle)},
		Spec:       corev1.PersistentVolumeClaimSpec{AccessModes: modes, VolumeName: "volume-" + handle},
		Status:     corev1.PersistentVolumeClaimStatus{Phase: corev1.ClaimBound},
	}
	volume := &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "volume-" + handle},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes: modes, Capacity: size, MountOptions: []string{"vers=3"},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimDelete,
			ClaimRef:                      &corev1.ObjectReference{Namespace: "default", Name: "data", UID: claim.UID},
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: turbo, VolumeHandle: handle, VolumeAttributes: map[string]string{"path": "/share"},
			}},
		},
		Status: corev1.PersistentVolumeStatus{Phase: corev1.VolumeBound},
	}
	for _, change := range changes {
		change(claim, volume)
	}
	claims := corev1.SchemeGroupVersion.WithResource("persistentvolumeclaims")
	_ = h.cluster.Tracker().Delete(claims, "default", "data") // The claim may be created again.
	h.add(claim, volume)
}

// volumes returns the volumes and the claims in the cloud.
func (h *harness) volumes() ([]cci.PersistentVolume, []cci.PersistentVolumeClaim) {
	h.t.Helper()
	volumes, err := h.sim.Client.ListVolumes(h.t.Context(), cci.ListOptions{})
	require.NoError(h.t, err)
	claims, err := h.sim.Client.ListClaims(h.t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(h.t, err)
	return volumes, claims
}

// handle returns the data of the only volume in the cloud.
func (h *harness) handle() string {
	h.t.Helper()
	volumes, claims := h.volumes()
	require.Len(h.t, volumes, 1)
	require.Len(h.t, claims, 1)
	return volumes[0].Spec.CSI.VolumeHandle
}

func (h *harness) deleteClaim() {
	h.t.Helper()
	name := owner.MirrorName(data)
	require.NoError(h.t, h.sim.Client.DeleteClaim(h.t.Context(), cloudtest.Namespace, name, cci.DeleteOptions{}))
	h.claimIsGone()
}

// claimIsGone waits until the deleted claim is gone: the cloud removes its finalizer some time after the deletion.
func (h *harness) claimIsGone() {
	h.t.Helper()
	require.Eventually(h.t, func() bool {
		_, err := h.sim.Client.GetClaim(h.t.Context(), cloudtest.Namespace, owner.MirrorName(data))
		return cci.IsNotFound(err)
	}, cloudtest.Timeout, cloudtest.Tick)
}

func TestAClaimIsCopiedWithItsVolume(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	h.addClaim("share-1")
	pod := h.put(newPod("web", claimRef("data")))
	h.ensures(pod)
	volumes, claims := h.volumes()
	require.Len(t, volumes, 1)
	require.Len(t, claims, 1)
	volume, claim := volumes[0], claims[0]
	assert.Equal(t, "share-1", volume.Spec.CSI.VolumeHandle)
	assert.Equal(t, map[string]string{"path": "/share"}, volume.Spec.CSI.VolumeAttributes)
	assert.Equal(t, corev1.PersistentVolumeReclaimRetain, volume.Spec.ReclaimPolicy, "the data belong to the cluster")
	assert.Equal(t, []string{"vers=3"}, volume.Spec.MountOptions)
	assert.Equal(t, volume.Name, claim.Spec.VolumeName)
	found, ours := owner.OwnsMirror(&claim.ObjectMeta)
	assert.True(t, ours)
	assert.Equal(t, data, found)

	h.ensures(pod)
	assertRefresh(t, h.reconciles(data))
	assert.Equal(t, 1, h.count(identity.MirrorClaim))
}

func TestClaimsThatCannotBeCopied(t *testing.T) {
	type change = func(*corev1.PersistentVolumeClaim, *corev1.PersistentVolume)
	for name, test := range map[string]struct {
		change      change
		want        string
		unsupported bool
	}{
		"a claim that is not bound yet": {
			func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) {
				c.Status.Phase = corev1.ClaimPending
			},
			`persistentvolumeclaim "data" is not bound`, false,
		},
		"a claim whose volume is missing": {
			func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { c.Spec.VolumeName = "other" },
			"reading the volume of Claim default/data", false,
		},
		"a claim created again by the name of one that had the volume": {
			func(c *corev1.PersistentVolumeClaim, _ *corev1.PersistentVolume) { c.UID = "again" },
			`persistentvolumeclaim "data" is not bound: volume "volume-share-1" is not bound to this claim`, false,
		},
		"a claim that names the volume of another namespace": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Spec.ClaimRef.Namespace = "victim"
			},
			"is not bound to this claim", false,
		},
		"a claim that names the volume of another claim": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.ClaimRef.Name = "victim" },
			"is not bound to this claim", false,
		},
		"a claim that names a volume which no one has claimed": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) { v.Spec.ClaimRef = nil },
			"is not bound to this claim", false,
		},
		"a volume that was released": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Status.Phase = corev1.VolumeReleased
			},
			"is not bound to this claim", false,
		},
		"a disk": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Spec.CSI.Driver = "disk.csi.everest.io"
			},
			"claim data is bound to a volume of kind disk.csi.everest.io: the cloud can mount " + turbo, true,
		},
		"a volume without CSI": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Spec.PersistentVolumeSource = corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{}}
			},
			"claim data is bound to a volume of kind nfs", true,
		},
		"a volume that is mounted with a Secret": {
			func(_ *corev1.PersistentVolumeClaim, v *corev1.PersistentVolume) {
				v.Spec.CSI.NodePublishSecretRef = &corev1.SecretReference{Name: "s"}
			},
			"is mounted with a Secret", true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, cloudtest.EveryAPI)
			h.addClaim("share-1", test.change)
			err := h.ensureFails(h.put(newPod("web", claimRef("data"))))
			assert.ErrorContains(t, err, test.want)
			_, unsupported := errors.AsType[*Unsupported](err)
			assert.Equal(t, test.unsupported, unsupported)
			volumes, _ := h.volumes()
			assert.Empty(t, volumes)
		})
	}
}

func TestAClaimThatIsCreatedAgainForOtherData(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	h.addClaim("share-1")
	pod := h.put(newPod("web", claimRef("data")))
	h.ensures(pod)
	h.addClaim("share-2")

	h.inventory.uses(cci.ClaimObject, owner.MirrorName(data))
	err := h.ensureFails(pod)
	_, missing := errors.AsType[*Missing](err)
	assert.True(t, missing)
	assert.ErrorContains(t, err, "a Pod in the cloud still uses")
	assertRefresh(t, h.reconciles(data))
	assert.Equal(t, "share-1", h.handle(), "running Pods keep their data")

	clear(h.inventory.refers)
	require.Eventually(t, func() bool {
		h.pass(1)
		return h.Ensure(t.Context(), pod) == nil // The old claim may take a moment to disappear.
	}, cloudtest.Timeout, cloudtest.Tick)
	assert.Equal(t, "share-2", h.handle())
}

func TestAClaimIsRemovedWithItsVolume(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	h.addClaim("share-1")
	pod := h.put(newPod("web", claimRef("data")))
	h.ensures(pod)
	h.removePod(pod)
	assert.Equal(t, removeAfter, h.reconciles(data))
	h.pass(removeAfter)

	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Verb: "delete", Path: "persistentvolumes", Times: 1})
	_, err := h.reconcile(t.Context(), data)
	require.True(t, cci.IsDenied(err))
	assert.Zero(t, h.count(identity.MirrorClaim))
	assert.Zero(t, h.reconciles(data), "the volume that is left over is removed too")
	h.claimIsGone()
	volumes, _ := h.volumes()
	assert.Empty(t, volumes)
	assert.Empty(t, h.Mirrors.known())
}

func TestClaimsAreFoundAgainAfterARestart(t *testing.T) {
	for name, test := range map[string]struct {
		lose  func(*harness)
		count int
	}{
		"a claim with its volume":    {func(*harness) {}, 1},
		"a volume without its claim": {func(h *harness) { h.deleteClaim() }, 0},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, cloudtest.EveryAPI)
			h.addClaim("share-1")
			pod := h.put(newPod("web", claimRef("data")))
			h.ensures(pod)
			test.lose(h)
			h.restart()
			h.lists()
			assert.Equal(t, test.count, h.count(identity.MirrorClaim))
			assert.Equal(t, []identity.Mirror{data}, h.Mirrors.known())

			assertRefresh(t, h.reconciles(data))
			assert.Equal(t, "share-1", h.handle(), "what is missing of the copy is created again")

			h.removePod(pod)
			h.reconciles(data)
			h.pass(removeAfter)
			assert.Zero(t, h.reconciles(data))
			volumes, _ := h.volumes()
			assert.Empty(t, volumes)
		})
	}
}

func TestAVolumeOfTheNameInTheCloud(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cci.PersistentVolume)
		want   string
		err    string
	}{
		"with the same data is kept":  {func(*cci.PersistentVolume) {}, "share-1", ""},
		"with other data is replaced": {func(v *cci.PersistentVolume) { setHandle(v, "share-0") }, "share-1", ""},
		"with annotations that lie about the data is replaced": {
			func(v *cci.PersistentVolume) { v.Spec.CSI.VolumeHandle = "victim" }, "share-1", "",
		},
		"for another claim is replaced": {
			func(v *cci.PersistentVolume) { v.Spec.ClaimRef.Name = "other" }, "share-1", "",
		},
		"of another client is an error": {
			func(v *cci.PersistentVolume) { v.Annotations = nil }, "", "its annotations name another object",
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, cloudtest.EveryAPI)
			h.addClaim("share-1")
			source, err := h.cluster.CoreV1().PersistentVolumes().Get(t.Context(), "volume-share-1", metav1.GetOptions{})
			require.NoError(t, err)
			volume := h.volumeCopy(data, "claim-share-1", source)
			test.change(volume)
			_, err = h.sim.Client.CreateVolume(t.Context(), volume)
			require.NoError(t, err)
			pod := h.put(newPod("web", claimRef("data")))
			if test.err != "" {
				assert.ErrorContains(t, h.ensureFails(pod), test.err)
				return
			}
			h.ensures(pod)
			assert.Equal(t, test.want, h.handle())
		})
	}
}

func TestAClaimOfTheNameInTheCloud(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*cci.PersistentVolumeClaim)
		err    string
		// replaced: the second attempt succeeds.
		replaced bool
	}{
		"for the same volume is kept": {func(*cci.PersistentVolumeClaim) {}, "", false},
		"for other data is replaced": {func(c *cci.PersistentVolumeClaim) {
			c.Annotations[policy.CloudSourceVolumeAnnotation] = "share-0"
		}, "is for another volume", true},
		"for another volume is replaced": {
			func(c *cci.PersistentVolumeClaim) { c.Spec.VolumeName = "victim" }, "is for another volume", true,
		},
		"of another client is an error": {
			func(c *cci.PersistentVolumeClaim) { c.Annotations = nil }, "its annotations name another object", false,
		},
		"for another claim is an error": {func(c *cci.PersistentVolumeClaim) {
			c.Annotations[policy.CloudSourceNamespaceAnnotation] = "victim"
		}, "its annotations name another object", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t, cloudtest.EveryAPI)
			h.addClaim("share-1")
			source, err := h.cluster.CoreV1().PersistentVolumes().Get(t.Context(), "volume-share-1", metav1.GetOptions{})
			require.NoError(t, err)
			claim := claimCopy(h.volumeCopy(data, "claim-share-1", source))
			test.change(claim)
			created, err := h.sim.Client.CreateClaim(t.Context(), cloudtest.Namespace, claim)
			require.NoError(t, err)
			pod := h.put(newPod("web", claimRef("data")))
			uid := func() types.UID {
				found, err := h.sim.Client.GetClaim(t.Context(), cloudtest.Namespace, claim.Name)
				require.NoError(t, err)
				return found.UID
			}
			if test.err == "" {
				h.ensures(pod)
				assert.Equal(t, created.UID, uid())
				return
			}
			assert.ErrorContains(t, h.ensureFails(pod), test.err)
			assert.Equal(t, created.UID, uid(), "it is not touched")
			if test.replaced {
				require.Eventually(t, func() bool {
					h.pass(1)
					return h.Ensure(t.Context(), pod) == nil // The old claim may take a moment to disappear.
				}, cloudtest.Timeout, cloudtest.Tick)
				assert.NotEqual(t, created.UID, uid())
			} else {
				assert.ErrorContains(t, h.ensureFails(pod), test.err)
			}
		})
	}
}

func setHandle(volume *cci.PersistentVolume, handle string) {
	volume.Spec.CSI.VolumeHandle = handle
	for key, value := range volume.Annotations {
		if value == "share-1" {
			volume.Annotations[key] = handle
		}
	}
}

func TestARegionWithoutVolumes(t *testing.T) {
	h := newHarness(t, func(c *ccisim.Config) { c.Policies.NoVolumes = true })
	h.addConfigMap("settings", map[string]string{"a": "1"})
	h.ensures(h.put(newPod("web", configMapRef("settings", false))))
	h.lists()
	assert.Equal(t, 1, h.count(identity.MirrorConfigMap), "other copies are listed")
	h.addClaim("share-1")
	h.ensureFails(h.put(newPod("db", claimRef("data"))))
	h.lists()
	assert.Contains(t, h.Mirrors.known(), data, "nothing is known of claims")
}

func TestClaimsThatAreNotCopiedAreNotListed(t *testing.T) {
	h := newHarness(t, cloudtest.EveryAPI)
	config := h.config()
	config.Claims = false
	var err error
	h.Mirrors, err = New(config)
	require.NoError(t, err)
	h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Path: "persistentvolume"})
	h.lists()
}
