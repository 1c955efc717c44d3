package stories

import (
	"context"
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"

	"github.com/spillway-k8s/spillway/policy"
)

// Burst describes the creation of many replicas at once under a quota.
type Burst struct {
	Replicas, Quota int
	// Midway is called once, as soon as MidwayAt Pods are bound. It may be nil.
	MidwayAt int
	Midway   func(ctx context.Context) error
}

// PlayBurst creates a Deployment with a quota and watches every change of its Pods. It checks that the number of active
// Pods on local nodes never exceeds the quota, that it equals the quota at the end, and that the cloud created each Pod
// once.
func PlayBurst(ctx context.Context, w *World, b Burst) error {
	watcher, err := w.watchLocal(ctx)
	if err != nil {
		return err
	}
	defer watcher.stop()
	manifest := fmt.Sprintf(`{apiVersion: apps/v1, kind: Deployment, metadata: {name: burst}, spec: {
  replicas: %d, selector: {matchLabels: {app: burst}}, template: {
    metadata: {labels: {app: burst}, annotations: {AUTO_SCALE_EKS: "true", LOCAL_REPLICAS: "%d"}},
    spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: nginx}]}}}}`,
		b.Replicas, b.Quota)
	if _, err := w.kubectl(ctx, manifest, "apply", "-f", "-"); err != nil {
		return err
	}
	if b.Midway != nil {
		if err := watcher.awaitBound(ctx, b.MidwayAt); err != nil {
			return err
		}
		if err := b.Midway(ctx); err != nil {
			return err
		}
	}
	if err := w.awaitRunning(ctx, "burst", b.Quota, b.Replicas-b.Quota); err != nil {
		return err
	}
	if most := watcher.most(); most > b.Quota {
		return fmt.Errorf("%d replicas were local at the same time: want at most %d", most, b.Quota)
	}
	return w.noDuplicates(ctx)
}

// localWatcher counts the Pods of a namespace after every change: the active local ones, all active ones, and those
// that are Ready.
type localWatcher struct {
	watch *watchtools.RetryWatcher

	mu    sync.Mutex
	local map[types.UID]bool
	bound map[types.UID]bool
	peak  int

	active, ready               map[types.UID]bool
	peakActive, fewestReadyPods int
	seen                        chan struct{} // closed and replaced at each change
}

func (w *World) watchLocal(ctx context.Context) (*localWatcher, error) {
	pods := w.client.CoreV1().Pods(w.Namespace)
	list, err := pods.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	source := &cache.ListWatch{
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return pods.Watch(ctx, o)
		},
	}
	retry, err := watchtools.NewRetryWatcherWithContext(ctx, list.ResourceVersion, source)
	if err != nil {
		return nil, fmt.Errorf("watching pods: %w", err)
	}
	l := newLocalWatcher()
	l.watch = retry
	for i := range list.Items {
		l.note(&list.Items[i], false)
	}
	l.fewestReadyPods = len(l.ready)
	go func() {
		for event := range retry.ResultChan() {
			if pod, ok := event.Object.(*corev1.Pod); ok {
				l.observe(pod, event.Type == watch.Deleted)
			}
		}
	}()
	return l, nil
}

func newLocalWatcher() *localWatcher {
	return &localWatcher{
		local: map[types.UID]bool{}, bound: map[types.UID]bool{}, seen: make(chan struct{}),
		active: map[types.UID]bool{}, ready: map[types.UID]bool{},
	}
}

func (l *localWatcher) stop() { l.watch.Stop() }

func (l *localWatcher) observe(pod *corev1.Pod, deleted bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	local := policy.IsActive(pod) && pod.Spec.NodeName != "" && !isVirtual(pod.Spec.NodeName)
	if local && !deleted {
		l.local[pod.UID] = true
	} else {
		delete(l.local, pod.UID)
	}
	if pod.Spec.NodeName != "" {
		l.bound[pod.UID] = true
	}
	l.note(pod, deleted)
	l.fewestReadyPods = min(l.fewestReadyPods, len(l.ready))
	l.peak = max(l.peak, len(l.local))
	close(l.seen)
	l.seen = make(chan struct{})
}

// note counts one Pod. The caller holds mu, or is alone.
func (l *localWatcher) note(pod *corev1.Pod, deleted bool) {
	for set, in := range map[*map[types.UID]bool]bool{
		&l.active: !deleted && policy.IsActive(pod), &l.ready: !deleted && policy.IsActive(pod) && isReady(pod),
	} {
		if in {
			(*set)[pod.UID] = true
		} else {
			delete(*set, pod.UID)
		}
	}
	l.peakActive = max(l.peakActive, len(l.active))
}

// mostActive returns how many Pods were active at the same time at most.
func (l *localWatcher) mostActive() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peakActive
}

// fewestReady returns how many Pods were Ready at the same time at least, since the watch began.
func (l *localWatcher) fewestReady() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fewestReadyPods
}

func (l *localWatcher) most() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.peak
}

// awaitBound blocks until the given number of Pods have been bound.
func (l *localWatcher) awaitBound(ctx context.Context, want int) error {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	for {
		l.mu.Lock()
		bound, seen := len(l.bound), l.seen
		l.mu.Unlock()
		if bound >= want {
			return nil
		}
		select {
		case <-seen:
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d bound pods: %d are bound: %w", want, bound, ctx.Err())
		}
	}
}

// noDuplicates checks with the simulator that it never created two cloud Pods for one Pod.
func (w *World) noDuplicates(ctx context.Context) error {
	_, err := w.cluster.Cloud.PodsByUID(ctx)
	return err
}
