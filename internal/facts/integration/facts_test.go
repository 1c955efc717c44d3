// Package integration tests facts on a real API server.
package integration

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/internal/facts"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// client is a client of a real API server without controllers: nothing changes what a test creates.
var client kubernetes.Interface

// timeout is how long a test waits for an event.
const timeout = 30 * time.Second

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(m, system.Config{
		Shape: system.Shape{LocalCPU: "1", LocalMemory: "1Gi"},
		Without: []string{
			system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode",
		},
	}, func(_ context.Context, s *system.System) error {
		client = s.Client()
		return nil
	}))
}

// follow runs a Source until the test ends; changes counts its calls.
func follow(t *testing.T, logger *slog.Logger) (source *facts.Source, changes *atomic.Int64) {
	t.Helper()
	changes = new(atomic.Int64)
	source, err := facts.New(client, func() { changes.Add(1) }, logger)
	require.NoError(t, err)
	assert.False(t, source.Ready(), "New starts nothing")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-done)
	})
	waiting, stop := context.WithTimeout(t.Context(), timeout)
	defer stop()
	require.NoError(t, source.WaitReady(waiting))
	return source, changes
}

// text is a log that may be read while it is written.
type text struct {
	mu  sync.Mutex
	all bytes.Buffer
}

func (l *text) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

func (l *text) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.String()
}

func TestGlobalFollowsTheConfigMap(t *testing.T) {
	var log text
	source, changes := follow(t, slog.New(slog.NewTextHandler(&log, nil)))
	require.Equal(t, policy.SwitchUnset, source.Global(), "no ConfigMap")
	require.Zero(t, changes.Load(), "nothing has changed")

	configMaps := client.CoreV1().ConfigMaps("kube-system")
	write := func(data map[string]string) func() error {
		return func() error {
			configMap := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "eks-config"}, Data: data}
			if _, err := configMaps.Update(t.Context(), configMap, metav1.UpdateOptions{}); err == nil {
				return nil
			}
			_, err := configMaps.Create(t.Context(), configMap, metav1.CreateOptions{})
			return err
		}
	}
	remove := func() error { return configMaps.Delete(t.Context(), "eks-config", metav1.DeleteOptions{}) }

	for i, step := range []struct {
		why  string
		do   func() error
		want policy.Switch
	}{
		{"the ConfigMap comes with the switch on", write(map[string]string{"AUTO_SCALE_EKS": "true"}), policy.SwitchOn},
		{"it is turned off", write(map[string]string{"AUTO_SCALE_EKS": "false"}), policy.SwitchOff},
		{"the key goes", write(map[string]string{"OTHER": "false"}), policy.SwitchUnset},
		{"it becomes invalid", write(map[string]string{"AUTO_SCALE_EKS": "maybe"}), policy.SwitchMalformed},
		{"the ConfigMap goes", remove, policy.SwitchUnset},
	} {
		require.NoError(t, step.do(), step.why)
		require.Eventually(t, func() bool { return source.Global() == step.want }, timeout, 5*time.Millisecond, step.why)
		require.Eventually(
			t,
			func() bool { return changes.Load() == int64(i+1) },
			timeout,
			5*time.Millisecond,
			"%s: there is one call",
			step.why,
		)
	}
	assert.Contains(
		t,
		log.String(),
		`AUTO_SCALE_EKS: invalid value \"maybe\": must be \"true\" or \"false\"`,
		"the message is logged",
	)

	// Another ConfigMap, and a ConfigMap of that name in another namespace, have no effect.
	for _, other := range []metav1.ObjectMeta{
		{Name: "other", Namespace: "kube-system"}, {Name: "eks-config", Namespace: "default"},
	} {
		_, err := client.CoreV1().ConfigMaps(
			other.Namespace,
		).Create(
			t.Context(),
			&corev1.ConfigMap{ObjectMeta: other, Data: map[string]string{"AUTO_SCALE_EKS": "false"}},
			metav1.CreateOptions{},
		)
		require.NoError(t, err)
	}
	require.NoError(t, write(map[string]string{"AUTO_SCALE_EKS": "true"})())
	require.Eventually(t, func() bool { return source.Global() == policy.SwitchOn }, timeout, 5*time.Millisecond)
	require.Eventually(
		t,
		func() bool { return changes.Load() == 6 },
		timeout,
		5*time.Millisecond,
		"only the switch causes a call",
	)
}

func TestGlobalIsKnownOnceReady(t *testing.T) {
	configMap := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "eks-config"},
		Data:       map[string]string{"AUTO_SCALE_EKS": "false"},
	}
	_, err := client.CoreV1().ConfigMaps("kube-system").Update(t.Context(), configMap, metav1.UpdateOptions{})
	if err != nil {
		_, err = client.CoreV1().ConfigMaps("kube-system").Create(t.Context(), configMap, metav1.CreateOptions{})
	}
	require.NoError(t, err)
	source, _ := follow(t, slog.New(slog.DiscardHandler))
	assert.Equal(t, policy.SwitchOff, source.Global(), "a switch that is off is never seen as on")
}

func TestClaims(t *testing.T) {
	for name, class := range map[string]storagev1.StorageClass{
		"csi-sfsturbo": {
			Provisioner: "everest-csi-provisioner",
			Parameters:  map[string]string{"csi.storage.k8s.io/csi-driver-name": "sfsturbo.csi.everest.io"},
		},
		"juicefs": {Provisioner: "juicefs.csi.everest.io"},
	} {
		class.Name = name
		_, err := client.StorageV1().StorageClasses().Create(t.Context(), &class, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	createVolume(
		t,
		"disk-1",
		corev1.PersistentVolumeSource{
			CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk.csi.everest.io", VolumeHandle: "1"},
		},
	)
	createVolume(t, "nfs-1", corev1.PersistentVolumeSource{NFS: &corev1.NFSVolumeSource{Server: "10.0.0.1", Path: "/"}})
	turbo, juicefs, none := "csi-sfsturbo", "juicefs", "none"
	createClaim(t, "bound", "disk-1", &turbo)
	createClaim(t, "static", "nfs-1", nil)
	createClaim(t, "waiting", "", &turbo)
	createClaim(t, "other-driver", "", &juicefs)
	createClaim(t, "lost", "disk-2", nil)
	createClaim(t, "no-class", "", nil)
	createClaim(t, "class-missing", "", &none)
	source, _ := follow(t, slog.New(slog.DiscardHandler))

	cases := map[string]struct{ claim, want string }{
		"a bound claim is its volume's driver, whatever its class": {"bound", "disk.csi.everest.io"},
		"a volume without a driver is the name of its source":      {"static", "nfs"},
		"a waiting claim is the driver that its class names":       {"waiting", "sfsturbo.csi.everest.io"},
		"a class without that parameter is its provisioner":        {"other-driver", "juicefs.csi.everest.io"},
		"a volume that does not exist":                             {"lost", ""},
		"no volume and no class":                                   {"no-class", ""},
		"a class that does not exist":                              {"class-missing", ""},
		"a claim that does not exist":                              {"nowhere", ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			want := map[string]string{}
			if tc.want != "" {
				want[tc.claim] = tc.want
			}
			assert.Equal(t, want, source.Claims(podWith("default", tc.claim)))
		})
	}
	assert.Equal(
		t,
		map[string]string{"bound": "disk.csi.everest.io", "static": "nfs"},
		source.Claims(podWith("default", "bound", "static", "lost")),
	)
	assert.Empty(t, source.Claims(podWith("kube-system", "bound")), "a claim belongs to a namespace")
	assert.Nil(t, source.Claims(podWith("default")))
}

func TestClaimsOfEphemeralVolumesAreAreThoseOfTheTemplateUntilTheyExist(t *testing.T) {
	class := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "scratch"}, Provisioner: "nas.csi.everest.io"}
	_, err := client.StorageV1().StorageClasses().Create(t.Context(), &class, metav1.CreateOptions{})
	require.NoError(t, err)
	source, _ := follow(t, slog.New(slog.DiscardHandler))
	ephemeral := func(class *string) *corev1.Pod {
		template := &corev1.PersistentVolumeClaimTemplate{Spec: corev1.PersistentVolumeClaimSpec{StorageClassName: class}}
		pod := podWith("default")
		pod.Spec.Volumes = []corev1.Volume{
			{
				Name:         "tmp",
				VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: template}},
			},
		}
		return pod
	}
	kind := func(pod *corev1.Pod) string { return source.Claims(pod)["web-tmp"] }
	assert.Equal(t, "nas.csi.everest.io", kind(ephemeral(&class.Name)))
	assert.Empty(t, kind(ephemeral(new("none"))), "a class that does not exist")
	assert.Empty(t, kind(ephemeral(nil)), "there is no default class")
	found, err := source.FindClaims(t.Context(), ephemeral(&class.Name))
	require.NoError(t, err)
	assert.Equal(t, map[string]string{"web-tmp": "nas.csi.everest.io"}, found)

	// The default class is for claims without a class name; an empty name means no class.
	byDefault := storagev1.StorageClass{
		Provisioner: "disk.csi.everest.io",
		ObjectMeta: metav1.ObjectMeta{
			Name: "default", Annotations: map[string]string{"storageclass.kubernetes.io/is-default-class": "true"},
		},
	}
	_, err = client.StorageV1().StorageClasses().Create(t.Context(), &byDefault, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(
			t,
			client.StorageV1().StorageClasses().Delete(context.Background(), byDefault.Name, metav1.DeleteOptions{}),
		)
	})
	require.Eventually(
		t,
		func() bool { return kind(ephemeral(nil)) == byDefault.Provisioner },
		timeout,
		5*time.Millisecond,
	)
	assert.Empty(t, kind(ephemeral(new(""))))

	// Once the claim exists, it counts instead of the template in the Pod.
	createClaim(t, "web-tmp", "", &class.Name)
	require.Eventually(
		t,
		func() bool { return kind(ephemeral(new("none"))) == "nas.csi.everest.io" },
		timeout,
		5*time.Millisecond,
	)
}

func TestClaimsThatAreNotInTheCacheAreRequested(t *testing.T) {
	class := storagev1.StorageClass{ObjectMeta: metav1.ObjectMeta{Name: "late"}, Provisioner: "nas.csi.everest.io"}
	_, err := client.StorageV1().StorageClasses().Create(t.Context(), &class, metav1.CreateOptions{})
	require.NoError(t, err)
	source, err := facts.New(client, func() {}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- source.Run(ctx) }()
	require.NoError(t, source.WaitReady(ctx))
	cancel() // From here on its caches stall.
	require.NoError(t, <-done)
	createClaim(t, "late", "", &class.Name)
	pod := podWith("default", "late", "nowhere")

	assert.Empty(t, source.Claims(pod))
	found, err := source.FindClaims(t.Context(), pod)
	require.NoError(t, err)
	assert.Equal(
		t,
		map[string]string{"late": "nas.csi.everest.io"},
		found,
		"a claim that does not exist is not an error",
	)
	found, err = source.FindClaims(t.Context(), podWith("default"))
	require.NoError(t, err)
	assert.Nil(t, found)
	_, err = source.FindClaims(ctx, pod)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "looking up claim default/late")
}

func TestWaitReadyEndsWithItsContext(t *testing.T) {
	source, err := facts.New(client, func() {}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err = source.WaitReady(ctx)
	require.ErrorIs(t, err, context.Canceled)
	assert.ErrorContains(t, err, "waiting for the caches")
}

func createVolume(t *testing.T, name string, source corev1.PersistentVolumeSource) {
	t.Helper()
	volume := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.PersistentVolumeSpec{
		AccessModes: []corev1.PersistentVolumeAccessMode{
			corev1.ReadWriteMany,
		},
		Capacity:               oneGi(),
		PersistentVolumeSource: source,
	}}
	_, err := client.CoreV1().PersistentVolumes().Create(t.Context(), volume, metav1.CreateOptions{})
	require.NoError(t, err)
}

func createClaim(t *testing.T, name, volume string, class *string) {
	t.Helper()
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PersistentVolumeClaimSpec{
			AccessModes: []corev1.PersistentVolumeAccessMode{
				corev1.ReadWriteMany,
			},
			Resources:        corev1.VolumeResourceRequirements{Requests: oneGi()},
			VolumeName:       volume,
			StorageClassName: class,
		},
	}
	_, err := client.CoreV1().PersistentVolumeClaims("default").Create(t.Context(), claim, metav1.CreateOptions{})
	require.NoError(t, err)
}

func oneGi() corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
}

func podWith(namespace string, claims ...string) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: namespace}}
	for _, claim := range claims {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: claim, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: claim},
		}})
	}
	return pod
}
