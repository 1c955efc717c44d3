package cci_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

func data(kind cci.DataKind, name string) *cci.Data {
	d := &cci.Data{
		Kind: kind, ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Binary: map[string][]byte{"binary": {0, 1, 2}},
	}
	if kind == cci.ConfigMap {
		d.Text = map[string]string{"text": "ümläut"}
	}
	return d
}

func TestDataIsCreatedListedUpdatedAndDeleted(t *testing.T) {
	inBothForms(t, dataIsCreatedListedUpdatedAndDeleted)
}

func dataIsCreatedListedUpdatedAndDeleted(t *testing.T, form func(*ccisim.Config)) {
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		t.Run(string(kind), func(t *testing.T) {
			cloud := cloudtest.NewWithNetwork(t, form, noPreconditions)
			ctx, client, ns := t.Context(), cloud.Client, cloudtest.Namespace
			_, err := client.GetData(ctx, ns, kind, "a")
			require.True(t, cci.IsNotFound(err), "%v", err)
			for i := range 5 {
				_, err := client.CreateData(ctx, ns, data(kind, fmt.Sprintf("a-%d", i)))
				require.NoError(t, err)
			}
			_, err = client.CreateData(ctx, ns, data(kind, "a-0"))
			assert.True(t, cci.IsTaken(err), "%v", err)

			var names []string
			options := cci.ListOptions{LabelSelector: "app=web", Limit: 2}
			for {
				page, err := client.ListData(ctx, ns, kind, options)
				require.NoError(t, err)
				for _, item := range page.Items {
					names = append(names, item.Name)
					assert.Equal(t, data(kind, "").Text, item.Text)
					assert.Equal(t, data(kind, "").Binary, item.Binary)
				}
				if options.Continue = page.Continue; options.Continue == "" {
					break
				}
			}
			assert.Equal(t, []string{"a-0", "a-1", "a-2", "a-3", "a-4"}, names)

			found, err := client.GetData(ctx, ns, kind, "a-0")
			require.NoError(t, err)
			stale := *found
			found.Binary = map[string][]byte{"other": []byte("x")}
			updated, err := client.UpdateData(ctx, ns, found)
			require.NoError(t, err)
			assert.Equal(t, found.Binary, updated.Binary, "the whole object is replaced")
			_, err = client.UpdateData(ctx, ns, &stale)
			assert.True(t, cci.IsConflict(err), "a stale resourceVersion: %v", err)

			err = client.DeleteData(ctx, ns, kind, "a-0", cci.DeleteOptions{UID: "another"})
			assert.True(t, cci.IsConflict(err), "another UID: %v", err)
			require.NoError(t, client.DeleteData(ctx, ns, kind, "a-0", cci.DeleteOptions{UID: updated.UID}))
			_, err = client.UpdateData(ctx, ns, updated)
			assert.True(t, cci.IsNotFound(err), "it is gone: %v", err)
			assert.True(t, cci.IsNotFound(client.DeleteData(ctx, ns, kind, "a-0", cci.DeleteOptions{})))
			assert.Empty(t, cloud.DroppedFields())
		})
	}
}

func volume(name string) *cci.PersistentVolume {
	return &cci.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: cci.PersistentVolumeSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Capacity:         corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")},
			CSI:              &cci.CSIVolume{Driver: "nas.csi.everest.io", VolumeHandle: "share-" + name},
			ReclaimPolicy:    corev1.PersistentVolumeReclaimRetain,
			StorageClassName: "csi-nas",
		},
	}
}

func claim(name, volume string) *cci.PersistentVolumeClaim {
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("10Gi")}
	return &cci.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: cci.PersistentVolumeClaimSpec{
			AccessModes:      []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany},
			Resources:        cci.Resources{Requests: size},
			StorageClassName: "csi-nas", VolumeName: volume,
		},
	}
}

func TestVolumesAndClaims(t *testing.T) { inBothForms(t, volumesAndClaims) }

func volumesAndClaims(t *testing.T, form func(*ccisim.Config)) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI, form, noPreconditions)
	ctx, client, ns := t.Context(), cloud.Client, cloudtest.Namespace
	_, err := client.GetVolume(ctx, "v")
	require.True(t, cci.IsNotFound(err), "%v", err)
	created, err := client.CreateVolume(ctx, volume("v"))
	require.NoError(t, err)
	_, err = client.CreateVolume(ctx, volume("v"))
	assert.True(t, cci.IsTaken(err), "%v", err)
	found, err := client.GetVolume(ctx, "v")
	require.NoError(t, err)
	assert.Equal(t, created.Spec, found.Spec)
	volumes, err := client.ListVolumes(ctx, cci.ListOptions{LabelSelector: "app=web", Limit: 1})
	require.NoError(t, err)
	assert.Len(t, volumes, 1)

	_, err = client.GetClaim(ctx, ns, "c")
	require.True(t, cci.IsNotFound(err), "%v", err)
	for _, name := range []string{"c", "d", "e"} {
		_, err = client.CreateClaim(ctx, ns, claim(name, "v"))
		require.NoError(t, err)
	}
	claims, err := client.ListClaims(ctx, ns, cci.ListOptions{LabelSelector: "app=web", Limit: 2})
	require.NoError(t, err)
	assert.Len(t, claims, 3, "all pages are read")
	require.Eventually(t, func() bool {
		bound, err := client.GetClaim(ctx, ns, "c")
		return err == nil && bound.Status.Phase == corev1.ClaimBound
	}, cloudtest.Timeout, cloudtest.Tick)

	assert.True(t, cci.IsConflict(client.DeleteClaim(ctx, ns, "c", cci.DeleteOptions{UID: "another"})))
	for _, c := range claims {
		require.NoError(t, client.DeleteClaim(ctx, ns, c.Name, cci.DeleteOptions{UID: c.UID}))
	}
	assert.True(t, cci.IsConflict(client.DeleteVolume(ctx, "v", cci.DeleteOptions{UID: "another"})))
	require.NoError(t, client.DeleteVolume(ctx, "v", cci.DeleteOptions{UID: created.UID}))
	require.Eventually(t, func() bool {
		return cci.IsNotFound(client.DeleteVolume(ctx, "v", cci.DeleteOptions{}))
	}, cloudtest.Timeout, cloudtest.Tick)
	assert.Empty(t, cloud.DroppedFields())
}

func TestNamespaceContentsAndDeletion(t *testing.T) {
	for _, version := range []policy.CCIVersion{policy.CCI2, policy.CCI1} {
		t.Run(string(version), func(t *testing.T) {
			cloud := cloudtest.New(t, noPreconditions).In(t, version)
			ctx, client, ns := t.Context(), cloud.Client, cloudtest.Namespace
			_, err := client.NamespaceContents(ctx, ns)
			require.True(t, cci.IsNotFound(err), "%v", err)
			cloud.CreateCloudNamespace(t)
			contents, err := client.NamespaceContents(ctx, ns)
			require.NoError(t, err)
			assert.Empty(t, contents, "objects of the service and networks are left out")
			_, err = client.CreatePod(ctx, ns, pod1("web", "nginx"))
			require.NoError(t, err)
			_, err = client.CreateData(ctx, ns, data(cci.Secret, "keys"))
			require.NoError(t, err)
			_, err = client.CreateData(ctx, ns, data(cci.ConfigMap, "settings"))
			require.NoError(t, err)
			contents, err = client.NamespaceContents(ctx, ns)
			require.NoError(t, err)
			var names []string
			for _, object := range contents {
				names = append(names, object.String())
			}
			assert.ElementsMatch(t, []string{"pods web", "secrets keys", "configmaps settings"}, names)

			assert.True(t, cci.IsConflict(client.DeleteNamespace(ctx, ns, cci.DeleteOptions{UID: "another"})))
			require.NoError(t, client.DeleteNamespace(ctx, ns, cci.DeleteOptions{}))
			require.Eventually(t, func() bool {
				_, err := client.GetNamespace(ctx, ns)
				return cci.IsNotFound(err)
			}, cloudtest.Timeout, cloudtest.Tick, "the contents are deleted with the namespace")
			assert.True(t, cci.IsNotFound(client.DeleteNamespace(ctx, ns, cci.DeleteOptions{})))
		})
	}
}

func TestErrorOfOneResourceIsAnErrorOfTheContents(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t)
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.ServerError, Status: 403, Path: "secrets$"})
	_, err := cloud.Client.NamespaceContents(t.Context(), cloudtest.Namespace)
	assert.ErrorContains(t, err, "listing secrets of cloud namespace "+cloudtest.Namespace)
}

func TestObjectsOfAPod(t *testing.T) {
	named := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	spec := cci.PodSpec{
		ImagePullSecrets: []corev1.LocalObjectReference{named("pull")},
		InitContainers: []cci.Container{{EnvFrom: []corev1.EnvFromSource{
			{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: named("env-from")}},
			{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: named("env-from")}},
		}}},
		Containers: []cci.Container{{Env: []corev1.EnvVar{
			{Name: "LITERAL", Value: "x"},
			{Name: "A", ValueFrom: &corev1.EnvVarSource{
				ConfigMapKeyRef: &corev1.ConfigMapKeySelector{LocalObjectReference: named("env"), Key: "k"},
			}},
			{Name: "B", ValueFrom: &corev1.EnvVarSource{
				SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: named("pull"), Key: "k"},
			}},
		}}},
		Volumes: []cci.Volume{
			{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: named("volume")}},
			{Secret: &corev1.SecretVolumeSource{SecretName: "volume"}},
			{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}},
			{Projected: &cci.ProjectedVolume{Sources: []cci.Projection{
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: named("projected")}},
				{Secret: &corev1.SecretProjection{LocalObjectReference: named("projected")}},
			}}},
		},
	}
	assert.Equal(t, []cci.Object{
		{Kind: cci.ConfigMapObject, Name: "env"},
		{Kind: cci.ConfigMapObject, Name: "env-from"},
		{Kind: cci.ConfigMapObject, Name: "projected"},
		{Kind: cci.ConfigMapObject, Name: "volume"},
		{Kind: cci.ClaimObject, Name: "claim"},
		{Kind: cci.SecretObject, Name: "env-from"},
		{Kind: cci.SecretObject, Name: "projected"},
		{Kind: cci.SecretObject, Name: "pull"},
		{Kind: cci.SecretObject, Name: "volume"},
	}, spec.Objects())
}

func TestInvalidExecConfiguration(t *testing.T) {
	config := cloudtest.New(t).Config()
	config.Exec = cci.ExecConfig{Handshake: "other", KeepAlive: -time.Second, IAMEndpoint: "iam"}
	_, err := cci.New(config)
	for _, text := range []string{
		`cci.exec.handshake: Unsupported value: "other"`, `cci.exec.keepAlive: Invalid value: "-1s"`,
		`cci.iamEndpoint: Invalid value: "iam"`,
	} {
		assert.ErrorContains(t, err, text)
	}
}

func snapshot(name string) *cci.ImageSnapshot {
	return &cci.ImageSnapshot{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: cci.ImageSnapshotSpec{
			BuildingConfig: cci.SnapshotBuilding{Namespace: cloudtest.Namespace, TimeoutMinutes: 60}, SizeGiB: 30, TTLDays: 7,
			Images:     []cci.SnapshotImage{{Image: "nginx:1"}},
			Registries: []cci.SnapshotRegistry{{Server: "docker.io", PullSecret: "imagepull-secret"}},
		},
	}
}

func TestImageSnapshots(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, cloudtest.EveryAPI, noPreconditions,
		func(c *ccisim.Config) { c.Policies.Fields = ccisim.RefuseFields })
	ctx, client := t.Context(), cloud.Client
	_, err := client.GetSnapshot(ctx, "s")
	require.True(t, cci.IsNotFound(err), "%v", err)
	created, err := client.CreateSnapshot(ctx, snapshot("s"))
	require.NoError(t, err)
	assert.True(t, created.IsMade())
	_, err = client.CreateSnapshot(ctx, snapshot("s"))
	require.True(t, cci.IsTaken(err), "%v", err)
	require.Eventually(t, func() bool {
		found, err := client.GetSnapshot(ctx, "s")
		return err == nil && found.IsAvailable()
	}, cloudtest.Timeout, cloudtest.Tick)
	found, err := client.ListSnapshots(ctx, cci.ListOptions{LabelSelector: "app=web", Limit: 1})
	require.NoError(t, err)
	require.Len(t, found, 1)
	assert.Equal(t, snapshot("s").Spec, found[0].Spec)
	found, err = client.ListSnapshots(ctx, cci.ListOptions{LabelSelector: "app=other"})
	require.NoError(t, err)
	assert.Empty(t, found)
	assert.True(t, cci.IsConflict(client.DeleteSnapshot(ctx, "s", cci.DeleteOptions{UID: "another"})))
	require.NoError(t, client.DeleteSnapshot(ctx, "s", cci.DeleteOptions{UID: created.UID}))
	require.Eventually(t, func() bool {
		return cci.IsNotFound(client.DeleteSnapshot(ctx, "s", cci.DeleteOptions{}))
	}, cloudtest.Timeout, cloudtest.Tick)
}

func TestRegionWithoutVolumes(t *testing.T) {
	cloud := cloudtest.NewWithNetwork(t, func(c *ccisim.Config) { c.Policies.NoVolumes = true })
	_, err := cloud.Client.CreateVolume(t.Context(), volume("v"))
	assert.True(t, cci.IsNotOffered(err), "%v", err)
	_, err = cloud.Client.NamespaceContents(t.Context(), cloudtest.Namespace)
	assert.NoError(t, err, "a resource that the region does not have is left out")
}

// An update replaces the whole object. What this client does not know of it must stay.
func TestAChangeKeepsTheRestOfTheNetwork(t *testing.T) {
	const network = `{"kind":"Network","apiVersion":"yangtse/v2","metadata":{"name":"net","resourceVersion":"7",` +
		`"generation":9007199254740993,"annotations":{"a":"1","b":"2"}},` +
		`"spec":{"other":{"a":1.10},"subnets":[{"subnetID":"a","tag":"x"}]},` +
		`"status":{"status":"Ready"}}`
	var sent []string
	client := lied(t, func(r *http.Request) (int, io.Reader) {
		if r.Method == http.MethodPut {
			body, err := io.ReadAll(r.Body)
			assert.NoError(t, err)
			sent = append(sent, string(body))
		}
		return http.StatusOK, strings.NewReader(network)
	})
	change := cci.NetworkChange{
		Subnets:     []cci.Subnet{{SubnetID: "a"}, {SubnetID: "b"}},
		Annotations: map[string]string{"a": "", "c": "3"},
	}
	require.NoError(t, client.UpdateNetwork(t.Context(), "ns", "net", change))
	require.Len(t, sent, 1)
	assert.JSONEq(t, `{"kind":"Network","apiVersion":"yangtse/v2","metadata":{"name":"net","resourceVersion":"7",`+
		`"generation":9007199254740993,"annotations":{"b":"2","c":"3"}},`+
		`"spec":{"other":{"a":1.10},"subnets":[{"subnetID":"a","tag":"x"},{"subnetID":"b"}]}}`, sent[0])
	assert.Contains(t, sent[0], "9007199254740993", "no number is rounded")
	require.NoError(t, client.UpdateNetwork(t.Context(), "ns", "net", cci.NetworkChange{
		Subnets: change.Subnets[:1], Annotations: map[string]string{"a": "1", "d": ""},
	}))
	assert.Len(t, sent, 1, "nothing is to be changed")
	for name, answer := range map[string]string{
		"another spec": `{"spec":[]}`, "other subnets": `{"spec":{"subnets":"a"}}`, "other metadata": `{"metadata":"a"}`,
		"other annotations": `{"metadata":{"annotations":[]}}`, "an annotation": `{"metadata":{"annotations":{"a":1}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			liar := lied(t, func(*http.Request) (int, io.Reader) { return http.StatusOK, strings.NewReader(answer) })
			err := liar.UpdateNetwork(t.Context(), "ns", "net", change)
			assert.True(t, cci.IsTransient(err), "%v", err)
		})
	}
}
