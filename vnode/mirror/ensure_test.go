package mirror

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

func TestSourcesAreCopied(t *testing.T) {
	for name, test := range map[string]struct {
		source runtime.Object
		ref    func(*corev1.Pod)
		mirror identity.Mirror
		want   cci.Data
	}{
		"a ConfigMap": {
			&corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}, Immutable: new(true),
				Data: map[string]string{"a": "1"}, BinaryData: map[string][]byte{"b": {0xff}},
			},
			configMapRef("settings", false, "a", "b"), mirrorOf(identity.MirrorConfigMap, "settings"),
			cci.Data{Text: map[string]string{"a": "1"}, Binary: map[string][]byte{"b": {0xff}}},
		},
		"a Secret": {
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password"}, Data: map[string][]byte{"a": []byte("x")},
			},
			secretRef("password"), mirrorOf(identity.MirrorSecret, "password"),
			cci.Data{Binary: map[string][]byte{"a": []byte("x")}, Type: corev1.SecretTypeOpaque},
		},
		"a Secret whose type only an API server checks": {
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "password"}, Type: corev1.SecretTypeTLS,
				Data: map[string][]byte{"tls.crt": []byte("x")},
			},
			secretRef("password"), mirrorOf(identity.MirrorSecret, "password"),
			cci.Data{Binary: map[string][]byte{"tls.crt": []byte("x")}, Type: corev1.SecretTypeOpaque},
		},
		"a Secret that images are pulled with": {
			&corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "registry"}, Type: corev1.SecretTypeDockerConfigJson,
				Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")},
			},
			func(pod *corev1.Pod) { pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}} },
			mirrorOf(identity.MirrorSecret, "registry"),
			cci.Data{
				Binary: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")}, Type: corev1.SecretTypeDockerConfigJson,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.add(test.source)
			h.ensures(h.put(newPod("web", test.ref)))
			got := h.copyOf(test.mirror)
			require.NotNil(t, got)
			assert.Equal(t, test.want.Text, got.Text)
			assert.Equal(t, test.want.Binary, got.Binary)
			assert.Equal(t, test.want.Type, got.Type)
			found, ours := owner.OwnsMirror(&got.ObjectMeta)
			assert.True(t, ours, "the copy has the marks of its owner")
			assert.Equal(t, test.mirror, found)

			h.ensures(newPod("second", test.ref))
			assert.Equal(t, 1, h.cloud.calls["create"], "an unchanged source causes no write")
			assert.Zero(t, h.cloud.calls["update"])
		})
	}
}

func TestAnObjectThatAPodNeedsIsMissing(t *testing.T) {
	forbidden := apierrors.NewForbidden(corev1.Resource("configmaps"), "settings", errors.New("no"))
	for name, test := range map[string]struct {
		change  func(*corev1.Pod)
		err     error
		want    string
		missing bool
	}{
		"a ConfigMap": {configMapRef("other", false), nil, `configmap "other" not found`, true},
		"a Secret":    {secretRef("other"), nil, `secret "other" not found`, true},
		"a key": {
			configMapRef("settings", false, "b"), nil, "couldn't find key b in ConfigMap default/settings", true,
		},
		"an optional ConfigMap": {configMapRef("other", true), nil, "", false},
		"an optional key":       {configMapRef("settings", true, "b"), nil, "", false},
		"a service account": {
			tokenOf("missing"), nil, `serviceaccount "missing" not found`, true,
		},
		"a claim":                 {claimRef("data"), nil, `persistentvolumeclaim "data" not found`, true},
		"a permission":            {configMapRef("settings", false), forbidden, "reading ConfigMap default/settings", false},
		"a permission for tokens": {tokenOf("broken"), nil, "requesting a token of", false},
		"the Pod, for tokens":     {tokenOf("new"), nil, "requesting a token of", false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.addConfigMap("settings", map[string]string{"a": "1"})
			if test.err != nil {
				h.cluster.PrependReactor("get", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
					return true, nil, test.err
				})
			}
			pod := h.put(newPod("web", test.change))
			if test.want == "" {
				h.ensures(pod)
				return
			}
			err := h.ensureFails(pod)
			assert.ErrorContains(t, err, test.want)
			_, isMissing := errors.AsType[*Missing](err)
			assert.Equal(t, test.missing, isMissing)
		})
	}
}

func TestEnsureReadsTheSourceAfterThePodCame(t *testing.T) {
	h := newHarness(t)
	object := h.addConfigMap("settings", map[string]string{"a": "1"})
	pod := h.put(newPod("web", configMapRef("settings", false, "a")))
	h.ensures(pod)
	object.Data = map[string]string{"a": "2"}
	h.updateConfigMap(object)
	require.NoError(t, h.Ensure(t.Context(), pod), "the source was read at this time already")
	assert.Equal(t, "1", h.copyOf(mirrorOf(identity.MirrorConfigMap, "settings")).Text["a"])
	h.ensures(newPod("second", configMapRef("settings", false, "a")))
	assert.Equal(t, "2", h.copyOf(mirrorOf(identity.MirrorConfigMap, "settings")).Text["a"])
	assert.Equal(t, 1, h.cloud.calls["update"])
}

func TestAnUpdateKeepsTheMetadataOfTheService(t *testing.T) {
	h := newHarness(t)
	mirror := mirrorOf(identity.MirrorConfigMap, "settings")
	meta := owner.MirrorMeta(mirror, "source-settings")
	meta.Annotations["service"] = "kept"
	h.createCopy(meta, cci.ConfigMap, map[string]string{"a": "old"})
	h.lists()
	h.addConfigMap("settings", map[string]string{"a": "new"})
	h.ensures(h.put(newPod("web", configMapRef("settings", false, "a"))))
	got := h.copyOf(mirror)
	assert.Equal(t, "new", got.Text["a"])
	assert.Equal(t, "kept", got.Annotations["service"])
	assert.Zero(t, h.cloud.calls["create"])
}

func TestAnExistingCopyIsAdopted(t *testing.T) {
	mirror := mirrorOf(identity.MirrorConfigMap, "settings")
	for name, test := range map[string]struct {
		data    string
		updates int
	}{
		"that is up to date":  {"1", 0},
		"that is out of date": {"0", 1},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			h.createCopy(owner.MirrorMeta(mirror, "source-settings"), cci.ConfigMap, map[string]string{"a": test.data})
			h.addConfigMap("settings", map[string]string{"a": "1"})
			h.ensures(h.put(newPod("web", configMapRef("settings", false, "a"))))
			assert.Equal(t, "1", h.copyOf(mirror).Text["a"])
			assert.Equal(t, test.updates, h.cloud.calls["update"])
		})
	}
	t.Run("after a lost response", func(t *testing.T) {
		h := newHarness(t)
		h.addConfigMap("settings", map[string]string{"a": "1"})
		pod := h.put(newPod("web", configMapRef("settings", false, "a")))
		h.sim.Fault(t, ccisim.Fault{Kind: ccisim.LoseAnswer, Verb: "create", Times: 1})
		h.ensureFails(pod)
		h.ensures(pod)
		assert.NotNil(t, h.copyOf(mirror))
	})
}

func TestForeignObjectsAreLeftAlone(t *testing.T) {
	mirror := mirrorOf(identity.MirrorConfigMap, "settings")
	for name, change := range map[string]func(*metav1.ObjectMeta){
		"of a user":       func(meta *metav1.ObjectMeta) { meta.Annotations, meta.Labels = nil, nil },
		"of another node": func(meta *metav1.ObjectMeta) { meta.Annotations[policy.CloudNodeAnnotation] = "other" },
		"of another source": func(meta *metav1.ObjectMeta) {
			meta.Annotations[policy.CloudSourceNameAnnotation] = "other"
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHarness(t)
			meta := owner.MirrorMeta(mirror, "source-settings")
			change(&meta)
			h.createCopy(meta, cci.ConfigMap, map[string]string{"theirs": "1"})
			h.addConfigMap("settings", map[string]string{"a": "1"})
			pod := h.put(newPod("web", configMapRef("settings", false, "a")))
			assert.ErrorContains(t, h.ensureFails(pod), "its annotations name another object")
			h.lists()
			_, err := h.reconcile(t.Context(), mirror)
			assert.ErrorContains(t, err, "its annotations name another object")
			h.removePod(pod)
			assert.Zero(t, h.reconciles(mirror))
			assert.Equal(t, map[string]string{"theirs": "1"}, h.copyOf(mirror).Text)
			assert.Zero(t, h.cloud.calls["update"]+h.cloud.calls["delete"])
		})
	}
}

func TestASecretOfAnotherTypeIsReplaced(t *testing.T) {
	h := newHarness(t)
	mirror := mirrorOf(identity.MirrorSecret, "registry")
	h.createCopy(owner.MirrorMeta(mirror, "old"), cci.Secret, map[string]string{"a": "1"})
	h.lists()
	h.add(&corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "registry"}, Type: corev1.SecretTypeDockerConfigJson,
		Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("{}")},
	})
	h.ensures(h.put(newPod("web", secretRef("registry"))))
	assert.Equal(t, corev1.SecretTypeDockerConfigJson, h.copyOf(mirror).Type)
	assert.Equal(t, 1, h.cloud.calls["delete"])
}

func TestConcurrentChangesOfACopy(t *testing.T) {
	mirror := mirrorOf(identity.MirrorConfigMap, "settings")
	prepare := func(t *testing.T) (*harness, *corev1.Pod) {
		h := newHarness(t)
		object := h.addConfigMap("settings", map[string]string{"a": "1"})
		pod := h.put(newPod("web", configMapRef("settings", false, "a")))
		h.ensures(pod)
		object.Data = map[string]string{"a": "2"}
		h.updateConfigMap(object)
		return h, pod
	}
	t.Run("a copy that another client has changed is read again", func(t *testing.T) {
		h, pod := prepare(t)
		theirs := h.copyOf(mirror)
		theirs.Text = map[string]string{"a": "theirs"}
		_, err := h.sim.Client.UpdateData(t.Context(), cloudtest.Namespace, theirs)
		require.NoError(t, err)
		h.ensures(pod)
		assert.Equal(t, "2", h.copyOf(mirror).Text["a"])
	})
	t.Run("a copy that another client has deleted is created again", func(t *testing.T) {
		h, pod := prepare(t)
		h.deleteCopy(mirror)
		h.ensures(pod)
		assert.Equal(t, "2", h.copyOf(mirror).Text["a"])
	})
	t.Run("the write gives up after some attempts", func(t *testing.T) {
		h, pod := prepare(t)
		h.cloud.fail["update"] = &cci.Error{Kind: cci.Conflict}
		assert.ErrorContains(t, h.ensureFails(pod), "another client changes it at the same time")
		assert.Equal(t, maxAttempts, h.cloud.calls["update"])
	})
	t.Run("an error of the cloud is returned", func(t *testing.T) {
		h, pod := prepare(t)
		h.cloud.fail["update"] = &cci.Error{Kind: cci.Throttled}
		assert.True(t, cci.IsThrottled(h.ensureFails(pod)))
		h.cloud.fail["update"] = &cci.Error{Kind: cci.Conflict}
		h.sim.Fault(t, ccisim.Fault{Kind: ccisim.Arrears, Verb: "get"})
		assert.True(t, cci.IsDenied(h.ensureFails(pod)), "of the read after a conflict too")
	})
}

func TestDigests(t *testing.T) {
	base := cci.Data{Text: map[string]string{"a": "1"}}
	for name, other := range map[string]cci.Data{
		"of another value":     {Text: map[string]string{"a": "2"}},
		"of another key":       {Text: map[string]string{"b": "1"}},
		"of binary data":       {Binary: map[string][]byte{"a": []byte("1")}},
		"of another type":      {Text: map[string]string{"a": "1"}, Type: corev1.SecretTypeTLS},
		"of a shifted content": {Text: map[string]string{"a1": ""}},
		"of nothing":           {},
	} {
		assert.NotEqual(t, digest(&base), digest(&other), name)
	}
	same := cci.Data{Text: map[string]string{"a": "1"}, Binary: map[string][]byte{}}
	assert.Equal(t, digest(&base), digest(&same))
}
