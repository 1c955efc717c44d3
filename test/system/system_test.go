package system

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/spillway-k8s/spillway/policy"
)

// clusterOnly returns a system without Spillway, the base of every other system.
func clusterOnly(t *testing.T) Config {
	t.Helper()
	binDir, err := FindBinDir()
	require.NoError(t, err)
	return Config{
		Dir: t.TempDir(), BinDir: binDir, Shape: Shape{LocalNodes: 2, LocalCPU: "2", LocalMemory: "4Gi"},
		Without: []string{CCISim, Extender, Admission, vnode}, DieWithParent: true, Progress: t.Output(),
	}
}

var clusterProcesses = []string{Etcd, APIServer, ControllerManager, Scheduler, KWOK}

func start(t *testing.T, config Config) *System {
	t.Helper()
	s, err := Start(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, Stop(context.Background(), config.Dir)) })
	return s
}

func createPod(t *testing.T, s *System, name, node string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
	}
	_, err := s.Client().CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
}

func getPod(t *testing.T, s *System, name string) *corev1.Pod {
	t.Helper()
	pod, err := s.Client().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

func requireRunning(t *testing.T, s *System, name string) *corev1.Pod {
	t.Helper()
	running := func() bool { return getPod(t, s, name).Status.Phase == corev1.PodRunning }
	require.Eventually(t, running, timeout, pollInterval)
	return getPod(t, s, name)
}

func pids(s *System) map[string]int {
	pids := map[string]int{}
	for _, name := range clusterProcesses {
		pids[name] = s.PID(name)
	}
	return pids
}

func TestSystemKeepsItsStateWhenProcessesDie(t *testing.T) {
	config := clusterOnly(t)
	s := start(t, config) // A subtest replaces s. The cleanup stops the system that runs last.
	running, err := s.Running()
	require.NoError(t, err)
	require.ElementsMatch(t, clusterProcesses, running)

	createPod(t, s, "first", "")
	pod := requireRunning(t, s, "first")
	assert.Contains(t, []string{LocalNode(0), LocalNode(1)}, pod.Spec.NodeName)
	assert.NotEmpty(t, pod.Status.PodIP)

	t.Run("a killed scheduler schedules again after a restart", func(t *testing.T) {
		require.NoError(t, s.Kill(Scheduler))
		assert.Zero(t, s.PID(Scheduler))
		require.ErrorContains(t, s.Kill(Scheduler), "killing kube-scheduler: it is not running")
		createPod(t, s, "second", "")
		assert.Empty(t, getPod(t, s, "second").Spec.NodeName)
		require.NoError(t, s.Restart(t.Context(), Scheduler))
		requireRunning(t, s, "second")
	})
	t.Run("starting a running system starts only the processes that have ended", func(t *testing.T) {
		require.NoError(t, s.Kill(KWOK))
		require.NoError(t, s.Kill(Etcd))
		before := pids(s)
		_, err := Start(t.Context(), config)
		require.NoError(t, err)
		after := pids(s)
		for _, name := range []string{KWOK, Etcd} {
			assert.Zero(t, before[name], name)
			assert.NotZero(t, after[name], name)
			delete(before, name)
			delete(after, name)
		}
		assert.Equal(t, before, after)
		assert.Equal(t, pod.UID, getPod(t, s, "first").UID)
	})
	t.Run("another shape is refused", func(t *testing.T) {
		other := config
		other.Shape.LocalNodes = 5
		_, err := Start(t.Context(), other)
		assert.ErrorContains(t, err, "has 2 local nodes (2 CPU, 4Gi) and 0 virtual, Kubernetes 1.37, not 5 local "+
			"nodes (2 CPU, 4Gi) and 0 virtual, Kubernetes 1.37: to change the shape, run `make down` first")
	})
	t.Run("a stopped system leaves no process and continues with its state", func(t *testing.T) {
		require.NoError(t, s.Stop(t.Context()))
		running, err := s.Running()
		require.NoError(t, err)
		assert.Empty(t, running)
		require.NoError(t, s.Stop(t.Context()), "a second time")

		s, err = Start(t.Context(), config)
		require.NoError(t, err)
		assert.Equal(t, pod.UID, getPod(t, s, "first").UID)
		createPod(t, s, "third", "")
		requireRunning(t, s, "third")
	})
	t.Run("a removed system has no state", func(t *testing.T) {
		require.NoError(t, s.Stop(t.Context()))
		require.NoError(t, Remove(config.Dir))
		_, found, err := Recorded(config.Dir)
		require.NoError(t, err)
		assert.False(t, found)
		assert.FileExists(t, s.LogFile(APIServer))
	})
}

func TestProgramsHaveThePermissionsOfProduction(t *testing.T) {
	s := start(t, clusterOnly(t))
	for _, name := range []string{"eks-config", "other"} {
		config := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := s.Client().CoreV1().ConfigMaps("kube-system").Create(t.Context(), config, metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for _, program := range []string{Extender, Admission, vnode} {
		t.Run(program, func(t *testing.T) {
			config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig(program))
			require.NoError(t, err)
			client, err := kubernetes.NewForConfig(config)
			require.NoError(t, err)
			_, err = client.CoreV1().Namespaces().List(t.Context(), metav1.ListOptions{})
			assert.NoError(t, err, "the token is valid")
			_, err = client.CoreV1().Secrets("").List(t.Context(), metav1.ListOptions{})
			assert.True(t, apierrors.IsForbidden(err), "listing secrets: %v", err)
			err = client.CoreV1().Nodes().Delete(t.Context(), LocalNode(0), metav1.DeleteOptions{})
			assert.True(t, apierrors.IsForbidden(err), "deleting a node: %v", err)

			globalSwitch := metav1.ListOptions{FieldSelector: "metadata.name=eks-config"}
			listed, err := client.CoreV1().ConfigMaps("kube-system").List(t.Context(), globalSwitch)
			require.NoError(t, err, "the global switch")
			assert.Len(t, listed.Items, 1)
			_, err = client.CoreV1().ConfigMaps("kube-system").Get(t.Context(), "other", metav1.GetOptions{})
			assert.True(t, apierrors.IsForbidden(err), "another ConfigMap: %v", err)
		})
	}
}

func TestKWOKIgnoresPodsOfOtherNodes(t *testing.T) {
	s := start(t, clusterOnly(t))
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: VirtualNode(0)}}
	_, err := s.Client().CoreV1().Nodes().Create(t.Context(), node, metav1.CreateOptions{})
	require.NoError(t, err)
	createPod(t, s, "cloud", VirtualNode(0))
	createPod(t, s, "local", LocalNode(0))
	requireRunning(t, s, "local")
	assert.Equal(t, corev1.PodPending, getPod(t, s, "cloud").Status.Phase)

	require.NoError(t, s.Client().CoreV1().Pods("default").Delete(t.Context(), "cloud", metav1.DeleteOptions{}))
	require.NoError(t, s.Client().CoreV1().Pods("default").Delete(t.Context(), "local", metav1.DeleteOptions{}))
	require.Eventually(t, func() bool {
		_, err := s.Client().CoreV1().Pods("default").Get(t.Context(), "local", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	}, timeout, pollInterval)
	assert.NotNil(t, getPod(t, s, "cloud").DeletionTimestamp, "only its kubelet deletes it")
}

func TestSystemsRunAtTheSameTime(t *testing.T) {
	systems := make([]*System, 2)
	var group errgroup.Group
	for i := range systems {
		config := clusterOnly(t)
		config.BareNodes = i == 1
		group.Go(func() (err error) {
			systems[i], err = Start(t.Context(), config)
			return err
		})
	}
	err := group.Wait()
	for _, s := range systems {
		if s != nil {
			t.Cleanup(func() { assert.NoError(t, s.Stop(context.Background())) })
		}
	}
	require.NoError(t, err)
	for i, name := range []string{"one", "two"} {
		createPod(t, systems[i], name, "")
	}
	requireRunning(t, systems[0], "one")
	bound := func() bool { return getPod(t, systems[1], "two").Spec.NodeName != "" }
	require.Eventually(t, bound, timeout, pollInterval, "the scheduler binds Pods to bare nodes")
	_, err = systems[1].Client().CoreV1().Pods("default").Get(t.Context(), "one", metav1.GetOptions{})
	assert.True(t, apierrors.IsNotFound(err), "the Pod of the other system: %v", err)
}

func TestFailedStartReportsTheCauseAndLeavesNothing(t *testing.T) {
	config := clusterOnly(t)
	config.Args = map[string][]string{APIServer: {"--no-such-flag"}}
	_, err := Start(t.Context(), config)
	require.ErrorContains(t, err, "waiting for kube-apiserver: the process has ended")
	assert.ErrorContains(t, err, "unknown flag: --no-such-flag", "the end of its log")
	running, err := newProcesses(config.Dir, false).all()
	require.NoError(t, err)
	assert.Empty(t, running)
}

func TestBlocksOfPortsInUseAreSkipped(t *testing.T) {
	first, err := claimPorts(t.TempDir())
	require.NoError(t, err)
	taken, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(first+blockSize-1)))
	if err == nil { // Otherwise another process already uses the port, which is as good.
		defer taken.Close()
	}
	second, err := claimPorts(t.TempDir())
	require.NoError(t, err)
	assert.NotEqual(t, first, second)
}

// KWOK renews Leases apart from its stages, which each change of a node delays. Without Leases, the control plane
// takes such a node for gone, and its Pods are never Ready again.
func TestANodeThatIsChangedAllTheTimeStaysReady(t *testing.T) {
	config := clusterOnly(t)
	const grace = 12 * time.Second // A Lease is renewed every 4 s.
	config.Args = map[string][]string{ControllerManager: {"--node-monitor-grace-period=" + grace.String()}}
	s := start(t, config)
	createPod(t, s, "pod", "")
	node := requireRunning(t, s, "pod").Spec.NodeName
	for begin := time.Now(); time.Since(begin) < grace+5*time.Second; time.Sleep(time.Second) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"second":"%d"}}}`, time.Now().Unix())
		nodes := s.Client().CoreV1().Nodes()
		_, err := nodes.Patch(t.Context(), node, types.MergePatchType, patch, metav1.PatchOptions{})
		require.NoError(t, err)
	}
	ready := policy.PodCondition(getPod(t, s, "pod"), corev1.PodReady)
	require.NotNil(t, ready)
	assert.Equal(t, corev1.ConditionTrue, ready.Status)
}
