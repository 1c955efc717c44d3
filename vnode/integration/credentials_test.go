package integration

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/node"
	"github.com/spillway-k8s/spillway/vnode/nodeconditions"
)

// The old key is revoked before the new one is available, while Pods are created and deleted.
func TestAKeyIsRotatedUnderLoad(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	config := settings(t, cloud, nodeName(t))
	mount := t.TempDir()
	put := func(credential ccisim.Credential) {
		for name, key := range map[string]string{"accessKey": credential.AccessKey, "secretKey": credential.SecretKey,
			"securityToken": credential.SecurityToken} {
			require.NoError(t, os.WriteFile(filepath.Join(mount, name), []byte(key+"\n"), 0o600))
		}
	}
	put(cloudtest.Account)
	config.CCI.CredentialsFile = mount
	v := start(t, config)
	ns := namespace(t)
	name := func(i int) string { return fmt.Sprintf("web-%d", i) }
	for i := range 10 {
		create(t, ns, podOn(config.Node.Name, name(i)))
	}
	await(t, ns, name(0), isReady)

	renewed := cloudtest.Account
	renewed.AccessKey, renewed.SecretKey, renewed.SecurityToken = "AK-2", "SK-2", "token"
	require.NoError(t, cloud.SetCredentials([]ccisim.Credential{renewed}))
	for i := 10; i < 20; i++ {
		create(t, ns, podOn(config.Node.Name, name(i)))
	}
	remove(t, ns, name(0))
	object := awaitNode(t, config.Node.Name, hasCondition(nodeconditions.Denied, corev1.ConditionTrue))
	assert.Contains(t, node.FindCondition(object, nodeconditions.Denied).Message, "401")
	assert.Equal(t, corev1.ConditionTrue, node.FindCondition(object, corev1.NodeReady).Status)

	require.NoError(t, os.WriteFile(filepath.Join(mount, "secretKey"), nil, 0o600)) // Half of a rotation.
	eventually(t, func() error {
		if !strings.Contains(v.logs.String(), "cannot read the cloud credentials") {
			return errors.New("the unreadable credentials are not logged")
		}
		return nil
	})
	put(renewed)
	for i := 1; i < 20; i++ {
		await(t, ns, name(i), isReady)
	}
	awaitGone(t, ns, name(0))
	awaitNode(t, config.Node.Name, hasCondition(nodeconditions.Denied, corev1.ConditionFalse))
	pods, err := trial.Client().CoreV1().Pods(ns).List(t.Context(), metav1.ListOptions{})
	require.NoError(t, err)
	assert.Len(t, pods.Items, 19)
	for _, pod := range pods.Items {
		for _, status := range pod.Status.ContainerStatuses {
			assert.Zero(t, status.RestartCount, pod.Name)
		}
	}
	assert.Len(t, cloud.PodsEver(), 20, "nothing was created twice")
}
