package services

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/services/peer"
	"github.com/spillway-k8s/spillway/test/system"
)

// refusedByRules is how many of some 25,000 connections may be refused during a rollout where a kube-proxy in the Pod
// of the client chooses the endpoint. While the kernel replaces nftables rules, a new connection can find the chain of
// a new endpoint empty, and kube-proxy rejects what has no endpoint. The program nft alone shows it too, less often: of
// 176,000 connections, two were refused while chains were replaced 1,640 times.
const refusedByRules = 5

// playRollout replaces the endpoints of a Service while a client sends requests. None fails, but for refusedByRules.
func playRollout(t *testing.T, c *cell) {
	c.selector = map[string]string{"rollout": c.name}
	deployment := c.createDeployment(t)
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
	if !c.works() {
		return
	}
	patch := fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"rollout":%q}}}}}`, c.name)
	deployments := c.Client().AppsV1().Deployments(shop)
	_, err := deployments.Patch(t.Context(), deployment, types.MergePatchType, []byte(patch), metav1.PatchOptions{})
	require.NoError(t, err)
	hosts := map[string]bool{}
	refused := 0
	c.eventually(t, "the rollout to end", func(ctx context.Context) error {
		load, err := ask[peer.Load](ctx, c.from, "load", c.url(), "--for=2s")
		require.NoError(t, err)
		require.Len(t, load.Errors, load.Failed)
		for _, failure := range load.Errors {
			require.Contains(t, failure, "connect: connection refused", "one of %d requests", load.Requests)
		}
		refused += load.Failed
		for host := range load.Hosts {
			hosts[host] = true
		}
		pods, err := c.Client().CoreV1().Pods(shop).List(ctx, metav1.ListOptions{LabelSelector: "rollout=" + c.name})
		if err != nil {
			return err
		}
		for _, pod := range pods.Items {
			if pod.Annotations["rollout"] == "" || !hosts[pod.Name] {
				return fmt.Errorf("%s is an old one, or has not answered", pod.Name)
			}
		}
		return nil
	})
	assert.GreaterOrEqual(t, len(hosts), 3, "old and new Pods have answered")
	allowed := 0
	if c.mode == policy.ServicesKubeProxy && c.from.cloudName != "" {
		allowed = refusedByRules
	}
	assert.LessOrEqual(t, refused, allowed)
}

// createDeployment creates the servers of a rollout: copies of those of the cell.
func (c *cell) createDeployment(t *testing.T) (name string) {
	t.Helper()
	template := corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"rollout": c.name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64(40)), Containers: c.to[0].Spec.Containers,
		},
	}
	template.Spec.Containers[0].VolumeMounts = nil // That of the token.
	// Without a probe, a server would get requests before it listens.
	template.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{
			HTTPGet: &corev1.HTTPGetAction{Path: "/", Port: intstr.FromString("http")},
		},
		PeriodSeconds: 1,
	}
	if c.to[0].cloudName != "" {
		template.Labels[policy.BurstLabel] = string(policy.ModeEnforce)
		template.Annotations = map[string]string{policy.ServicesAnnotation: string(c.mode)}
	}
	none := intstr.FromInt32(0)
	deployments := c.Client().AppsV1().Deployments(shop)
	_, err := deployments.Create(t.Context(), &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: c.name},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: c.selector}, Template: template,
			Strategy: appsv1.DeploymentStrategy{RollingUpdate: &appsv1.RollingUpdateDeployment{MaxUnavailable: &none}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, deployments.Delete(context.Background(), c.name, metav1.DeleteOptions{})) })
	c.eventually(t, "both servers to be Ready", func(ctx context.Context) error {
		found, err := deployments.Get(ctx, c.name, metav1.GetOptions{})
		if err == nil && found.Status.ReadyReplicas != 2 {
			err = fmt.Errorf("%d are Ready", found.Status.ReadyReplicas)
		}
		return err
	})
	return c.name
}

// playVNodeKilled kills vnode and its Pod, and in the end starts another one.
func playVNodeKilled(t *testing.T, c *cell) {
	c.createService(t, nil)
	c.settles(t, c.get(c.url()))
	if c.works() {
		c.answered(t, c.url(), c.to)
	}
	c.killVNode(t)
	defer c.startVNode(t)
	require.NoError(t, matches(c.outcome, c.get(c.url())(t.Context())))
	if c.works() {
		load, err := ask[peer.Load](t.Context(), c.from, "load", c.url(), "--for=5s")
		require.NoError(t, err)
		assert.Zero(t, load.Failed, "%v", load.Errors)
	}
}

// startVNode starts a Pod of vnode, which has another address than the one before.
func (c *cell) startVNode(t *testing.T) {
	t.Helper()
	c.scaleVNode(t, 1)
	c.eventually(t, "the virtual node to be Ready", func(ctx context.Context) error {
		node, err := c.Client().CoreV1().Nodes().Get(ctx, system.VirtualNode(0), metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady && condition.Status == corev1.ConditionTrue && len(vnodes(t)) == 1 {
				return nil
			}
		}
		return errors.New("it is not")
	})
}

// killVNode kills the process of vnode, and lets no other follow.
func (c *cell) killVNode(t *testing.T) {
	t.Helper()
	found := vnodes(t)
	require.Len(t, found, 1)
	require.NoError(t, syscall.Kill(found[0], syscall.SIGSTOP), "so that it does not notice its end")
	c.scaleVNode(t, 0)
	require.NoError(t, syscall.Kill(found[0], syscall.SIGKILL))
	c.eventually(t, "no vnode to run", func(ctx context.Context) error {
		pods, err := c.Client().CoreV1().Pods(systemNamespace).List(ctx,
			metav1.ListOptions{LabelSelector: "app.kubernetes.io/component=vnode"})
		if err == nil && len(pods.Items)+len(vnodes(t)) > 0 {
			err = fmt.Errorf("%d Pods are left", len(pods.Items))
		}
		return err
	})
}

func (c *cell) scaleVNode(t *testing.T, replicas int) {
	t.Helper()
	c.world.run(t, "kubectl", "scale", "--namespace="+systemNamespace, "statefulset/virtual-node-cci",
		"--replicas="+strconv.Itoa(replicas))
}

// vnodes returns the processes of vnode. Those of containers are processes of the machine.
func vnodes(t *testing.T) (found []int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	require.NoError(t, err)
	for _, file := range files {
		if line, _ := os.ReadFile(file); bytes.HasPrefix(line, []byte("/vnode\x00")) { // The process may have ended.
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
			require.NoError(t, err)
			found = append(found, pid)
		}
	}
	return found
}
