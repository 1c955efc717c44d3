// Package workload finds what a Pod belongs to: its namespace and the Deployment, StatefulSet, Job or CronJob behind it, with
// their labels. It keeps metadata only, asks the API server itself where its watch lags behind, and decides nothing.
package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
)

// maxOwners ends the walk up the owners: Pod, ReplicaSet, Deployment and Pod, Job, CronJob are the longest chains, and owner
// references that point at each other would never end.
const maxOwners = 2

var namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")

// owners are the kinds that a burst label may stand on (seed 2), and those on the way to them.
var owners = map[schema.GroupKind]schema.GroupVersionResource{
	{Group: "apps", Kind: "ReplicaSet"}:  {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "apps", Kind: "Deployment"}:  {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "StatefulSet"}: {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "batch", Kind: "Job"}:        {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Kind: "CronJob"}:    {Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// Source keeps the metadata of namespaces and workloads up to date by watches.
type Source struct {
	client    metadata.Interface
	factory   metadatainformer.SharedInformerFactory
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	timeout   time.Duration
}

// New makes a Source. timeout is how long one lookup may ask the API server for what the watch has not brought yet. It starts
// nothing.
func New(client metadata.Interface, timeout time.Duration) *Source {
	s := &Source{
		client:    client,
		factory:   metadatainformer.NewSharedInformerFactoryWithOptions(client, 0, metadatainformer.WithTransform(strip)),
		informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{},
		timeout:   timeout,
	}
	s.informers[namespaces] = s.factory.ForResource(namespaces).Informer()
	for _, resource := range owners {
		s.informers[resource] = s.factory.ForResource(resource).Informer()
	}
	return s
}

// strip leaves what lookups read: annotations hold whole manifests, managed fields even more.
func strip(obj any) (any, error) {
	if object, ok := obj.(*metav1.PartialObjectMetadata); ok {
		object.ManagedFields, object.Annotations = nil, nil
	}
	return obj, nil
}

// Run watches until ctx ends. It blocks.
func (s *Source) Run(ctx context.Context) error {
	s.factory.Start(ctx.Done())
	<-ctx.Done()
	s.factory.Shutdown()
	return nil
}

// Ready tells whether every cache is filled.
func (s *Source) Ready() bool {
	for _, informer := range s.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// Labels are the labels of the nearest owner of the Pod that bears a burst label, nil where none does or where the owner is gone.
// It may ask the API server, for the timeout of New at most; an error means that it could not be found out.
func (s *Source) Labels(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return labels(pod, func(resource schema.GroupVersionResource, name string, uid types.UID) (*metav1.PartialObjectMetadata, error) {
		return s.get(ctx, resource, pod.Namespace, name, uid)
	})
}

// Malformed tells whether the Pod has its burst mode from an owner whose label cannot be read, as far as the caches know. It does not
// block.
func (s *Source) Malformed(pod *corev1.Pod) bool {
	if mode, err := policy.ParseMode(pod.Labels); err != nil || mode != policy.ModeNone {
		return false
	}
	inherited, err := labels(pod, func(resource schema.GroupVersionResource, name string, uid types.UID) (*metav1.PartialObjectMetadata, error) {
		if owner := s.cached(resource, pod.Namespace, name, uid); owner != nil {
			return owner, nil
		}
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	})
	if err != nil {
		return false
	}
	_, err = policy.ParseMode(inherited)
	return err != nil
}

// labels walks up the owners of a Pod, which find finds.
func labels(pod *corev1.Pod, find func(resource schema.GroupVersionResource, name string, uid types.UID) (*metav1.PartialObjectMetadata, error)) (map[string]string, error) {
	var object metav1.Object = pod
	for range maxOwners {
		reference := metav1.GetControllerOf(object)
		if reference == nil {
			return nil, nil
		}
		resource, ok := owners[schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind()]
		if !ok {
			return nil, nil
		}
		owner, err := find(resource, reference.Name, reference.UID)
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking up %s %s/%s: %w", reference.Kind, pod.Namespace, reference.Name, err)
		}
		if mode, err := policy.ParseMode(owner.Labels); err != nil || mode != policy.ModeNone {
			return owner.Labels, nil
		}
		object = owner
	}
	return nil, nil
}

// Namespace are the labels of a namespace. It may ask the API server as Labels does.
func (s *Source) Namespace(ctx context.Context, name string) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	namespace, err := s.get(ctx, namespaces, "", name, "")
	if err != nil {
		return nil, fmt.Errorf("looking up namespace %s: %w", name, err)
	}
	return namespace.Labels, nil
}

// get returns an object from the cache, or from the API server where the cache lacks it or holds an earlier one of its name.
// An empty uid stands for any.
func (s *Source) get(ctx context.Context, resource schema.GroupVersionResource, namespace, name string, uid types.UID) (*metav1.PartialObjectMetadata, error) {
	if object := s.cached(resource, namespace, name, uid); object != nil {
		return object, nil
	}
	object, err := s.client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	if uid != "" && object.UID != uid {
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	}
	return object, nil
}

// cached returns an object from the cache, nil where it lacks it or holds an earlier one of its name.
func (s *Source) cached(resource schema.GroupVersionResource, namespace, name string, uid types.UID) *metav1.PartialObjectMetadata {
	found, ok, err := s.informers[resource].GetStore().GetByKey(cache.NewObjectName(namespace, name).String())
	if err != nil || !ok {
		return nil
	}
	object, ok := found.(*metav1.PartialObjectMetadata)
	if !ok || (uid != "" && object.UID != uid) {
		return nil
	}
	return object
}

// OnChange calls changed with the namespace whenever a namespace's or a workload's say about bursting changes, until stop is
// called. changed must not block.
func (s *Source) OnChange(changed func(namespace string)) (stop func() error, err error) {
	var registered []func() error
	stop = func() error {
		var faults []error
		for _, remove := range registered {
			faults = append(faults, remove())
		}
		return errors.Join(faults...)
	}
	for resource, informer := range s.informers {
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: func(before, after any) {
			if namespace, ok := changedNamespace(resource, before, after); ok {
				changed(namespace)
			}
		}})
		if err != nil {
			return nil, errors.Join(fmt.Errorf("watching %s: %w", resource.Resource, err), stop())
		}
		registered = append(registered, func() error { return informer.RemoveEventHandler(registration) })
	}
	return stop, nil
}

// changedNamespace is the namespace whose Pods an update concerns; ok is false where it concerns none.
func changedNamespace(resource schema.GroupVersionResource, before, after any) (namespace string, ok bool) {
	was, okBefore := before.(*metav1.PartialObjectMetadata)
	is, okAfter := after.(*metav1.PartialObjectMetadata)
	if !okBefore || !okAfter {
		return "", false
	}
	keys, namespace := []string{policy.BurstLabel, policy.BurstLabelAlias}, is.Namespace
	if resource == namespaces {
		keys, namespace = []string{policy.NamespaceEnforceLabel}, is.Name
	}
	for _, key := range keys {
		if was.Labels[key] != is.Labels[key] {
			return namespace, true
		}
	}
	return "", false
}
