package main

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
)

// cutOff simulates an API server that ends a watch after its events. Each list has one Pod more than the last.
type cutOff struct {
	metadata.ResourceInterface
	lists int
}

func (c *cutOff) List(context.Context, metav1.ListOptions) (*metav1.PartialObjectMetadataList, error) {
	c.lists++
	list := &metav1.PartialObjectMetadataList{}
	for i := range c.lists - 1 {
		list.Items = append(list.Items, *bound(string(rune('a' + i))))
	}
	return list, nil
}

func (c *cutOff) Watch(context.Context, metav1.ListOptions) (watch.Interface, error) {
	w := watch.NewFakeWithChanSize(1, false)
	w.Add(bound("z"))
	w.Stop()
	return w, nil
}

func bound(uid string) *metav1.PartialObjectMetadata {
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid)}}
}

func TestBindingsAreObservedAfterTheWatchEnds(t *testing.T) {
	b := &bindings{pods: &cutOff{}, bound: map[types.UID]bool{}}
	require.NoError(t, b.begin(t.Context()))
	took, err := b.await(t.Context(), 4)
	require.NoError(t, err)
	assert.Len(t, b.bound, 4, "z, and a to c, each once")
	assert.Less(t, took, time.Minute)
}

func TestWaitForBindingsEnds(t *testing.T) {
	w := watch.NewFakeWithChanSize(1, false)
	b := &bindings{watch: w, bound: map[types.UID]bool{}}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.await(ctx, 1)
	require.ErrorIs(t, err, context.Canceled)

	w.Error(&metav1.Status{Message: "too old"})
	_, err = b.await(t.Context(), 1)
	require.ErrorContains(t, err, "expected the metadata of a Pod, got ERROR")
}
