package integration

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/provider"
)

// configMap creates a ConfigMap in the cluster, or changes it.
func configMap(t testing.TB, namespace, name string, data map[string]string) *corev1.ConfigMap {
	t.Helper()
	client := trial.Client().CoreV1().ConfigMaps(namespace)
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data,
		BinaryData: map[string][]byte{"raw": {0, 0xff}}}
	if made, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err == nil {
		return made
	}
	changed, err := client.Update(t.Context(), object, metav1.UpdateOptions{})
	require.NoError(t, err)
	return changed
}

// secret creates a Secret in the cluster, or changes it.
func secret(t testing.TB, namespace, name string, kind corev1.SecretType, data map[string]string) *corev1.Secret {
	t.Helper()
	client := trial.Client().CoreV1().Secrets(namespace)
	object := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: data, Type: kind}
	if made, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err == nil {
		return made
	}
	changed, err := client.Update(t.Context(), object, metav1.UpdateOptions{})
	require.NoError(t, err)
	return changed
}

// copies returns all copies of a kind in the cloud, by their names.
func copies(t testing.TB, cloud *cloudtest.Cloud, kind cci.DataKind) map[string]cci.Data {
	t.Helper()
	list, err := cloud.Client.ListData(t.Context(), cloudtest.Namespace, kind, cci.ListOptions{})
	require.NoError(t, err)
	found := map[string]cci.Data{}
	for _, item := range list.Items {
		if item.Annotations[policy.CloudSourceKindAnnotation] != "" {
			found[item.Name] = item
		}
	}
	return found
}

// awaitCopies waits until the cloud has this number of copies of each kind.
func awaitCopies(t testing.TB, cloud *cloudtest.Cloud, configMaps, secrets int) {
	t.Helper()
	eventually(t, func() error {
		c, s := len(copies(t, cloud, cci.ConfigMap)), len(copies(t, cloud, cci.Secret))
		if c != configMaps || s != secrets {
			return fmt.Errorf("the cloud has copies of %d ConfigMaps and %d Secrets, %d and %d wanted", c, s, configMaps,
				secrets)
		}
		return nil
	})
}

// hurry is the shortest interval that can be configured.
const hurry = time.Second

// hurried makes a virtual node compare copies with their sources, and delete unused copies, every second.
func hurried(c *Config) {
	c.Pods.MirrorRefresh.Duration, c.Pods.MirrorRemoval.Duration = hurry, hurry
}

// referringPod returns a Pod that refers to ConfigMap "settings" and Secret "password" in every possible way.
func referringPod(node, name string) *corev1.Pod {
	pod := podOn(node, name)
	local := func(name string) corev1.LocalObjectReference { return corev1.LocalObjectReference{Name: name} }
	c := &pod.Spec.Containers[0]
	c.EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: local("settings")}}}
	c.Env = []corev1.EnvVar{{Name: "PASSWORD", ValueFrom: &corev1.EnvVarSource{
		SecretKeyRef: &corev1.SecretKeySelector{LocalObjectReference: local("password"), Key: "word"}}}}
	c.VolumeMounts = []corev1.VolumeMount{{Name: "settings", MountPath: "/settings"},
		{Name: "password", MountPath: "/password"}, {Name: "vault", MountPath: "/vault"}}
	pod.Spec.ImagePullSecrets = []corev1.LocalObjectReference{local("registry"), local("not-there")}
	pod.Spec.Volumes = []corev1.Volume{
		{Name: "settings", VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: local("settings")}}},
		{Name: "password", VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "password",
			Items: []corev1.KeyToPath{{Key: "word", Path: "w"}}}}},
		{Name: "vault",
			VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{
				{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: new(int64(600)),
					Path: "token"}},
				{ConfigMap: &corev1.ConfigMapProjection{LocalObjectReference: local("maybe"), Optional: new(true)}},
			}}}},
	}
	return pod
}

const dockerConfig = `{"auths":{"registry.local":{"auth":"dTpw"}}}`

// makeSources creates the objects that a referringPod refers to.
func makeSources(t testing.TB, namespace string) {
	t.Helper()
	configMap(t, namespace, "settings", map[string]string{"COLOUR": "blue"})
	secret(t, namespace, "password", corev1.SecretTypeOpaque, map[string]string{"word": "swordfish"})
	secret(t, namespace, "registry", corev1.SecretTypeDockerConfigJson,
		map[string]string{corev1.DockerConfigJsonKey: dockerConfig})
}

// awaitHeld waits until the copy has the value under the key.
func awaitHeld(t testing.TB, cloud *cloudtest.Cloud, kind cci.DataKind, name, key, want string) {
	t.Helper()
	eventually(t, func() error {
		data, err := cloud.Client.GetData(t.Context(), cloudtest.Namespace, kind, name)
		if err != nil {
			return err
		}
		if got := data.Text[key] + string(data.Binary[key]); got != want {
			return fmt.Errorf("%s of %s %s is %q, %q wanted", key, kind, name, got, want)
		}
		return nil
	})
}

func TestReferencedObjectsAreCopiedToTheCloud(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, hurried)
	makeSources(t, ns)
	made := create(t, ns, referringPod(v.name(), "web"))
	await(t, ns, "web", isReady)
	pod := cloudPod(t, cloud, made)
	name := func(kind identity.MirrorKind, name string) string {
		return v.owner().MirrorName(identity.Mirror{Kind: kind, Namespace: ns, Name: name})
	}

	settings := name(identity.MirrorConfigMap, "settings")
	assert.Equal(t, settings, pod.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name)
	awaitHeld(t, cloud, cci.ConfigMap, settings, "COLOUR", "blue")
	awaitHeld(t, cloud, cci.ConfigMap, settings, "raw", "\x00\xff")
	password := name(identity.MirrorSecret, "password")
	assert.Equal(t, password, pod.Spec.Containers[0].Env[0].ValueFrom.SecretKeyRef.Name)
	awaitHeld(t, cloud, cci.Secret, password, "word", "swordfish")
	registry, err := cloud.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret,
		name(identity.MirrorSecret, "registry"))
	require.NoError(t, err)
	assert.Equal(t, corev1.SecretTypeDockerConfigJson, registry.Type)
	assert.NotContains(t, fmt.Sprint(pod.Annotations, pod.Spec), "swordfish", "a Pod contains no values")

	// Changes of the sources are copied, including optional sources.
	configMap(t, ns, "settings", map[string]string{"COLOUR": "red"})
	secret(t, ns, "password", corev1.SecretTypeOpaque, map[string]string{"word": "sesame"})
	configMap(t, ns, "maybe", map[string]string{"x": "now"})
	awaitHeld(t, cloud, cci.ConfigMap, settings, "COLOUR", "red")
	awaitHeld(t, cloud, cci.Secret, password, "word", "sesame")
	awaitHeld(t, cloud, cci.ConfigMap, name(identity.MirrorConfigMap, "maybe"), "x", "now")

	// If a source is deleted, its copy is kept for running Pods.
	require.NoError(t, trial.Client().CoreV1().ConfigMaps(ns).Delete(t.Context(), "settings", metav1.DeleteOptions{}))
	configMap(t, ns, "maybe", map[string]string{"x": "later"})
	awaitHeld(t, cloud, cci.ConfigMap, name(identity.MirrorConfigMap, "maybe"), "x", "later")
	awaitHeld(t, cloud, cci.ConfigMap, settings, "COLOUR", "red")

	// settings, maybe and the cluster's root certificate; password, registry and the Pod's tokens.
	awaitCopies(t, cloud, 3, 3)
	assert.Equal(t, 3.0, v.metric(t, "spillway_vnode_mirrors", "ConfigMap"))
	remove(t, ns, "web")
	awaitGone(t, ns, "web")
	awaitCopies(t, cloud, 0, 0)
	assert.Equal(t, 0.0, v.metric(t, "spillway_vnode_mirrors"))
	_, err = cloud.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret, "imagepull-secret")
	assert.NoError(t, err, "objects of others are kept")
	assert.Empty(t, cloud.DroppedFields())
	assert.NotContains(t, v.logs.String(), "sesame", "no value is logged")
}

func TestAPodWaitsForReferencedObjects(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, hurried)
	pod := referringPod(v.name(), "web")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	create(t, ns, pod)
	waits := func(message string) {
		t.Helper()
		got := await(t, ns, "web", func(pod *corev1.Pod) error {
			if pod.Status.Reason != provider.ReasonConfigError || pod.Status.Message != message {
				return fmt.Errorf("it should wait because %s", message)
			}
			return nil
		})
		assert.Equal(t, corev1.PodPending, got.Status.Phase)
		assert.Equal(t, "CreateContainerConfigError", got.Status.ContainerStatuses[0].State.Waiting.Reason)
	}
	waits(`configmap "settings" not found`)
	assert.Contains(t, events(t, ns, "web"), provider.ReasonConfigError)
	configMap(t, ns, "settings", nil)
	waits(`secret "password" not found`)
	secret(t, ns, "password", corev1.SecretTypeOpaque, map[string]string{"wrod": "x"})
	waits("couldn't find key word in Secret " + ns + "/password")
	assert.Empty(t, cloud.PodsEver(), "a waiting Pod has no cloud Pod that would be billed")
	secret(t, ns, "password", corev1.SecretTypeOpaque, map[string]string{"word": "x"})
	got := await(t, ns, "web", hasPhase(corev1.PodSucceeded))
	assert.Empty(t, got.Status.Reason)
}

// reviewed returns the API server's review of a token.
func reviewed(t testing.TB, token string, audiences ...string) authenticationv1.TokenReviewStatus {
	t.Helper()
	review, err := trial.Client().AuthenticationV1().TokenReviews().Create(t.Context(),
		&authenticationv1.TokenReview{Spec: authenticationv1.TokenReviewSpec{Token: token, Audiences: audiences}},
		metav1.CreateOptions{})
	require.NoError(t, err)
	return review.Status
}

// tokenOf returns the copy with a Pod's tokens.
func tokenOf(t testing.TB, cloud *cloudtest.Cloud, v *running, pod *corev1.Pod) *cci.Data {
	t.Helper()
	data, err := cloud.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret,
		v.owner().MirrorName(identity.TokenMirror(pod)))
	require.NoError(t, err)
	return data
}

func TestTokensBelongToThePodAndAreRenewed(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, hurried, func(c *Config) { c.CCI.RelistInterval.Duration = hurry })
	makeSources(t, ns)
	made := create(t, ns, referringPod(v.name(), "web"))
	await(t, ns, "web", isReady)
	before := tokenOf(t, cloud, v, made)
	require.Len(t, before.Binary, 2, "the API server's and the vault's")
	vault := identity.TokenKey(corev1.ServiceAccountTokenProjection{Audience: "vault", ExpirationSeconds: new(int64(600))})
	require.Contains(t, before.Binary, vault)
	for key, token := range before.Binary {
		var audiences []string
		if key == vault {
			audiences = []string{"vault"}
		}
		status := reviewed(t, string(token), audiences...)
		assert.True(t, status.Authenticated, status.Error)
		assert.Equal(t, "system:serviceaccount:"+ns+":default", status.User.Username)
		assert.Equal(t, authenticationv1.ExtraValue{"web"}, status.User.Extra["authentication.kubernetes.io/pod-name"])
		assert.Equal(t, authenticationv1.ExtraValue{string(made.UID)},
			status.User.Extra["authentication.kubernetes.io/pod-uid"])
	}
	assert.False(t, reviewed(t, string(before.Binary[vault])).Authenticated, "a token is valid only for its audience")

	// As if they had been created long ago.
	due := *before
	due.Annotations[policy.CloudRenewAnnotation] = "2020-01-01T00:00:00Z"
	_, err := cloud.Client.UpdateData(t.Context(), cloudtest.Namespace, &due)
	require.NoError(t, err)
	eventually(t, func() error {
		for key, token := range tokenOf(t, cloud, v, made).Binary {
			if string(token) == string(before.Binary[key]) {
				return errors.New("a token has not been renewed")
			}
		}
		return nil
	})
	for key, token := range tokenOf(t, cloud, v, made).Binary {
		if key != vault {
			assert.True(t, reviewed(t, string(token)).Authenticated)
		}
	}
}

func TestUsedCopiesSurviveARestartAndUnusedCopiesDoNot(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, hurried)
	makeSources(t, ns)
	stays := create(t, ns, referringPod(v.name(), "stays"))
	other := referringPod(v.name(), "goes")
	other.Spec.Containers[0].EnvFrom[0].ConfigMapRef.Name = "others"
	configMap(t, ns, "others", map[string]string{"COLOUR": "green"})
	create(t, ns, other)
	await(t, ns, "stays", isReady)
	await(t, ns, "goes", isReady)
	awaitCopies(t, cloud, 3, 4)
	tokens := tokenOf(t, cloud, v, stays)
	stranger := identity.Owner{ClusterID: "other", Node: v.name()}
	meta := stranger.MirrorMeta(identity.Mirror{Kind: identity.MirrorSecret, Namespace: ns, Name: "password"}, "uid")
	_, err := cloud.Client.CreateData(t.Context(), cloudtest.Namespace,
		&cci.Data{Kind: cci.Secret, ObjectMeta: meta, Type: corev1.SecretTypeOpaque})
	require.NoError(t, err)

	v.stop(t)
	require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), "goes", *metav1.NewDeleteOptions(0)))
	configMap(t, ns, "settings", map[string]string{"COLOUR": "red"})
	v = start(t, v.again(t))

	awaitCopies(t, cloud, 2, 4) // The stranger's is one of them.
	awaitHeld(t, cloud, cci.ConfigMap, v.owner().MirrorName(identity.Mirror{Kind: identity.MirrorConfigMap,
		Namespace: ns, Name: "settings"}), "COLOUR", "red")
	assert.Equal(t, tokens.Binary, tokenOf(t, cloud, v, stays).Binary, "valid tokens are kept")
	assert.Equal(t, 0.0, v.metric(t, "spillway_vnode_mirror_writes_total", "create"), "nothing is created twice")
	_, err = cloud.Client.GetData(t.Context(), cloudtest.Namespace, cci.Secret, meta.Name)
	assert.NoError(t, err)
}

func TestADeletedCopyIsCreatedAgain(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud, hurried, func(c *Config) { c.CCI.RelistInterval.Duration = hurry })
	makeSources(t, ns)
	create(t, ns, referringPod(v.name(), "web"))
	await(t, ns, "web", isReady)
	for _, kind := range []cci.DataKind{cci.ConfigMap, cci.Secret} {
		for name := range copies(t, cloud, kind) {
			require.NoError(t, cloud.Client.DeleteData(t.Context(), cloudtest.Namespace, kind, name, cci.DeleteOptions{}))
		}
	}
	awaitCopies(t, cloud, 2, 3)
}

// Two virtual nodes that share a cloud namespace have separate copies, and do not change those of the other.
func TestVirtualNodesShareACloudNamespace(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	first, ns := startOn(t, cloud, hurried)
	second, _ := startOn(t, cloud, hurried)
	makeSources(t, ns)
	create(t, ns, referringPod(first.name(), "a"))
	create(t, ns, referringPod(second.name(), "b"))
	await(t, ns, "a", isReady)
	await(t, ns, "b", isReady)
	awaitCopies(t, cloud, 4, 6)
	remove(t, ns, "a")
	awaitCopies(t, cloud, 2, 3)
	assert.NoError(t, isReady(get(t, ns, "b")))
}

func TestPodsWithReferencesRunDespiteFaults(t *testing.T) {
	t.Parallel()
	for name, disturbance := range disturbances {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			cloud := cloudtest.New(t)
			v, ns := startOn(t, cloud, hurried)
			makeSources(t, ns)
			const pods = 10
			during(t, cloud, disturbance, func() {
				for i := range pods {
					create(t, ns, referringPod(v.name(), fmt.Sprintf("web-%d", i)))
				}
				for i := range pods {
					await(t, ns, fmt.Sprintf("web-%d", i), isReady)
				}
				configMap(t, ns, "settings", map[string]string{"COLOUR": "red"})
				for i := range pods - 1 {
					remove(t, ns, fmt.Sprintf("web-%d", i))
				}
			})
			awaitCopies(t, cloud, 2, 3)
			awaitHeld(t, cloud, cci.ConfigMap, v.owner().MirrorName(identity.Mirror{Kind: identity.MirrorConfigMap,
				Namespace: ns, Name: "settings"}), "COLOUR", "red")
			assert.NoError(t, isReady(get(t, ns, "web-9")))
			assert.Len(t, cloud.PodsEver(), pods, "each was created once")
		})
	}
}

func TestTheCloudRefusesACopy(t *testing.T) {
	t.Parallel()
	for words, reason := range map[string]string{
		"the Secret is not allowed": provider.ReasonRefused, "quota exceeded": string(policy.ReasonQuota),
	} {
		t.Run(reason, func(t *testing.T) {
			cloud := cloudtest.New(t)
			v, ns := startOn(t, cloud, hurried)
			makeSources(t, ns)
			lift := cloud.Fault(t, ccisim.Fault{
				Kind: ccisim.ServerError, Verb: "create", Path: "/secrets", Status: 403, Message: words,
			})
			create(t, ns, referringPod(v.name(), "web"))
			got := await(t, ns, "web", hasReason(reason))
			assert.Contains(t, got.Status.Message, words)
			lift()
			await(t, ns, "web", isReady)
		})
	}
}
