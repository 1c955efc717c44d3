package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
)

// stallTimeout is how long the next binding may take before the run fails.
const stallTimeout = 2 * time.Minute

// bindings observes the bindings of Pods: a watch of bound Pods adds a Pod when it is bound. It reads only metadata,
// which costs little on the machine that is measured.
type bindings struct {
	pods  metadata.ResourceInterface
	watch watch.Interface
	// bound contains the Pods that have been observed, and first is the time of the first of them.
	bound map[types.UID]bool
	first time.Time
}

// watchBindings starts a watch. No Pod may be bound yet. The caller must call stop.
func watchBindings(ctx context.Context, client metadata.Interface) (*bindings, error) {
	b := &bindings{
		pods:  client.Resource(corev1.SchemeGroupVersion.WithResource("pods")).Namespace(namespace),
		bound: map[types.UID]bool{},
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	if len(b.bound) > 0 {
		b.stop()
		return nil, fmt.Errorf("%d pods were bound before the scheduler was started", len(b.bound))
	}
	return b, nil
}

// begin lists the bound Pods and watches from there.
func (b *bindings) begin(ctx context.Context) error {
	bound := metav1.ListOptions{FieldSelector: "spec.nodeName!="}
	list, err := b.pods.List(ctx, bound)
	if err != nil {
		return fmt.Errorf("listing bound pods: %w", err)
	}
	for i := range list.Items {
		b.observe(&list.Items[i])
	}
	bound.ResourceVersion = list.ResourceVersion
	if b.watch, err = b.pods.Watch(ctx, bound); err != nil {
		return fmt.Errorf("watching bound pods: %w", err)
	}
	return nil
}

func (b *bindings) observe(pod *metav1.PartialObjectMetadata) {
	if len(b.bound) == 0 {
		b.first = time.Now()
	}
	b.bound[pod.UID] = true
}

func (b *bindings) stop() { b.watch.Stop() }

// await returns the time from the first to the last of count bindings.
func (b *bindings) await(ctx context.Context, count int) (time.Duration, error) {
	timer := time.NewTimer(stallTimeout)
	defer timer.Stop()
	for len(b.bound) < count {
		select {
		case <-ctx.Done():
			return 0, fmt.Errorf("waiting for bindings: %d of %d observed: %w", len(b.bound), count, ctx.Err())
		case <-timer.C:
			return 0, fmt.Errorf("waiting for bindings: %d of %d observed, then none for %s", len(b.bound), count, stallTimeout)
		case event, ok := <-b.watch.ResultChan():
			if err := b.take(ctx, event, ok); err != nil {
				return 0, err
			}
			timer.Reset(stallTimeout)
		}
	}
	return time.Since(b.first), nil
}

func (b *bindings) take(ctx context.Context, event watch.Event, ok bool) error {
	if !ok { // The API server ends the watch of a slow client, which can happen on a busy machine.
		return b.begin(ctx)
	}
	pod, isPod := event.Object.(*metav1.PartialObjectMetadata)
	if !isPod {
		return fmt.Errorf("watching bound pods: expected the metadata of a Pod, got %s %v", event.Type, event.Object)
	}
	b.observe(pod)
	return nil
}
