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
	rounds = flag.Int("rounds", 6, "number of rounds to play")
	seed   = flag.Uint64("seed", 0, "seed of the rounds; with 0 it is random")
)

// timeout is how long anything may take when there is no fault.
const timeout = 3 * time.Minute

func TestAVirtualNodeEndures(t *testing.T) {
	if *seed == 0 {
		*seed = rand.Uint64()
	}
	t.Logf("%d rounds with seed %d: repeat them with -seed=%d", *rounds, *seed, *seed)
	r := newRun(t)
	for round := range *rounds {
		r.play(round)
		require.Empty(t, r.failures(), "Pods failed that could have run")
	}
	r.end()
}

// run is a system and what the test has observed of it.
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
	s, err := system.Start(t.Context(), system.Config{
		Dir: dir, BinDir: binDir, Shape: shape, DieWithParent: true, Progress: t.Output(),
	})
	require.NoError(t, err)
	r := &run{
		t: t, system: s, cloud: cloud{s.Cloud()}, workloads: workloads{s.Client(), "default"},
		random: rand.New(rand.NewPCG(*seed, 0)),
	}
	t.Cleanup(func() {
		if t.Failed() {
			r.printPods()
			log, err := os.ReadFile(s.LogFile(system.VNode(0)))
			t.Logf("the log of the virtual node ends (%v):\n%s", err, log[max(0, len(log)-10000):])
		}
		assert.NoError(t, system.Stop(context.Background(), dir))
	})
	r.watch()
	return r
}

// printPods prints the Pods of the cluster.
func (r *run) printPods() {
	pods, err := r.system.Client().CoreV1().Pods(r.workloads.namespace).List(context.Background(), metav1.ListOptions{})
	if err != nil {
		r.t.Log(err)
		return
	}
	for _, p := range pods.Items {
		deletion := "not deleted"
		if p.DeletionTimestamp != nil {
			deletion = fmt.Sprintf("deleted at %s with a grace period of %d s, finalizers %v",
				p.DeletionTimestamp, *p.DeletionGracePeriodSeconds, p.Finalizers)
		}
		r.t.Logf("%s on %q, %s: %s %s %s", p.Name, p.Spec.NodeName, deletion, p.Status.Phase, p.Status.Reason,
			p.Status.Message)
	}
}

// watch records every Pod that fails without being deleted.
func (r *run) watch() {
	factory := informers.NewSharedInformerFactoryWithOptions(r.system.Client(), 0,
		informers.WithNamespace(r.workloads.namespace))
	observe := func(obj any) {
		if pod, ok := obj.(*corev1.Pod); ok && pod.Status.Phase == corev1.PodFailed && pod.DeletionTimestamp == nil {
			r.mu.Lock()
			r.failed = append(r.failed, fmt.Sprintf("%s: %s %s", pod.Name, pod.Status.Reason, pod.Status.Message))
			r.mu.Unlock()
		}
	}
	_, err := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: observe, UpdateFunc: func(_, obj any) { observe(obj) },
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

// play plays one round: a fault, workloads that are created, changed and deleted, and sometimes the end of the virtual
// node.
func (r *run) play(round int) {
	ctx := r.t.Context()
	description, err := r.cloud.disturb(ctx, r.random)
	require.NoError(r.t, err)
	var group sync.WaitGroup
	if r.random.IntN(2) == 0 {
		r.kills++
		description += ", the virtual node killed"
		delay := time.Duration(r.random.IntN(1000)) * time.Millisecond
		group.Go(func() {
			time.Sleep(delay) // Not a wait: the process is killed at a random moment.
			assert.NoError(r.t, r.system.Kill(system.VNode(0)))
			assert.NoError(r.t, r.system.Restart(ctx, system.VNode(0)))
		})
	}
	r.t.Logf("round %d: %s", round+1, description)
	if round >= keep {
		require.NoError(r.t, r.workloads.remove(ctx, round-keep))
		name := fmt.Sprintf("db-%d", round%keep)
		r.eventually("the earlier set is deleted", func() error { return r.workloads.gone(ctx, name) })
	}
	require.NoError(r.t, r.workloads.create(ctx, round))
	if round > 0 {
		earlier := r.random.IntN(min(round, keep-1)) + max(0, round-keep+1)
		require.NoError(r.t, r.workloads.change(ctx, earlier, r.random))
	}
	time.Sleep(time.Duration(r.random.IntN(1500)) * time.Millisecond) // Not a wait: the fault lasts this long.
	require.NoError(r.t, r.cloud.resetFaults(ctx))
	group.Wait()
}

// end waits until everything runs, and compares the cloud with the cluster.
func (r *run) end() {
	ctx := r.t.Context()
	r.eventually("everything runs", func() error { return r.workloads.unfinished(ctx) })
	r.eventually("the cloud has the same Pods as the cluster", func() error { return r.compare(ctx) })
	assert.Empty(r.t, r.failures(), "Pods failed that could have run")
	r.t.Logf("%d rounds, the virtual node was killed in %d", *rounds, r.kills)
	for round := max(0, *rounds-keep); round < *rounds; round++ {
		require.NoError(r.t, r.workloads.remove(ctx, round))
	}
	r.eventually("the cloud is empty", func() error {
		present, err := r.cloud.PodsByUID(ctx)
		if err == nil && len(present) > 0 {
			err = fmt.Errorf("the cloud has %v", present)
		}
		return err
	})
}

// compare returns an error for each Pod that only the cloud or only the cluster has.
func (r *run) compare(ctx context.Context) error {
	present, err := r.cloud.PodsByUID(ctx)
	if err != nil {
		return err
	}
	pods, err := r.system.Client().CoreV1().Pods(r.workloads.namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	var errs []error
	for _, pod := range pods.Items {
		if _, ok := present[pod.UID]; !ok {
			errs = append(errs, fmt.Errorf("the cloud has no Pod for %s", pod.Name))
		}
		delete(present, pod.UID)
	}
	for _, name := range present {
		errs = append(errs, fmt.Errorf("the cluster has no Pod for %s", name))
	}
	return errors.Join(errs...)
}

// eventually calls the check until it succeeds. Meanwhile it uncordons the virtual node, as an operator does when the
// cloud has capacity again.
func (r *run) eventually(what string, check func() error) {
	r.t.Helper()
	deadline := time.Now().Add(timeout)
	for {
		err := errors.Join(check(), r.uncordon())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			require.NoError(r.t, err, "not within %s: %s", timeout, what)
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
