package facts_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/policy"
)

// follow runs a Source over an API with the objects until the test ends, and returns it with filled caches. changed is
// called after changes of the switch.
func follow(t *testing.T, changed func(), objects ...runtime.Object) (*facts.Source, *fake.Clientset) {
	t.Helper()
	client := fake.NewClientset(objects...)
	source, err := facts.New(client, changed, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	assert.False(t, source.Ready(), "New starts nothing")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
	require.NoError(t, source.WaitReady(t.Context()))
	return source, client
}

// eksConfig is the ConfigMap of the global switch with a value.
func eksConfig(value string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: policy.SwitchConfigMapNamespace, Name: policy.SwitchConfigMapName},
		Data:       map[string]string{policy.SwitchKey: value},
	}
}

func TestTheGlobalSwitchFollowsItsConfigMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		source, client := follow(t, func() { changes++ })
		assert.Equal(t, policy.SwitchUnset, source.Global())
		configMaps := client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
		_, err := configMaps.Create(t.Context(), eksConfig("true"), metav1.CreateOptions{})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, policy.SwitchOn, source.Global())

		_, err = configMaps.Update(t.Context(), eksConfig("maybe"), metav1.UpdateOptions{})
		require.NoError(t, err)
		synctest.Wait()
		assert.Equal(t, policy.SwitchMalformed, source.Global())

		require.NoError(t, configMaps.Delete(t.Context(), policy.SwitchConfigMapName, metav1.DeleteOptions{}))
		synctest.Wait()
		assert.Equal(t, policy.SwitchUnset, source.Global())
		assert.Equal(t, 3, changes)
	})
}

func TestTheGlobalSwitchIsKnownOnceTheSourceIsReady(t *testing.T) {
	source, _ := follow(t, func() {}, eksConfig("false"))
	assert.Equal(t, policy.SwitchOff, source.Global())
}

func TestTheWayHomeFollowsItsConfigMap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		source, client := follow(t, func() { changes++ })
		assert.True(t, source.WayHome(), "nothing stops it")
		configMaps := client.CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
		with := func(value string) *corev1.ConfigMap {
			c := eksConfig("true")
			c.Data[policy.WayHomeSwitch] = value
			return c
		}
		_, err := configMaps.Create(t.Context(), with("false"), metav1.CreateOptions{})
		require.NoError(t, err)
		for _, step := range []struct {
			value string
			want  bool
		}{{"false", false}, {"true", true}, {"maybe", false}} {
			_, err = configMaps.Update(t.Context(), with(step.value), metav1.UpdateOptions{})
			require.NoError(t, err)
			synctest.Wait()
			assert.Equal(t, step.want, source.WayHome(), step.value)
		}
		require.NoError(t, configMaps.Delete(t.Context(), policy.SwitchConfigMapName, metav1.DeleteOptions{}))
		synctest.Wait()
		assert.True(t, source.WayHome())
		assert.Equal(t, 2, changes, "only the global switch affects what is scheduled")
	})
}

func claim(name, volume string, class *string) *corev1.PersistentVolumeClaim {
	return &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: volume, StorageClassName: class},
	}
}

func podWith(claims ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}}
	for _, claim := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	return pod
}

func TestKindsOfClaims(t *testing.T) {
	source, client := follow(t, func() {},
		&corev1.PersistentVolume{
			ObjectMeta: metav1.ObjectMeta{Name: "disk"},
			Spec: corev1.PersistentVolumeSpec{PersistentVolumeSource: corev1.PersistentVolumeSource{
				CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.csi.everest.io"},
			}},
		},
		&storagev1.StorageClass{
			ObjectMeta: metav1.ObjectMeta{Name: "turbo"}, Provisioner: "everest-csi-provisioner",
			Parameters: map[string]string{"csi.storage.k8s.io/csi-driver-name": "sfsturbo.csi.everest.io"},
		},
		claim("bound", "disk", ptr.To("turbo")), claim("waiting", "", ptr.To("turbo")), claim("classless", "", nil),
	)
	assert.Equal(t, map[string]string{"bound": "disk.csi.everest.io", "waiting": "sfsturbo.csi.everest.io"},
		source.Claims(podWith("bound", "waiting", "classless", "missing")))

	found, err := source.FindClaims(t.Context(), podWith("bound", "missing"))
	require.NoError(t, err, "a claim that does not exist is not an error")
	assert.Equal(t, map[string]string{"bound": "disk.csi.everest.io"}, found)

	client.PrependReactor("get", "persistentvolumeclaims", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("unavailable")
	})
	_, err = source.FindClaims(t.Context(), podWith("missing"))
	require.ErrorContains(t, err, "claim default/missing: unavailable")
}

func TestWaitReadyEndsWithItsContext(t *testing.T) {
	source, err := facts.New(fake.NewClientset(), func() {}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, source.WaitReady(ctx), context.Canceled)
}

func TestTheAnnotationsOfANamespace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		changes := 0
		source, client := follow(t, func() { changes++ })
		_, err := source.Namespace("shop")
		require.ErrorContains(t, err, `looking up the annotations of namespace shop: namespace "shop" not found`)

		shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}
		namespaces := client.CoreV1().Namespaces()
		_, err = namespaces.Create(t.Context(), shop, metav1.CreateOptions{})
		require.NoError(t, err)
		for i, annotations := range []map[string]string{
			{policy.CloudLimitsAnnotation: "pods=1"},
			{policy.CloudLimitsAnnotation: "pods=1", "field.example/of-another": "controller"},
			{policy.CloudLimitsAnnotation: "pods=2"},
			nil,
		} {
			shop = shop.DeepCopy()
			shop.Annotations = annotations
			_, err = namespaces.Update(t.Context(), shop, metav1.UpdateOptions{})
			require.NoError(t, err)
			synctest.Wait()
			got, err := source.Namespace("shop")
			require.NoError(t, err)
			assert.Equal(t, annotations, got)
			assert.Equal(t, []int{1, 1, 2, 3}[i], changes, "only Spillway's annotations are reported")
		}
	})
}
