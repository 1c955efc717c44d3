// Package owners finds what a Pod belongs to: its namespace and the Deployment, StatefulSet, Job or CronJob behind
// it, with their labels. It caches metadata only, reads objects that its caches lack from the API server, and decides
// nothing.
package owners

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
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

// maxOwners limits the chain of owners. The longest ones are Pod, ReplicaSet, Deployment and Pod, Job, CronJob. Without
// a limit, owner references that form a cycle would be followed indefinitely.
const maxOwners = 2

var namespaces = corev1.SchemeGroupVersion.WithResource("namespaces")

// resources are the kinds that may have a burst label (source: CCE bursting), and the kinds between them and the Pods.
var resources = map[schema.GroupKind]schema.GroupVersionResource{
	{Group: "apps", Kind: "ReplicaSet"}:  {Group: "apps", Version: "v1", Resource: "replicasets"},
	{Group: "apps", Kind: "Deployment"}:  {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "StatefulSet"}: {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "batch", Kind: "Job"}:        {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Kind: "CronJob"}:    {Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// Source caches the metadata of namespaces and of the owners of Pods.
type Source struct {
	client    metadata.Interface
	factory   metadatainformer.SharedInformerFactory
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	timeout   time.Duration
}

// New returns a Source. timeout limits the calls to the API server of one look-up. New starts nothing.
func New(client metadata.Interface, timeout time.Duration) *Source {
	s := &Source{
		client:    client,
		factory:   metadatainformer.NewSharedInformerFactoryWithOptions(client, 0, metadatainformer.WithTransform(strip)),
		informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{},
		timeout:   timeout,
	}
	s.informers[namespaces] = s.factory.ForResource(namespaces).Informer()
	for _, resource := range resources {
		s.informers[resource] = s.factory.ForResource(resource).Informer()
	}
	return s
}

// strip removes what look-ups do not read. Annotations may hold whole manifests, and managed fields are larger still.
func strip(obj any) (any, error) {
	if object, ok := obj.(*metav1.PartialObjectMetadata); ok {
		object.ManagedFields = nil
		maps.DeleteFunc(object.Annotations, func(key, _ string) bool { return !strings.HasPrefix(key, policy.Prefix) })
		if len(object.Annotations) == 0 {
			object.Annotations = nil
		}
	}
	return obj, nil
}

// Run fills the caches and keeps them up to date until ctx ends. It blocks.
func (s *Source) Run(ctx context.Context) error {
	s.factory.Start(ctx.Done())
	<-ctx.Done()
	s.factory.Shutdown()
	return nil
}

// Ready reports whether every cache is filled.
func (s *Source) Ready() bool {
	for _, informer := range s.informers {
		if !informer.HasSynced() {
			return false
		}
	}
	return true
}

// Labels returns the labels of the nearest owner of the Pod that has a burst label, nil if there is none or if the
// owner is gone. It may call the API server, for the timeout of New at most. It returns an error if the look-up
// fails.
func (s *Source) Labels(ctx context.Context, pod *corev1.Pod) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	return labels(pod, func(o owner) (*metav1.PartialObjectMetadata, error) {
		return s.get(ctx, o.resource, pod.Namespace, o.name, o.uid)
	})
}

// InheritsMalformed reports whether the Pod takes its burst mode from an owner whose label is malformed. It reads the
// caches only and does not block.
func (s *Source) InheritsMalformed(pod *corev1.Pod) bool {
	if mode, err := policy.ParseMode(pod.Labels); err != nil || mode != policy.ModeNone {
		return false
	}
	inherited, err := labels(pod, func(o owner) (*metav1.PartialObjectMetadata, error) {
		if object := s.cached(o.resource, pod.Namespace, o.name, o.uid); object != nil {
			return object, nil
		}
		return nil, apierrors.NewNotFound(o.resource.GroupResource(), o.name)
	})
	if err != nil {
		return false
	}
	_, err = policy.ParseMode(inherited)
	return err != nil
}

// owner identifies the controller of an object, in the namespace of that object.
type owner struct {
	resource schema.GroupVersionResource
	name     string
	uid      types.UID
}

// labels follows the chain of owners of a Pod, each of which find returns.
func labels(
	pod *corev1.Pod, find func(owner) (*metav1.PartialObjectMetadata, error),
) (map[string]string, error) {
	var object metav1.Object = pod
	for range maxOwners {
		reference := metav1.GetControllerOf(object)
		if reference == nil {
			return nil, nil
		}
		resource, ok := resources[schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind()]
		if !ok {
			return nil, nil
		}
		found, err := find(owner{resource, reference.Name, reference.UID})
		if apierrors.IsNotFound(err) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("looking up %s %s/%s: %w", reference.Kind, pod.Namespace, reference.Name, err)
		}
		if mode, err := policy.ParseMode(found.Labels); err != nil || mode != policy.ModeNone {
			return found.Labels, nil
		}
		object = found
	}
	return nil, nil
}

// Namespace returns the labels of a namespace, and its annotations whose keys are Spillway's. It may call the API
// server, as Labels does.
func (s *Source) Namespace(ctx context.Context, name string) (labels, annotations map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	namespace, err := s.get(ctx, namespaces, "", name, "")
	if err != nil {
		return nil, nil, fmt.Errorf("looking up namespace %s: %w", name, err)
	}
	return namespace.Labels, namespace.Annotations, nil
}

// get returns an object from the cache. If the cache lacks it, or holds an earlier object with the same name, get reads
// the object from the API server. An empty uid matches any object.
func (s *Source) get(
	ctx context.Context, resource schema.GroupVersionResource, namespace, name string, uid types.UID,
) (*metav1.PartialObjectMetadata, error) {
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

// cached returns an object from the cache, nil if the cache lacks it or holds an earlier object with the same name.
func (s *Source) cached(
	resource schema.GroupVersionResource, namespace, name string, uid types.UID,
) *metav1.PartialObjectMetadata {
	key := cache.NewObjectName(namespace, name).String()
	found, ok, err := s.informers[resource].GetStore().GetByKey(key)
	if err != nil || !ok {
		return nil
	}
	object, ok := found.(*metav1.PartialObjectMetadata)
	if !ok || (uid != "" && object.UID != uid) {
		return nil
	}
	return object
}

// OnChange calls changed with a namespace when a burst label of an owner in it, its own label about bursting, or an
// annotation of it whose key is Spillway's changes. It does so until stop is called. changed must not block.
func (s *Source) OnChange(changed func(namespace string)) (stop func() error, err error) {
	var registered []func() error
	stop = func() error {
		var errs []error
		for _, remove := range registered {
			errs = append(errs, remove())
		}
		return errors.Join(errs...)
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

// changedNamespace returns the namespace whose Pods an update affects; ok is false if it affects none.
func changedNamespace(resource schema.GroupVersionResource, before, after any) (namespace string, ok bool) {
	was, okBefore := before.(*metav1.PartialObjectMetadata)
	is, okAfter := after.(*metav1.PartialObjectMetadata)
	if !okBefore || !okAfter {
		return "", false
	}
	keys, namespace := []string{policy.BurstLabel, policy.BurstLabelAlias}, is.Namespace
	if resource == namespaces {
		keys, namespace = []string{policy.NamespaceEnforceLabel}, is.Name
		if !maps.Equal(was.Annotations, is.Annotations) {
			return namespace, true
		}
	}
	for _, key := range keys {
		if was.Labels[key] != is.Labels[key] {
			return namespace, true
		}
	}
	return "", false
}
