package main

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

	"github.com/spillway-k8s/spillway/extender/leader"
	"github.com/spillway-k8s/spillway/extender/placement"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

// startAPI starts an API server with two nodes, a local one and a virtual one, and nothing that places Pods but the test.
func startAPI(t *testing.T) *system.System {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	trial, err := system.Start(t.Context(), system.Config{
		Dir: t.TempDir(), BinDir: bin, DieWithParent: true, BareNodes: true, Shape: system.Shape{LocalNodes: 1, LocalCPU: "4", LocalMemory: "8Gi"},
		Without: []string{system.ControllerManager, system.Scheduler, system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, trial.Stop(context.WithoutCancel(t.Context()))) })
	virtual := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "virtual-0", Labels: map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual}}}
	_, err = trial.Client().CoreV1().Nodes().Create(t.Context(), virtual, metav1.CreateOptions{})
	require.NoError(t, err)
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	_, err = trial.Client().CoreV1().ServiceAccounts("default").Create(t.Context(), account, metav1.CreateOptions{})
	require.NoError(t, err)
	return trial
}

// replica is one extender of several, in this process. Its way to the API server can be cut.
type replica struct {
	*extender
	cut  *atomic.Bool
	late *stall
	stop func()
}

func startReplica(t *testing.T, trial *system.System, name string, changes ...func(*Config)) *replica {
	t.Helper()
	r := &replica{cut: &atomic.Bool{}, late: &stall{}}
	cfg := defaultConfig()
	cfg.Kube.Kubeconfig = trial.Kubeconfig()
	cfg.Listen, cfg.LeaderElectionNamespace = "127.0.0.1:0", "default"
	cfg.Patience.Duration = patience // What an answer waits for is the test.
	for _, change := range changes {
		change(cfg)
	}
	config, err := cfg.Kube.REST("extender")
	require.NoError(t, err)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(request *http.Request) (*http.Response, error) {
			if r.cut.Load() {
				<-request.Context().Done()
				return nil, request.Context().Err()
			}
			return next.RoundTrip(request)
		})
	})
	config.Wrap(r.late.wrap)
	r.extender, err = newExtender(cfg, config, name, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	r.stop = func() {
		r.cut.Store(false)
		cancel()
		assert.NoError(t, <-done)
		done <- nil
	}
	t.Cleanup(r.stop)
	return r
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func (r *replica) awaitLead(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool { return r.answers.Ready() == nil }, patience, 10*time.Millisecond)
}

// replicaOf makes a Pod of one ReplicaSet with a quota of 1.
func replicaOf(t *testing.T, trial *system.System, name string) *corev1.Pod {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Annotations: map[string]string{policy.SwitchKey: "true", policy.LocalReplicasAnnotation: "1"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "web", Controller: new(true)}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "nginx"}}},
	}
	pod, err := trial.Client().CoreV1().Pods("default").Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return pod
}

func everyNode() []string { return []string{system.LocalNode(0), "virtual-0"} }

// class asks about a Pod as the scheduler would that has seen it as it is now.
func (r *replica) class(t *testing.T, trial *system.System, name string) string {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods("default").Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	verdict, err := r.answers.Filter(t.Context(), pod, everyNode())
	require.NoError(t, err)
	require.Len(t, verdict.Names, 1)
	return verdict.Names[0]
}

// lateSlots writes a slot when the test lets it, as a process does that was stopped between its decision and the request.
type lateSlots struct {
	placement.Slots
	asked, release chan struct{}
}

func (s *lateSlots) Write(_ context.Context, pod *corev1.Pod) (bool, error) {
	close(s.asked)
	<-s.release
	return s.Slots.Write(context.Background(), pod)
}

// TestASleepingLeaderTakesNoSlot: a leader decides, sleeps until the other one has given the slot away, and goes on as if nothing had been.
func TestASleepingLeaderTakesNoSlot(t *testing.T) {
	trial := startAPI(t)
	first := startReplica(t, trial, "first")
	first.awaitLead(t)
	second := startReplica(t, trial, "second")

	early, late := replicaOf(t, trial, "early"), replicaOf(t, trial, "late")
	slots := &lateSlots{placement.PodSlots{Client: first.client}, make(chan struct{}), make(chan struct{})}
	sleeper, err := first.answersOver(slots)
	require.NoError(t, err)
	_, err = sleeper.Filter(t.Context(), late, everyNode())
	require.ErrorContains(t, err, "writing the slot", "it says nothing before the slot is written")
	<-slots.asked
	first.cut.Store(true)
	second.awaitLead(t)
	require.ErrorIs(t, first.answers.Ready(), leader.ErrNotLeading)
	assert.Equal(t, system.LocalNode(0), second.class(t, trial, "early"))
	bind(t, trial, early)

	first.cut.Store(false)
	close(slots.release)
	require.Eventually(t, func() bool {
		pod, err := trial.Client().CoreV1().Pods("default").Get(t.Context(), "late", metav1.GetOptions{})
		return err == nil && pod.Annotations[policy.LocalSlotAnnotation] == string(pod.UID)
	}, patience, 10*time.Millisecond, "what it wrote is there, and must mean nothing")
	_, err = sleeper.Filter(t.Context(), late, everyNode())
	require.ErrorIs(t, err, leader.ErrNotLeading, "it says nothing, for its term is over")
	assert.Equal(t, "virtual-0", second.class(t, trial, "late"))

	second.stop()
	first.awaitLead(t)
	assert.Equal(t, "virtual-0", first.class(t, trial, "late"), "also to who wrote it")
	third := startReplica(t, trial, "third")
	first.stop()
	third.awaitLead(t)
	assert.Equal(t, "virtual-0", third.class(t, trial, "late"), "and to who finds it with the first list")
}

// TestASlotOutlivesItsLeader: what was answered is counted by who leads next, however the leader went and whatever its own watch has seen.
func TestASlotOutlivesItsLeader(t *testing.T) {
	trial := startAPI(t)
	first := startReplica(t, trial, "first")
	first.awaitLead(t)
	second := startReplica(t, trial, "second")
	require.Eventually(t, second.answers.Filled, patience, 10*time.Millisecond)
	replicaOf(t, trial, "one")
	replicaOf(t, trial, "two")
	assert.Equal(t, system.LocalNode(0), first.class(t, trial, "one"))
	first.stop()
	second.awaitLead(t)
	assert.Equal(t, "virtual-0", second.class(t, trial, "two"))
	assert.Equal(t, system.LocalNode(0), second.class(t, trial, "one"))
}

// stall holds back what the watches of a client bring, from when it is called until the returned function is.
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

// TestASchedulerThatTakesOverGivesNoSlotTwice: two schedulers, an extender beside each. The first gives the slot and goes, and what the other's watch
// brings is late.
func TestASchedulerThatTakesOverGivesNoSlotTwice(t *testing.T) {
	trial := startAPI(t)
	leases := trial.Client().CoordinationV1().Leases("default")
	lease, err := leases.Create(t.Context(), &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "kube-scheduler"}, Spec: coordinationv1.LeaseSpec{
		HolderIdentity: new("first_a"), LeaseTransitions: new(int32(1)),
	}}, metav1.CreateOptions{})
	require.NoError(t, err)
	lead := func(identity string) {
		*lease.Spec.HolderIdentity = identity
		*lease.Spec.LeaseTransitions++
		lease, err = leases.Update(t.Context(), lease, metav1.UpdateOptions{})
		require.NoError(t, err)
	}
	besideScheduler := func(c *Config) { c.LeaderElectionNamespace, c.SchedulerLease = "", "default/kube-scheduler" }
	first := startReplica(t, trial, "first", besideScheduler)
	second := startReplica(t, trial, "second", besideScheduler)
	first.awaitLead(t)
	second.awaitLead(t)
	one, two := replicaOf(t, trial, "one"), replicaOf(t, trial, "two")
	require.NoError(t, second.ledger.WaitFor(t.Context(), two.ResourceVersion))

	second.late.held.Lock()
	assert.Equal(t, system.LocalNode(0), first.class(t, trial, "one"))
	_, err = second.answers.Filter(t.Context(), two, everyNode())
	require.ErrorIs(t, err, leader.ErrOtherScheduler, "its scheduler does not lead")
	lead("second_b")
	answer := make(chan placement.Verdict)
	go func() {
		verdict, err := second.answers.Filter(t.Context(), two, everyNode())
		assert.NoError(t, err)
		answer <- verdict
	}()
	_, err = first.answers.Filter(t.Context(), one, everyNode())
	require.ErrorIs(t, err, leader.ErrOtherScheduler, "a scheduler that does not know yet that it leads no longer gets nothing")
	select {
	case verdict := <-answer:
		require.FailNow(t, "it does not know yet what was given before", "%v", verdict)
	case <-time.After(100 * time.Millisecond):
	}
	second.late.held.Unlock()
	assert.Equal(t, []string{"virtual-0"}, (<-answer).Names)
	assert.Equal(t, system.LocalNode(0), second.class(t, trial, "one"), "who has the slot keeps it")

	lead("first_c")
	assert.Equal(t, "virtual-0", first.class(t, trial, "two"))
	assert.Equal(t, system.LocalNode(0), first.class(t, trial, "one"))
}

func bind(t *testing.T, trial *system.System, pod *corev1.Pod) {
	t.Helper()
	err := trial.Client().CoreV1().Pods("default").Bind(t.Context(), &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: system.LocalNode(0)},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
}
