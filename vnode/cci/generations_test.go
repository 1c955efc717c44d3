package cci_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
)

// newCCI1 returns a cloud whose client uses CCI 1.0.
func newCCI1(t *testing.T, changes ...func(*ccisim.Config)) *cloudtest.Cloud {
	t.Helper()
	return cloudtest.New(t, changes...).In(t, policy.CCI1)
}

func resources(cpu string) corev1.ResourceList {
	return corev1.ResourceList{"cpu": resource.MustParse(cpu), "memory": resource.MustParse("1Gi")}
}

func pod1(name, image string, command ...string) *cci.Pod {
	size := resources("500m")
	return &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}}, Spec: cci.PodSpec{
		RestartPolicy: corev1.RestartPolicyAlways, DNSPolicy: corev1.DNSDefault,
		Containers: []cci.Container{{
			Name: "c", Image: image, Command: command, Resources: cci.Resources{Limits: size, Requests: size},
		}},
	}}
}

func TestCCI1(t *testing.T) {
	cloud := newCCI1(t, cloudtest.EveryAPI, func(c *ccisim.Config) {
		c.Policies.Fields, c.Processes = ccisim.RefuseFields, true
	})
	ctx, client, ns := t.Context(), cloud.Client, cloudtest.Namespace
	_, err := client.GetNamespace(ctx, ns)
	require.True(t, cci.IsNotFound(err), "%v", err)
	cloud.CreateCloudNamespace(t)
	_, err = cloud.In(t, policy.CCI2).Client.GetNamespace(ctx, ns)
	assert.True(t, cci.IsNotFound(err), "CCI 2.0 does not have a namespace of CCI 1.0: %v", err)

	networks, err := client.ListNetworks(ctx, ns)
	require.NoError(t, err)
	require.Len(t, networks, 1)
	want := cloudtest.Network("net").Spec
	want.IPFamilies, want.DefaultNetwork = nil, false // CCI 2.0 only.
	assert.Equal(t, want, networks[0].Spec)

	list, err := client.ListPods(ctx, ns, cci.ListOptions{LabelSelector: "app=web"})
	require.NoError(t, err)
	stream, err := client.WatchPods(ctx, ns, cci.WatchOptions{ResourceVersion: list.ResourceVersion, Timeout: time.Minute})
	require.NoError(t, err)
	defer stream.Close()
	created, err := client.CreatePod(ctx, ns, pod1("web", ccisim.ProcessImage, "sh", "-c", "echo hello; exec sleep 60"))
	require.NoError(t, err)
	for running := false; !running; {
		event, err := stream.Next()
		require.NoError(t, err)
		running = event.Type == watch.Modified && event.Pod.Status.Phase == corev1.PodRunning &&
			event.Pod.Status.ContainerStatuses[0].State.Running != nil
	}
	require.Eventually(t, func() bool {
		log, err := client.PodLog(ctx, ns, "web", cci.LogOptions{Container: "c"})
		if err != nil {
			return false
		}
		defer log.Close()
		var text bytes.Buffer
		_, err = text.ReadFrom(log)
		return err == nil && text.String() == "hello\n"
	}, cloudtest.Timeout, cloudtest.Tick)
	var out bytes.Buffer
	options := cci.ExecOptions{Container: "c", Command: []string{"echo", "from inside"}}
	require.NoError(t, client.PodExec(ctx, ns, "web", options, cci.ExecStreams{Stdout: &out}))
	assert.Equal(t, "from inside\n", out.String())

	secret := &cci.Data{
		Kind: cci.Secret, ObjectMeta: metav1.ObjectMeta{Name: "keys"}, Binary: map[string][]byte{"k": []byte("v")},
	}
	_, err = client.CreateData(ctx, ns, secret)
	require.NoError(t, err)
	found, err := client.GetData(ctx, ns, cci.Secret, "keys")
	require.NoError(t, err)
	assert.Equal(t, secret.Binary, found.Binary)
	found.Binary["k"] = []byte("w")
	_, err = client.UpdateData(ctx, ns, found)
	require.NoError(t, err)
	require.NoError(t, client.DeleteData(ctx, ns, cci.Secret, "keys", cci.DeleteOptions{}))

	require.NoError(t, client.DeletePod(ctx, ns, "web", cci.DeleteOptions{UID: created.UID, GraceSeconds: new(int64(0))}))
	require.Eventually(t, func() bool {
		_, err := client.GetPod(ctx, ns, "web")
		return cci.IsNotFound(err)
	}, cloudtest.Timeout, cloudtest.Tick)
	assert.Empty(t, cloud.DroppedFields())
}

func TestErrorsOfCCI1(t *testing.T) {
	cloud := newCCI1(t)
	cloud.CreateCloudNamespace(t)
	unequal := pod1("web", "nginx")
	unequal.Spec.Containers[0].Resources.Requests = resources("250m")
	_, err := cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, unequal)
	require.True(t, cci.IsPermanent(err), "%v", err)
	assert.ErrorContains(t, err, "limit and request doesn't equal")
	cloud.Fault(t, ccisim.Fault{Kind: ccisim.Arrears})
	_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, pod1("web", "nginx"))
	assert.True(t, cci.IsDenied(err), "%v", err)
}

func TestUnknownVersionIsAnError(t *testing.T) {
	config := cloudtest.New(t).Config()
	config.Version = "3.0"
	_, err := cci.New(config)
	assert.ErrorContains(t, err, `cci.version: Unsupported value: "3.0": supported values: "2.0", "1.0"`)
}
