package endure

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/test/system"
)

var (
	rounds = flag.Int("rounds", 6, "how many rounds to play")
	seed   = flag.Uint64("seed", 0, "seed of the rounds; 0 draws one")
)

// patience is how long anything may take once nothing stands against it.
const patience = 3 * time.Minute

func TestAVirtualNodeEndures(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("%d rounds of seed %d: -seed=%d plays them again", *rounds, *seed, *seed)
	r := newRun(t)
	for round := range *rounds {
		r.play(round)
		require.Empty(t, r.failures(), "Pods have failed that could have run")
	}
	r.end()
}

// run is a system and what has been seen of it.
type run struct {
	t         *testing.T
	system    *system.System
	cloud     cloud
	workloads workloads
	random    *rand.Rand
	kills     int

	mu     sync.Mutex
	failed []string
}

func newRun(t *testing.T) *run {
	binDir, err := system.FindBinDir()
	require.NoError(t, err)
	dir := t.TempDir()
	shape := system.DefaultShape()
	shape.LocalNodes = 1
	s, err := system.Start(t.Context(), system.Config{Dir: dir, BinDir: binDir, Shape: shape, DieWithParent: true, Progress: t.Output()})
	require.NoError(t, err)
	r := &run{
		t: t, system: s, cloud: cloud{s.Cloud().Endpoint}, workloads: workloads{s.Client(), "default"}, random: rand.New(rand.NewPCG(*seed, 0)),
	}
	t.Cleanup(func() {
		if t.Failed() {
			r.tellPods()
			log, err := os.ReadFile(s.LogFile(system.VNode(0)))
			t.Logf("the log of the virtual node ends (%v):\n%s", err, log[max(0, len(log)-10000):])
		}
		assert.NoError(t, system.Stop(context.Background(), dir))
	})
	r.watch()
	return r
}

// tellPods shows what the cluster has.
func (r *run) tellPods() {
	pods, err := r.system.Client().CoreV1().Pods(r.workloads.namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		r.t.Log(err)
		return
	}
	for _, p := range pods.Items {
		words := "there"
		if p.DeletionTimestamp != nil {
			words = fmt.Sprintf("deleted at %s with a grace of %d s, finalizers %v", p.DeletionTimestamp, *p.DeletionGracePeriodSeconds, p.Finalizers)
		}
		r.t.Logf("%s on %q, %s: %s %s %s", p.Name, p.Spec.NodeName, words, p.Status.Phase, p.Status.Reason, p.Status.Message)
	}
}

// watch notes every Pod that fails without having been told to end.
func (r *run) watch() {
	factory := informers.NewSharedInformerFactoryWithOptions(r.system.Client(), 0, informers.WithNamespace(r.workloads.namespace))
	look := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp == nil {
			r.mu.Lock()
			r.failed = append(r.failed, fmt.Sprintf("%s: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message))
			r.mu.Unlock()
		}
	}
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: look, UpdateFunc: func(_, obj any) { look(obj) },
	})
	require.NoError(r.t, err)
	factory.StartWithContext(r.t.Context())
	factory.WaitForCacheSync(r.t.Context().Done())
}

func (r *run) failures() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.failed...)
}

// play is one round: the weather, what is made, changed and deleted in it, and perhaps the end of the virtual node in the middle.
func (r *run) play(round int) {
	ctx := r.t.Context()
	weather, err := r.cloud.worsen(ctx, r.random)
	require.NoError(r.t, err)
	var group sync.WaitGroup
	if r.random.IntN(2) == 0 {
		r.kills++
		weather += ", the virtual node killed"
		delay := time.Duration(r.random.IntN(1000)) * time.Millisecond
		group.Go(func() {
			time.Sleep(delay) // Any moment is right.
			assert.NoError(r.t, r.system.Kill(system.VNode(0)))
			assert.NoError(r.t, r.system.Restart(ctx, system.VNode(0)))
		})
	}
	r.t.Logf("round %d: %s", round+1, weather)
	if round >= keep {
		require.NoError(r.t, r.workloads.remove(ctx, round-keep))
		r.eventually("the earlier set is deleted", func() error { return r.workloads.gone(ctx, fmt.Sprintf("db-%d", round%keep)) })
	}
	require.NoError(r.t, r.workloads.make(ctx, round))
	if round > 0 {
		require.NoError(r.t, r.workloads.change(ctx, r.random.IntN(min(round, keep-1))+max(0, round-keep+1), r.random))
	}
	time.Sleep(time.Duration(r.random.IntN(1500)) * time.Millisecond) // The weather lasts for a while.
	require.NoError(r.t, r.cloud.heal(ctx))
	group.Wait()
}

// end waits until everything runs, and compares the cloud with the cluster.
func (r *run) end() {
	ctx := r.t.Context()
	r.eventually("everything runs", func() error { return r.workloads.unfinished(ctx) })
	r.eventually("the cloud has what the cluster has", func() error { return r.compare(ctx) })
	assert.Empty(r.t, r.failures(), "Pods have failed that could have run")
	r.t.Logf("%d rounds, the virtual node killed in %d", *rounds, r.kills)
	for round := max(0, *rounds-keep); round < *rounds; round++ {
		require.NoError(r.t, r.workloads.remove(ctx, round))
	}
	r.eventually("the cloud is empty", func() error {
		present, err := r.cloud.pods(ctx)
		if err == nil && len(present) > 0 {
			err = fmt.Errorf("the cloud has %v", present)
		}
		return err
	})
}

// compare says what either has that the other has not.
func (r *run) compare(ctx context.Context) error {
	present, err := r.cloud.pods(ctx)
	if err != nil {
		return err
	}
	pods, err := r.system.Client().CoreV1().Pods(r.workloads.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var faults []error
	for _, pod := range pods.Items {
		if _, ok := present[pod.UID]; !ok {
			faults = append(faults, fmt.Errorf("the cloud has no Pod for %s", pod.Name))
		}
		delete(present, pod.UID)
	}
	for _, name := range present {
		faults = append(faults, fmt.Errorf("the cluster has no Pod for %s", name))
	}
	return errors.Join(faults...)
}

// eventually returns when the check finds nothing wrong. Meanwhile it does what an operator does who hears that the cloud has room again.
func (r *run) eventually(what string, check func() error) {
	r.t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := errors.Join(check(), r.uncordon())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(r.t, err, "waited in vain until %s", what)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

// uncordon ends a lock, as kubectl uncordon does.
func (r *run) uncordon() error {
	_, err := r.system.Client().CoreV1().Nodes().Patch(r.t.Context(), system.VirtualNode(0), types.MergePatchType,
		[]byte(`{"spec":{"unschedulable":null}}`), metav1.PatchOptions{})
	return err
}
