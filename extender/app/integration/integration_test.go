// Package integration tests several extenders on a real API server.
package integration

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/extender/app"
	"github.com/spillway-k8s/spillway/extender/config"
	"github.com/spillway-k8s/spillway/extender/leadership"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// timeout is how long a test waits for something that must happen.
const timeout = time.Minute

// startAPI starts an API server with a local node and a virtual node. Only the test binds Pods.
func startAPI(t *testing.T) *system.System {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	trial, err := system.Start(t.Context(), system.Config{
		Dir: t.TempDir(), BinDir: bin, DieWithParent: true, BareNodes: true,
		Shape: system.Shape{LocalNodes: 1, LocalCPU: "4", LocalMemory: "8Gi"},
		Without: []string{
			system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode",
		},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, trial.Stop(context.WithoutCancel(t.Context()))) })
	virtual := &corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: "virtual-0", Labels: policy.VirtualNodeLabels(),
	}}
	_, err = trial.Client().CoreV1().Nodes().Create(t.Context(), virtual, metav1.CreateOptions{})
	require.NoError(t, err)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = trial.Client().CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{})
	require.NoError(t, err)
	return trial
}

// replica is one of several extenders, in this process. A test can block its connection to the API server.
type replica struct {
	*app.Extender
	clients app.Clients
	blocked *atomic.Bool
	late    *stall
	stop    func()
}

func startReplica(t *testing.T, trial *system.System, name string, changes ...func(*config.Config)) *replica {
	t.Helper()
	r := &replica{blocked: &atomic.Bool{}, late: &stall{}}
	cfg := config.Default()
	cfg.Kube.Kubeconfig = trial.UserKubeconfig(system.Extender)
	cfg.Listen, cfg.LeaderElectionNamespace = "127.0.0.1:0", "default"
	cfg.AnswerTimeout.Duration = timeout // An answer may wait for the test.
	for _, change := range changes {
		change(cfg)
	}
	r.clients = r.connect(t, cfg)
	cfg.Kube.Kubeconfig = trial.Kubeconfig() // The extender has no rights for the Leases of these tests.
	r.clients.Leases = r.connect(t, cfg).Leases
	var err error
	r.Extender, err = app.New(cfg, r.clients, name, slog.New(loggingtest.Handler(t, slog.DiscardHandler)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	r.stop = func() {
		r.blocked.Store(false)
		cancel()
		assert.NoError(t, <-done)
		done <- nil
	}
	t.Cleanup(r.stop)
	return r
}

// connect returns clients whose requests the test can block.
func (r *replica) connect(t *testing.T, cfg *config.Config) app.Clients {
	t.Helper()
	cluster, err := cfg.Kube.REST("extender")
	require.NoError(t, err)
	cluster.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if r.blocked.Load() {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return next.RoundTrip(request)
		})
	})
	cluster.Wrap(r.late.wrap)
	clients, err := app.NewClients(cluster)
	require.NoError(t, err)
	return clients
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (r *replica) awaitLead(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return r.Placement.Ready() == nil }, timeout, 10*time.Millisecond)
}

// replicaOf creates a Pod of one ReplicaSet with a quota of 1.
func replicaOf(t *testing.T, trial *system.System, name string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{policy.SwitchKey: "true", policy.LocalReplicasAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "web", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
	}
	pod, err := trial.Client().CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return pod
}

func everyNode() []string { return []string{system.LocalNode(0), "virtual-0"} }

// nodeFor returns the one node that is left for a Pod. It calls Filter like a scheduler that has seen the latest
// version of the Pod.
func (r *replica) nodeFor(t *testing.T, trial *system.System, name string) string {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	result, err := r.Placement.Filter(t.Context(), pod, everyNode())
	require.NoError(t, err)
	require.Len(t, result.Names, 1)
	return result.Names[0]
}

// lateSlots writes a slot when the test releases it, like a process that is suspended between its decision and the
// write.
type lateSlots struct {
	placement.Slots
	called, release chan struct{}
}

func (s *lateSlots) Write(_ context.Context, pod *corev1.Pod, annotation, value string) (bool, error) {
	close(s.called)
	<-s.release
	return s.Slots.Write(context.Background(), pod, annotation, value)
}

// TestASuspendedLeaderTakesNoSlot: a leader decides, is suspended until another leader has given the slot, and resumes.
func TestASuspendedLeaderTakesNoSlot(t *testing.T) {
	trial := startAPI(t)
	first := startReplica(t, trial, "first")
	first.awaitLead(t)
	second := startReplica(t, trial, "second")

	early, late := replicaOf(t, trial, "early"), replicaOf(t, trial, "late")
	slots := &lateSlots{placement.PodSlots{Client: first.clients.Kubernetes}, make(chan struct{}), make(chan struct{})}
	suspended := first.PlacementWith(slots)
	_, err := suspended.Filter(t.Context(), late, everyNode())
	require.ErrorContains(t, err, "writing the slot", "there is no answer before the slot is written")
	<-slots.called
	first.blocked.Store(true)
	second.awaitLead(t)
	require.ErrorIs(t, first.Placement.Ready(), leadership.ErrNotLeading)
	assert.Equal(t, system.LocalNode(0), second.nodeFor(t, trial, "early"))
	bind(t, trial, early)

	first.blocked.Store(false)
	close(slots.release)
	require.Eventually(t, func() bool {
		pod, err := trial.Client().CoreV1().Pods("default").Get(t.Context(), "late", metav1.GetOptions{})
		return err == nil && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID)
	}, timeout, 10*time.Millisecond, "the slot is written, and must not count")
	_, err = suspended.Filter(t.Context(), late, everyNode())
	require.ErrorIs(t, err, leadership.ErrNotLeading, "there is no answer, because its term is over")
	assert.Equal(t, "virtual-0", second.nodeFor(t, trial, "late"))

	second.stop()
	first.awaitLead(t)
	assert.Equal(t, "virtual-0", first.nodeFor(t, trial, "late"), "this holds for the extender that wrote the slot")
	third := startReplica(t, trial, "third")
	first.stop()
	third.awaitLead(t)
	node := third.nodeFor(t, trial, "late")
	assert.Equal(t, "virtual-0", node, "this holds for an extender that reads the slot with its first list")
}

// TestASlotOutlivesItsLeader: the next leader counts every slot that was reported, whatever its own watch has seen.
func TestASlotOutlivesItsLeader(t *testing.T) {
	trial := startAPI(t)
	first := startReplica(t, trial, "first")
	first.awaitLead(t)
	second := startReplica(t, trial, "second")
	require.Eventually(t, second.Placement.Synced, timeout, 10*time.Millisecond)
	replicaOf(t, trial, "one")
	replicaOf(t, trial, "two")
	assert.Equal(t, system.LocalNode(0), first.nodeFor(t, trial, "one"))
	first.stop()
	second.awaitLead(t)
	assert.Equal(t, "virtual-0", second.nodeFor(t, trial, "two"))
	assert.Equal(t, system.LocalNode(0), second.nodeFor(t, trial, "one"))
}

// stall delays the events of all watches of a client while held is locked.
type stall struct{ held sync.RWMutex }

func (s *stall) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		response, err := next.RoundTrip(request)
		if err == nil && request.URL.Query().Get("watch") != "" {
			response.Body = &stalledBody{response.Body, s}
		}
		return response, err
	})
}

type stalledBody struct {
	io.ReadCloser
	stall *stall
}

func (b *stalledBody) Read(buffer []byte) (int, error) {
	n, err := b.ReadCloser.Read(buffer)
	b.stall.held.RLock()
	defer b.stall.held.RUnlock()
	return n, err
}

// TestASchedulerThatTakesOverGivesNoSlotTwice: two schedulers have an extender each. The first extender gives the slot
// and its scheduler stops leading, while the watch of the second extender is delayed.
func TestASchedulerThatTakesOverGivesNoSlotTwice(t *testing.T) {
	trial := startAPI(t)
	leases := trial.Client().CoordinationV1().Leases("default")
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: new("first_a"), LeaseTransitions: new(int32(1))},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	lead := func(identity string) {
		*lease.Spec.HolderIdentity = identity
		*lease.Spec.LeaseTransitions++
		lease, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	sidecar := func(c *config.Config) { c.LeaderElectionNamespace, c.SchedulerLease = "", "default/kube-scheduler" }
	first := startReplica(t, trial, "first", sidecar)
	second := startReplica(t, trial, "second", sidecar)
	first.awaitLead(t)
	second.awaitLead(t)
	one, two := replicaOf(t, trial, "one"), replicaOf(t, trial, "two")
	require.NoError(t, second.Ledger.WaitFor(t.Context(), two.ResourceVersion))

	second.late.held.Lock()
	assert.Equal(t, system.LocalNode(0), first.nodeFor(t, trial, "one"))
	_, err = second.Placement.Filter(t.Context(), two, everyNode())
	require.ErrorIs(t, err, leadership.ErrOtherScheduler, "its scheduler does not lead")
	lead("second_b")
	answer := make(chan placement.FilterResult)
	go func() {
		result, err := second.Placement.Filter(t.Context(), two, everyNode())
		assert.NoError(t, err)
		answer <- result
	}()
	_, err = first.Placement.Filter(t.Context(), one, everyNode())
	require.ErrorIs(t, err, leadership.ErrOtherScheduler,
		"a scheduler that has not noticed yet that it no longer leads gets no slot")
	select {
	case result := <-answer:
		require.FailNow(t, "it does not know yet which slots were given before", "%v", result)
	case <-time.After(100 * time.Millisecond):
	}
	second.late.held.Unlock()
	assert.Equal(t, []string{"virtual-0"}, (<-answer).Names)
	assert.Equal(t, system.LocalNode(0), second.nodeFor(t, trial, "one"), "the Pod keeps its slot")

	lead("first_c")
	assert.Equal(t, "virtual-0", first.nodeFor(t, trial, "two"))
	assert.Equal(t, system.LocalNode(0), first.nodeFor(t, trial, "one"))
}

func bind(t *testing.T, trial *system.System, pod *corev1.Pod) {
	t.Helper()
	err := trial.Client().CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID},
		Target:     corev1.ObjectReference{Kind: "Node", Name: system.LocalNode(0)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}
