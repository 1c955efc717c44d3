package contract

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// unlisted are the fields that vnode sends although the public definitions do not list them, and why. A field that is
// not here and not in testdata/fields fails the test, and so does one here that vnode no longer sends. Init containers
// have the fields of containers.
var unlisted = map[string]map[string]string{
	"Pod": {
		"spec.containers.imagePullPolicy": "live users send it, without an error",
		"spec.containers.securityContext": "the providers of the vendor and of OTC know it; it may have no effect",
		"spec.containers.stdinOnce":       "the provider of the vendor sends it",
		"spec.securityContext":            "the providers of the vendor and of OTC know it; it may have no effect",
		"spec.volumes.nfs":                "the providers of the vendor and of OTC know it",
	},
}

// values are objects below which the names of the fields are data: labels, or quantities by resource.
var values = []string{
	"metadata.annotations", "metadata.labels", "data", "binaryData", "spec.capacity", "spec.csi.volumeAttributes",
	"spec.resources.requests", "spec.containers.resources.limits", "spec.containers.resources.requests",
	"spec.initContainers.resources.limits", "spec.initContainers.resources.requests",
}

// fieldPaths returns the paths of all fields of decoded JSON, but not those below the opaque ones. The elements of a
// list have the path of the list.
func fieldPaths(value any, opaque []string) []string {
	var out []string
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case []any:
			for _, item := range v {
				walk(path, item)
			}
		case map[string]any:
			if slices.Contains(opaque, path) {
				return
			}
			for name, below := range v {
				full := strings.TrimPrefix(path+"."+name, ".")
				out = append(out, full)
				walk(full, below)
			}
		}
	}
	walk("", value)
	slices.Sort(out)
	return slices.Compact(out)
}

// Everything that vnode sends is in the public definitions, or has a reason.
func TestSentFieldsAreListedOrHaveAReason(t *testing.T) {
	sent := everythingSent(t)
	files, err := filepath.Glob("testdata/fields/*.txt")
	require.NoError(t, err)
	require.Len(t, files, 8)
	for _, file := range files {
		kind := strings.TrimSuffix(filepath.Base(file), ".txt")
		t.Run(kind, func(t *testing.T) {
			raw, err := os.ReadFile(file)
			require.NoError(t, err)
			listed := strings.Fields(string(raw))
			require.NotEmpty(t, sent[kind], "vnode sends the kind")
			excused := map[string]bool{}
			for _, path := range sent[kind] {
				if slices.Contains(listed, path) {
					continue
				}
				base := strings.Replace(path, "spec.initContainers.", "spec.containers.", 1)
				for base != "" && unlisted[kind][base] == "" {
					base, _ = cutLast(base)
				}
				if assert.NotEmpty(t, base, "%s of a %s is in no public definition: it needs a reason in the table", path, kind) {
					excused[base] = true
				}
			}
			for path, reason := range unlisted[kind] {
				assert.True(t, excused[path], "vnode does not send %s, which has the reason %q", path, reason)
			}
		})
	}
}

// cutLast returns a path without its last element, empty if it has one only.
func cutLast(path string) (parent, last string) {
	i := strings.LastIndex(path, ".")
	if i < 0 {
		return "", path
	}
	return path[:i], path[i+1:]
}

// everythingSent returns the paths of the fields that vnode sends, by kind: those of the translated Pods that vnode's
// own tests keep, and those of all other objects with all fields set.
func everythingSent(t *testing.T) map[string][]string {
	t.Helper()
	bodies := map[string][]any{}
	var mu sync.Mutex
	cloud := cloudtest.New(t)
	recorder := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		raw, err := io.ReadAll(r.Body)
		assert.NoError(t, err)
		var body map[string]any
		if r.Method == http.MethodPost && json.Unmarshal(raw, &body) == nil {
			mu.Lock()
			kind, _ := body["kind"].(string)
			bodies[kind] = append(bodies[kind], body)
			mu.Unlock()
		}
		r.Body = io.NopCloser(bytes.NewReader(raw))
		cloud.Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(recorder.Close)
	config := cloud.Config()
	config.Endpoint = recorder.URL
	sendAll(t, cloudtest.NewClient(t, config))
	sent := map[string][]string{}
	for kind, list := range bodies {
		for _, body := range list {
			sent[kind] = append(sent[kind], fieldPaths(body, values)...)
		}
		slices.Sort(sent[kind])
		sent[kind] = slices.Compact(sent[kind])
	}
	return sent
}

func sendAll(t *testing.T, client *cci.Client) {
	t.Helper()
	ctx := t.Context()
	meta := metav1.ObjectMeta{
		Name: "all", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"a": "b"},
	}
	_, err := client.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: meta})
	require.NoError(t, err)
	network := cloudtest.Network("all")
	network.Annotations = map[string]string{cci.NetworkProjectAnnotation: "p", cci.NetworkDomainAnnotation: "d"}
	_, err = client.CreateNetwork(ctx, "all", network)
	require.NoError(t, err)
	_, err = client.CreateData(ctx, "all", &cci.Data{
		Kind: cci.ConfigMap, ObjectMeta: meta, Text: map[string]string{"a": "b"}, Binary: map[string][]byte{"c": {1}},
	})
	require.NoError(t, err)
	_, err = client.CreateData(ctx, "all", &cci.Data{
		Kind: cci.Secret, ObjectMeta: meta, Binary: map[string][]byte{"a": {1}}, Type: corev1.SecretTypeOpaque,
	})
	require.NoError(t, err)
	size := corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")}
	modes := []corev1.PersistentVolumeAccessMode{corev1.ReadWriteMany}
	_, err = client.CreateVolume(ctx, &cci.PersistentVolume{ObjectMeta: meta, Spec: cci.PersistentVolumeSpec{
		AccessModes: modes, Capacity: size, MountOptions: []string{"ro"}, StorageClassName: "class",
		CSI: &cci.CSIVolume{Driver: "nas.csi.everest.io", VolumeHandle: "share", FSType: "nfs", ReadOnly: true,
			VolumeAttributes: map[string]string{"a": "b"}},
		ClaimRef:      &corev1.ObjectReference{Kind: "PersistentVolumeClaim", Namespace: "all", Name: "all"},
		ReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
	}})
	require.NoError(t, err)
	_, err = client.CreateClaim(ctx, "all", &cci.PersistentVolumeClaim{
		ObjectMeta: meta, Spec: cci.PersistentVolumeClaimSpec{
			AccessModes: modes, Resources: cci.Resources{Requests: size}, StorageClassName: "class", VolumeName: "all",
		},
	})
	require.NoError(t, err)
	_, err = client.CreateSnapshot(ctx, &cci.ImageSnapshot{ObjectMeta: meta, Spec: cci.ImageSnapshotSpec{
		BuildingConfig: cci.SnapshotBuilding{Namespace: "all", TimeoutMinutes: 60}, SizeGiB: 30, TTLDays: 7,
		Images:     []cci.SnapshotImage{{Image: "nginx"}},
		Registries: []cci.SnapshotRegistry{{Server: "docker.io", PullSecret: "imagepull-secret"}},
	}})
	require.NoError(t, err)
	goldens, err := filepath.Glob("../../../vnode/translate/testdata/*.output.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, goldens)
	for _, file := range goldens {
		raw, err := os.ReadFile(file)
		require.NoError(t, err)
		var golden struct {
			Pod *cci.Pod `json:"pod"`
		}
		require.NoError(t, yaml.Unmarshal(raw, &golden), file)
		if golden.Pod == nil {
			continue // The Pod may not burst.
		}
		// The answer does not matter: some Pods refer to what is not there, and some are of CCI 1.0.
		_, _ = client.CreatePod(ctx, "all", golden.Pod)
	}
}
