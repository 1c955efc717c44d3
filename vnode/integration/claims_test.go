package integration

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
	"github.com/spillway-k8s/spillway/vnode/provider"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// volumeOf creates a volume in the cluster that is reserved for a claim of the namespace.
func volumeOf(t testing.TB, namespace, claim, driver string) *corev1.PersistentVolume {
	t.Helper()
	volume, err := trial.Client().CoreV1().PersistentVolumes().Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "share-"},
		Spec: corev1.PersistentVolumeSpec{
			AccessModes:  []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Capacity:     corev1.ResourceList{"storage": resource.MustParse("500Gi")},
			ClaimRef:     &corev1.ObjectReference{Namespace: namespace, Name: claim},
			MountOptions: []string{"vers=3"}, PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{
				Driver: driver, VolumeHandle: "id-of-" + claim,
				VolumeAttributes: map[string]string{"everest.io/share-export-location": "10.0.0.7:/"},
			}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return volume
}

// claim creates a claim for a volume in the cluster.
func claim(t testing.TB, namespace, name, volume string) {
	t.Helper()
	_, err := trial.Client().CoreV1().PersistentVolumeClaims(namespace).Create(t.Context(), &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}, StorageClassName: new(""),
			VolumeName: volume,
			Resources:  corev1.VolumeResourceRequirements{Requests: corev1.ResourceList{"storage": resource.MustParse("500Gi")}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}

func claimingPod(node, name, claim string) *corev1.Pod {
	pod := podOn(node, name)
	pod.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{
		PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
	}}}
	pod.Spec.Containers[0].VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}}
	return pod
}

// storage counts the claims and volumes in the cloud.
func storage(t testing.TB, cloud *cloudtest.Cloud) (claims, volumes int) {
	t.Helper()
	c, err := cloud.Client.ListClaims(t.Context(), cloudtest.Namespace, cci.ListOptions{})
	require.NoError(t, err)
	v, err := cloud.Client.ListVolumes(t.Context(), cci.ListOptions{})
	require.NoError(t, err)
	return len(c), len(v)
}

func awaitStorage(t testing.TB, cloud *cloudtest.Cloud, want int) {
	t.Helper()
	eventually(t, func() error {
		if claims, volumes := storage(t, cloud); claims != want || volumes != want {
			return fmt.Errorf("the cloud has %d claims and %d volumes, %d of each wanted", claims, volumes, want)
		}
		return nil
	})
}

func TestClaimsOfSharedFileSystemsAreCopied(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud, hurried)
	create(t, ns, claimingPod(v.name(), "a", "data"))
	await(t, ns, "a", hasReason(provider.ReasonConfigError))
	volume := volumeOf(t, ns, "data", "sfsturbo.csi.everest.io")
	claim(t, ns, "data", volume.Name)
	create(t, ns, claimingPod(v.name(), "b", "data"))
	await(t, ns, "a", isReady)
	await(t, ns, "b", isReady)
	awaitStorage(t, cloud, 1)
	name := v.owner().MirrorName(identity.Mirror{Kind: identity.MirrorClaim, Namespace: ns, Name: "data"})
	copied, err := cloud.Client.GetVolume(t.Context(), name)
	require.NoError(t, err)
	assert.Equal(t, "id-of-data", copied.Spec.CSI.VolumeHandle)
	assert.Equal(t, "10.0.0.7:/", copied.Spec.CSI.VolumeAttributes["everest.io/share-export-location"])
	assert.Equal(t, corev1.PersistentVolumeReclaimRetain, copied.Spec.ReclaimPolicy, "the data belongs to the cluster")
	assert.Equal(t, []string{"vers=3"}, copied.Spec.MountOptions)

	// It survives a restart and the deletion of one of its Pods. It is deleted together with the last Pod.
	v.stop(t)
	v = start(t, v.again(t))
	remove(t, ns, "a")
	awaitGone(t, ns, "a")
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_mirrors", "Token"); n != 1 {
			return fmt.Errorf("the cloud has tokens of %g Pods", n)
		}
		return nil
	})
	awaitStorage(t, cloud, 1)
	remove(t, ns, "b")
	awaitStorage(t, cloud, 0)
	assert.Equal(t, 0.0, v.metric(t, "spillway_vnode_mirror_writes_total", "Claim", "create"), "nothing is created twice")
	assert.Empty(t, cloud.DroppedFields())
}

func TestOtherClaimsAreRefused(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t, cloudtest.EveryAPI)
	v, ns := startOn(t, cloud, hurried)
	claim(t, ns, "disk", volumeOf(t, ns, "disk", "disk.csi.everest.io").Name)
	create(t, ns, claimingPod(v.name(), "web", "disk"))
	got := await(t, ns, "web", hasReason(string(policy.ReasonPersistentVolume)))
	assert.Contains(t, got.Status.Message, "disk.csi.everest.io")
	claims, volumes := storage(t, cloud)
	assert.Zero(t, claims+volumes)
	assert.Empty(t, cloud.PodsEver())
}

func TestARegionWithoutVolumesRunsPodsWithoutClaims(t *testing.T) {
	t.Parallel()
	configured := func(c *Config) { c.Pods.Claims, c.Policy.VolumeKinds = false, nil }
	unpublished := ccisim.Policies{Unpublished: []string{"persistentvolumes", "persistentvolumeclaims"}}
	for name, test := range map[string]struct {
		policies ccisim.Policies
		change   func(*Config)
		reason   string
	}{
		"detected by the virtual node": {ccisim.Policies{NoVolumes: true}, func(*Config) {}, provider.ReasonNotOffered},
		"not known to the gateway":     {unpublished, func(*Config) {}, provider.ReasonNotOffered},
		"configured":                   {ccisim.Policies{NoVolumes: true}, configured, string(translate.ReasonUnsupported)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t, func(c *ccisim.Config) { c.Policies = test.policies })
			v, ns := startOn(t, cloud, hurried, test.change)
			claim(t, ns, "data", volumeOf(t, ns, "data", "nas.csi.everest.io").Name)
			create(t, ns, claimingPod(v.name(), "claims", "data"))
			create(t, ns, podOn(v.name(), "web"))
			await(t, ns, "web", isReady)
			waiting := await(t, ns, "claims", hasReason(test.reason))
			assert.Equal(t, corev1.PodPending, waiting.Status.Phase)
			assert.Len(t, cloud.PodsEver(), 1)
			object := awaitNode(t, v.name(), hasCondition(nodeconditions.Unusable, corev1.ConditionFalse))
			assert.NoError(t, hasCondition(nodeconditions.Denied, corev1.ConditionFalse)(object))
			if test.reason == provider.ReasonNotOffered {
				object = awaitNode(t, v.name(), hasCondition(nodeconditions.Lacking, corev1.ConditionTrue))
				assert.Contains(t, node.FindCondition(object, nodeconditions.Lacking).Message, "volumes and claims")
			}
		})
	}
}
