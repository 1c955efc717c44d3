package kube

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
)

// Resource is the API of the objects of a kind. L is their list.
type Resource[L runtime.Object] interface {
	List(ctx context.Context, options metav1.ListOptions) (L, error)
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

// Follow lists and watches the objects of a resource and gives them to a store, until ctx ends. It blocks. name is the
// name in logs and metrics of the Reflector, client the one of the resource, and example an object of it.
func Follow[L runtime.Object](
	ctx context.Context, name string, client any, resource Resource[L], example runtime.Object,
	into cache.ReflectorStore,
) {
	source := cache.ToListWatcherWithWatchListSemantics(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: resource.Watch,
	}, client)
	cache.NewReflectorWithOptions(source, example, into, cache.ReflectorOptions{Name: name}).RunWithContext(ctx)
}
