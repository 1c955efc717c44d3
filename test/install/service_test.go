package install

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/stories"
	"github.com/spillway-k8s/spillway/test/system"
)

// playService registers the extender with the cluster's own scheduler, as the notes of the chart describe: with the
// files of the Secret next to the scheduler, and the entry of the ConfigMap in its configuration. The Service has a
// fixed address in the entry, because a scheduler on the machine does not resolve names of Services.
func (c *cluster) playService(t *testing.T) {
	c.upgrade(t, twoReplicas, "--set=scheduler.mode=service,extender.service.clusterIP=10.96.100.100")
	secret, err := c.Client().CoreV1().Secrets(namespace).Get(t.Context(), "spillway-extender-client",
		metav1.GetOptions{})
	require.NoError(t, err)
	dir := t.TempDir()
	for _, name := range []string{"ca.crt", corev1.TLSCertKey, corev1.TLSPrivateKeyKey} {
		require.NotEmpty(t, secret.Data[name], name)
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), secret.Data[name], 0o600))
	}
	entry, err := c.Client().CoreV1().ConfigMaps(namespace).Get(t.Context(), "spillway-extender-entry",
		metav1.GetOptions{})
	require.NoError(t, err)
	var registered schedulerv1.KubeSchedulerConfiguration
	require.NoError(t, yaml.UnmarshalStrict([]byte(entry.Data["extenders.yaml"]), &registered))
	require.Len(t, registered.Extenders, 1)
	tls := registered.Extenders[0].TLSConfig
	for _, file := range []*string{&tls.CAFile, &tls.CertFile, &tls.KeyFile} {
		*file = filepath.Join(dir, filepath.Base(*file)) // Instead of /etc/kubernetes/spillway.
	}
	require.NoError(t, c.ConfigureScheduler(func(configuration *schedulerv1.KubeSchedulerConfiguration) {
		configuration.Extenders, configuration.Profiles = registered.Extenders, registered.Profiles
	}))
	require.NoError(t, c.Restart(t.Context(), system.Scheduler))

	c.kubectl(t, "apply", "--filename=testdata/burst.yaml")
	c.eventually(t, "one replica to run on a local node, three in the cloud", c.runs("burst", 1, 3))
	ofApp := metav1.ListOptions{LabelSelector: "app=burst"}
	list, err := c.Client().CoreV1().Pods(metav1.NamespaceDefault).List(t.Context(), ofApp)
	require.NoError(t, err)
	for _, pod := range list.Items {
		require.Equal(t, system.OwnScheduler, pod.Spec.SchedulerName, "the profile of Pod %s", pod.Name)
		require.True(t, policy.NeedsPlacement(&pod.Spec), "the marker resource of Pod %s", pod.Name)
	}
	c.kubectl(t, "delete", "--filename=testdata/burst.yaml", "--cascade=foreground")
	c.play(t, slices.DeleteFunc(stories.Further(), func(s stories.Story) bool { return s.Name != preemption }))
	require.NoError(t, c.ConfigureScheduler(nil))
	require.NoError(t, c.Restart(t.Context(), system.Scheduler))
}
