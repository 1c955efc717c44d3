package identity_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

var owner = identity.Owner{ClusterID: "prod-1", Node: "virtual-node-cci-0"}

func TestAMarkedPodIsRecognized(t *testing.T) {
	key := identity.Key{Namespace: "shop", Name: "web-0", UID: "uid-1"}
	marked := &cci.Pod{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}}}
	owner.Mark(&marked.ObjectMeta, key)
	got, by, ok := identity.OfPod(marked)
	assert.True(t, ok)
	assert.Equal(t, key, got)
	assert.Equal(t, owner, by)
	assert.Equal(t, "web", marked.Labels["app"], "other labels stay")
	selector, err := labels.Parse(owner.Selector())
	assert.NoError(t, err)
	assert.True(t, selector.Matches(labels.Set(marked.Labels)), "the owner's selector finds it")
	selector, err = labels.Parse(identity.ClusterSelector(owner.ClusterID))
	assert.NoError(t, err)
	assert.True(t, selector.Matches(labels.Set(marked.Labels)), "the cluster's selector finds it")

	for _, name := range []string{
		policy.CloudClusterKey, policy.CloudNodeAnnotation,
		policy.CloudNamespaceAnnotation, policy.CloudNameAnnotation, policy.CloudUIDAnnotation,
	} {
		t.Run("without "+name, func(t *testing.T) {
			incomplete := &cci.Pod{ObjectMeta: *marked.DeepCopy()}
			delete(incomplete.Annotations, name)
			_, _, ok := identity.OfPod(incomplete)
			assert.False(t, ok)
		})
	}
}

func TestAProbeIsNotThePodOfAUser(t *testing.T) {
	probe := &cci.Pod{}
	owner.Mark(&probe.ObjectMeta, identity.Key{Namespace: "spillway", Name: "probe", UID: "probe"})
	_, is := identity.OfProbe(probe)
	assert.False(t, is, "not every cloud Pod is a probe")
	owner.MarkProbe(&probe.ObjectMeta)
	by, is := identity.OfProbe(probe)
	assert.True(t, is)
	assert.Equal(t, owner, by)
	assert.Empty(t, validation.IsDNS1123Label(probe.Name))
	_, _, ofUser := identity.OfPod(probe)
	assert.False(t, ofUser)
	_, ours := owner.Owns(probe)
	assert.False(t, ours)
	selector, err := labels.Parse(identity.ClusterSelector(owner.ClusterID))
	assert.NoError(t, err)
	assert.True(t, selector.Matches(labels.Set(probe.Labels)), "cleaning up after a cluster finds it")
	other := identity.Owner{ClusterID: owner.ClusterID, Node: "virtual-node-cci-1"}
	assert.NotEqual(t, probe.Name, other.ProbeName(), "each node has its own")
	probe.Name = "spillway-probe-1"
	_, is = identity.OfProbe(probe)
	assert.False(t, is, "the name must match too")
}

func TestTheKeyOfAPod(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "uid-1"}}
	assert.Equal(t, identity.Key{Namespace: "shop", Name: "web-0", UID: "uid-1"}, identity.KeyOf(pod))
	assert.Equal(t, "shop/web-0/uid-1", identity.KeyOf(pod).String())
	assert.Equal(t, identity.Mirror{Kind: identity.MirrorToken, Namespace: "shop", Name: "web-0", UID: "uid-1"},
		identity.TokenMirror(pod))
	assert.Equal(t, "Token shop/web-0", identity.TokenMirror(pod).String())
}

func TestTokensOfOneAudienceAndLifetimeShareAKey(t *testing.T) {
	hour, day := int64(3600), int64(86400)
	token := func(audience string, seconds *int64) string {
		return identity.TokenKey(corev1.ServiceAccountTokenProjection{Audience: audience, ExpirationSeconds: seconds})
	}
	assert.Equal(t, token("vault", nil), token("vault", &hour), "an hour is the API server's default")
	assert.NotEqual(t, token("vault", &hour), token("vault", &day))
	assert.NotEqual(t, token("vault", nil), token("", nil))
}

func TestAMirrorBelongsToOneOwner(t *testing.T) {
	mirror := identity.Mirror{Kind: identity.MirrorSecret, Namespace: "shop", Name: "password"}
	meta := owner.MirrorMeta(mirror, "uid-1")
	found, ours := owner.OwnsMirror(&meta)
	assert.True(t, ours)
	assert.Equal(t, mirror, found)
	assert.Empty(t, validation.IsDNS1123Label(meta.Name))
	// An updated program finds existing objects by this name: the function must not change.
	assert.Regexp(t, `^shop-password-566be899c6d801f8[0-9a-f]{16}$`, meta.Name)

	names := map[string]bool{meta.Name: true}
	for name, other := range map[string]identity.Owner{
		"another cluster's node of the same name": {ClusterID: "prod-2", Node: owner.Node},
		"another node of the cluster":             {ClusterID: owner.ClusterID, Node: "virtual-node-cci-1"},
	} {
		_, ours := other.OwnsMirror(&meta)
		assert.False(t, ours, name)
		assert.False(t, names[other.MirrorName(mirror)], name)
		names[other.MirrorName(mirror)] = true
	}
	for _, other := range []identity.Mirror{
		{Kind: identity.MirrorConfigMap, Namespace: "shop", Name: "password"},
		{Kind: identity.MirrorSecret, Namespace: "shop-a", Name: "b"},
		{Kind: identity.MirrorSecret, Namespace: "shop", Name: "a-b"},
		{Kind: identity.MirrorToken, Namespace: "shop", Name: "web-0", UID: "1"},
		{Kind: identity.MirrorToken, Namespace: "shop", Name: "web-0", UID: "2"},
	} {
		assert.False(t, names[owner.MirrorName(other)], other)
		names[owner.MirrorName(other)] = true
	}
	short := mirror
	short.Short = true
	old := owner.MirrorMeta(short, "uid-1")
	assert.Equal(t, "shop-password-566be899c6d801f8", old.Name, "the name that earlier versions gave")
	found, ours = owner.OwnsMirror(&old)
	assert.True(t, ours)
	assert.Equal(t, short, found, "it is a mirror of its own")
	stolen := meta.DeepCopy()
	stolen.Name = "other"
	_, ours = owner.OwnsMirror(stolen)
	assert.False(t, ours, "the name must match too")
}

func TestCloudNames(t *testing.T) {
	long := strings.Repeat("long.name-", 30)
	keys := []identity.Key{
		{"default", "web-0", "uid-1"}, {"default", "web-0", "uid-2"}, {"a-b", "c", "uid-1"}, {"a", "b-c", "uid-1"},
		{"default", "my.pod.example.com", "uid-1"}, {long[:63], long[:253], "uid-1"}, {long[:63], long[:253], "uid-2"},
		{"n", "1", ""},
	}
	seen := map[string]identity.Key{}
	for _, key := range keys {
		name := identity.CloudName(key)
		assert.Equal(t, name, identity.CloudName(key), "a name is a function of its key")
		assert.Empty(t, validation.IsDNS1123Label(name), name)
		assert.NotContains(t, seen, name, "%v and %v", key, seen[name])
		seen[name] = key
	}
	// An updated program finds running Pods by this name: the function must not change.
	assert.Equal(t, "default-web-0-98aefe489a552d93", identity.CloudName(keys[0]))
}

func TestLongMirrorNamesAreLabels(t *testing.T) {
	long := strings.Repeat("long.name-", 30)
	first := identity.Mirror{Kind: identity.MirrorSecret, Namespace: long[:63], Name: long[:253]}
	second := identity.Mirror{Kind: identity.MirrorConfigMap, Namespace: long[:63], Name: long[:253]}
	assert.Empty(t, validation.IsDNS1123Label(owner.MirrorName(first)))
	assert.NotEqual(t, owner.MirrorName(first), owner.MirrorName(second))
}

func FuzzCloudName(f *testing.F) {
	f.Add("default", "web", "1")
	f.Fuzz(func(t *testing.T, namespace, name, uid string) {
		if len(validation.IsDNS1123Label(namespace)) > 0 || len(validation.IsDNS1123Subdomain(name)) > 0 {
			return
		}
		assert.Empty(t,
			validation.IsDNS1123Label(identity.CloudName(identity.Key{Namespace: namespace, Name: name, UID: types.UID(uid)})))
	})
}

func TestASnapshotBelongsToOneOwner(t *testing.T) {
	const image = "nginx:1"
	snapshot := func(meta metav1.ObjectMeta, images ...string) *cci.ImageSnapshot {
		s := &cci.ImageSnapshot{ObjectMeta: meta}
		for _, image := range images {
			s.Spec.Images = append(s.Spec.Images, cci.SnapshotImage{Image: image})
		}
		return s
	}
	found, ok := identity.OfSnapshot(snapshot(owner.SnapshotMeta(image), image))
	assert.True(t, ok)
	assert.Equal(t, owner, found)
	assert.Equal(t, "spillway-image-516e9c049cdd05035af0804777fa9e82", owner.SnapshotMeta(image).Name,
		"a new version must find it")
	sibling := identity.Owner{ClusterID: owner.ClusterID, Node: "another"}
	assert.Equal(t, owner.SnapshotMeta(image).Name, sibling.SnapshotMeta(image).Name,
		"two virtual nodes make one snapshot")
	assert.NotEqual(t, owner.SnapshotMeta(image).Name,
		identity.Owner{ClusterID: "other", Node: owner.Node}.SnapshotMeta(image).Name)

	renamed := owner.SnapshotMeta(image)
	renamed.Name = "theirs"
	unmarked := metav1.ObjectMeta{Name: owner.SnapshotMeta(image).Name}
	for name, theirs := range map[string]*cci.ImageSnapshot{
		"another name":      snapshot(renamed, image),
		"another image":     snapshot(owner.SnapshotMeta(image), "nginx:2"),
		"several images":    snapshot(owner.SnapshotMeta(image), image, "nginx:2"),
		"no image":          snapshot(owner.SnapshotMeta(image)),
		"no owner, no mark": snapshot(unmarked, image),
	} {
		_, ok := identity.OfSnapshot(theirs)
		assert.False(t, ok, name)
	}
}
