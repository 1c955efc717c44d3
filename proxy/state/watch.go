package state

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// Run follows Services and EndpointSlices until ctx ends. Requests go through the client, to whatever server it
// chooses: their host is "services".
func (s *State) Run(ctx context.Context, client *http.Client) error {
	services, err := newResource(client, corev1.SchemeGroupVersion, "services", &corev1.Service{}, &corev1.ServiceList{})
	if err != nil {
		return err
	}
	endpointSlices, err := newResource(client, discoveryv1.SchemeGroupVersion, "endpointslices",
		&discoveryv1.EndpointSlice{}, &discoveryv1.EndpointSliceList{})
	if err != nil {
		return err
	}
	var running sync.WaitGroup
	running.Go(func() { services.reflect(ctx, s.serviceStore()) })
	running.Go(func() { endpointSlices.reflect(ctx, s.sliceStore()) })
	running.Wait()
	return nil
}

// resource lists and watches one resource. A client for two resources takes half the memory of the clients for all that
// Kubernetes has.
type resource struct {
	client     *rest.RESTClient
	parameters runtime.ParameterCodec
	name       string
	object     runtime.Object
	list       runtime.Object
}

func newResource(
	client *http.Client, version schema.GroupVersion, name string, object, list runtime.Object,
) (*resource, error) {
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(version, object, list)
	metav1.AddToGroupVersion(scheme, version)
	path := "/apis"
	if version.Group == "" {
		path = "/api"
	}
	c, err := rest.RESTClientForConfigAndClient(&rest.Config{
		Host: "https://services", APIPath: path,
		ContentConfig: rest.ContentConfig{
			GroupVersion: &version, NegotiatedSerializer: serializer.NewCodecFactory(scheme).WithoutConversion(),
		},
	}, client)
	if err != nil {
		return nil, fmt.Errorf("creating the client of %s: %w", name, err)
	}
	return &resource{client: c, parameters: runtime.NewParameterCodec(scheme), name: name, object: object, list: list}, nil
}

func (r *resource) reflect(ctx context.Context, store cache.ReflectorStore) {
	request := func(options metav1.ListOptions) *rest.Request {
		return r.client.Get().Resource(r.name).VersionedParams(&options, r.parameters).MaxRetries(0)
	}
	source := &cache.ListWatch{
		// The reflector lists in a stream. It uses this list only if the stream has an error.
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			list := r.list.DeepCopyObject()
			return list, request(options).Do(ctx).Into(list)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			options.Watch = true
			return request(options).Watch(ctx)
		},
	}
	cache.NewReflectorWithOptions(source, r.object, store, cache.ReflectorOptions{Name: r.name}).RunWithContext(ctx)
}
