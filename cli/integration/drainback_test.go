package integration

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/explain"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// output collects what a command prints while it runs.
type output struct {
	lock sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.lock.Lock()
	defer o.lock.Unlock()
	return o.text.String()
}

// plugin returns a command of the plugin, and what it prints.
func plugin(t *testing.T, args ...string) (*exec.Cmd, *output) {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	path := filepath.Join(bin, "kubectl-spillway")
	require.FileExists(t, path)
	command := exec.CommandContext(t.Context(), path, append(args, "--kubeconfig", trial.Kubeconfig())...)
	command.Env = append(os.Environ(), "HOME="+t.TempDir())
	out := &output{}
	command.Stdout, command.Stderr = out, out
	return command, out
}

// The API server checks what a fake client does not: rights, the UID in a patch, the fields of Events.
func TestDrainBackAsksAndFollows(t *testing.T) {
	const namespace = "drain"
	ctx, client := t.Context(), trial.Client().CoreV1()
	_, err := client.Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}},
		metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = client.ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: "default"},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	// One is local, one waits, and two are in the cloud.
	require.NoError(t, createDeployment(ctx, namespace, "cart", 4))
	_, err = client.Pods(namespace).Create(ctx, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "alone"}, Spec: onVirtualNode(),
	}, metav1.CreateOptions{})
	require.NoError(t, err)

	command, out := plugin(t, "drain-back", "--all", "--dry-run", "-n", namespace)
	require.NoError(t, command.Run(), out.String())
	assert.Equal(t, "drain/alone stays: it has no controller that would create its successor\n"+
		"drain/cart-2-2 would be asked to return\ndrain/cart-2-3 would be asked to return\n", out.String())

	allowReading(t, "reader")
	command, out = plugin(t, "drain-back", "deployment/cart", "-n", namespace, "--as", "reader")
	require.Error(t, command.Run())
	assert.Contains(t, out.String(), "you need the right to patch Pods in namespace drain")
	assert.Empty(t, request(t, namespace, "cart-2-2"), "nothing was asked")

	command, out = plugin(t, "drain-back", "deployment/cart", "-n", namespace)
	require.NoError(t, command.Start())
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, out.String(), "drain/cart-2-3 waits for its turn")
	}, time.Minute, 100*time.Millisecond)
	for _, name := range []string{"cart-2-2", "cart-2-3"} {
		asked, err := time.Parse(time.RFC3339, request(t, namespace, name))
		require.NoError(t, err)
		assert.WithinDuration(t, time.Now(), asked, time.Minute)
	}
	assert.Empty(t, request(t, namespace, "cart-2-0"), "a local Pod")
	stay(t, namespace, "cart-2-3", "no local node has room for it")
	require.NoError(t, client.Pods(namespace).Delete(ctx, "cart-2-2", metav1.DeleteOptions{
		GracePeriodSeconds: new(int64(0)),
	}))
	require.EventuallyWithT(t, func(c *assert.CollectT) {
		assert.Contains(c, out.String(), "drain/cart-2-2 has left the cloud")
		assert.Contains(c, out.String(), "drain/cart-2-3 stays for now: no local node has room for it")
	}, time.Minute, 100*time.Millisecond)
	require.NoError(t, command.Process.Signal(os.Interrupt))
	var exit *exec.ExitError
	require.ErrorAs(t, command.Wait(), &exit, out.String())
	assert.Equal(t, 1, exit.ExitCode())
	assert.Contains(t, out.String(), "No longer waiting. 1 of 2 Pods have left the cloud.")
	assert.Contains(t, out.String(), "kubectl spillway drain-back -n drain deployment/cart --cancel")
	assert.NotEmpty(t, request(t, namespace, "cart-2-3"), "the request stays")

	command, out = plugin(t, "why", "pod", "cart-2-3", "-n", namespace, "-o", "json")
	require.NoError(t, command.Run(), out.String())
	var answer struct{ Items []explain.Explanation }
	require.NoError(t, json.Unmarshal([]byte(out.String()), &answer))
	require.Len(t, answer.Items, 1)
	home := answer.Items[0].Steps[len(answer.Items[0].Steps)-1]
	assert.Equal(t, "home", home.Name)
	assert.Contains(t, home.Text, "it was asked to return at ")
	assert.Contains(t, home.Text, "StaysInCloud: no local node has room for it")

	command, out = plugin(t, "drain-back", "deployment/cart", "-n", namespace, "--cancel")
	require.NoError(t, command.Run(), out.String())
	assert.Equal(t, "Requests taken back: 1.\n", out.String())
	assert.Empty(t, request(t, namespace, "cart-2-3"))
}

func onVirtualNode() corev1.PodSpec {
	spec := podSpec()
	spec.NodeName = system.VirtualNode(0)
	return spec
}

// request returns when drain-back has asked for a Pod.
func request(t *testing.T, namespace, name string) string {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod.Annotations[policy.DrainBackAnnotation]
}

// stay writes the Event with which the extender says why a Pod stays.
func stay(t *testing.T, namespace, name, message string) {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	for source, text := range map[string]string{"spillway-extender": message, "another": "not of the extender"} {
		_, err = trial.Client().CoreV1().Events(namespace).Create(t.Context(), &corev1.Event{
			ObjectMeta:     metav1.ObjectMeta{GenerateName: strings.ToLower(name) + "."},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: namespace, Name: name, UID: pod.UID},
			Source:         corev1.EventSource{Component: source}, Reason: string(policy.ReasonStaysInCloud),
			Message: text, Type: corev1.EventTypeNormal, LastTimestamp: metav1.Now(),
		}, metav1.CreateOptions{})
		require.NoError(t, err)
	}
}

// allowReading lets a user read everything and change nothing.
func allowReading(t *testing.T, user string) {
	t.Helper()
	rules := trial.Client().RbacV1()
	_, err := rules.ClusterRoles().Create(t.Context(), &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "watch"}},
			{NonResourceURLs: []string{"*"}, Verbs: []string{"get"}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	_, err = rules.ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: user},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: user},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		_ = rules.ClusterRoleBindings().Delete(context.Background(), user, metav1.DeleteOptions{})
		_ = rules.ClusterRoles().Delete(context.Background(), user, metav1.DeleteOptions{})
	})
}
