// Package owners finds what a Pod belongs to: its namespace and the controllers behind it, such as a Deployment or a
// CronJob, with their labels and the annotations that Pods inherit. It caches metadata only, reads objects that its
// caches lack from the API server, and decides nothing.
package owners

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
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

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/policy"
)

// maxOwners limits the chain of owners. The longest ones that are known have five: ReplicaSet, Deployment, Revision,
// Configuration, Service (Knative). Without a limit, owner references that form a cycle would be followed indefinitely.
const maxOwners = 5

var (
	namespaces  = corev1.SchemeGroupVersion.WithResource("namespaces")
	pods        = corev1.SchemeGroupVersion.WithResource("pods")
	replicaSets = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "replicasets"}
)

// ofKubernetes are the kinds of Kubernetes that may have a burst label (source: CCE bursting), and the kinds between
// them and the Pods. A Pod owns others too: the driver of a Spark application, the leader of a LeaderWorkerSet.
var ofKubernetes = map[schema.GroupKind]schema.GroupVersionResource{
	{Kind: "Pod"}:                        pods,
	{Kind: "ReplicationController"}:      corev1.SchemeGroupVersion.WithResource("replicationcontrollers"),
	{Group: "apps", Kind: "ReplicaSet"}:  replicaSets,
	{Group: "apps", Kind: "Deployment"}:  {Group: "apps", Version: "v1", Resource: "deployments"},
	{Group: "apps", Kind: "StatefulSet"}: {Group: "apps", Version: "v1", Resource: "statefulsets"},
	{Group: "batch", Kind: "Job"}:        {Group: "batch", Version: "v1", Resource: "jobs"},
	{Group: "batch", Kind: "CronJob"}:    {Group: "batch", Version: "v1", Resource: "cronjobs"},
}

// Pods caches Pods (admission/controllers/podcache).
type Pods interface {
	// Get returns a Pod with its labels about bursting and its owner references, nil if there is none. It must not
	// block.
	Get(cache.ObjectName) *corev1.Pod
}

// Config holds what a Source works with. No field is optional, except Kinds.
type Config struct {
	// Client reads metadata.
	Client metadata.Interface
	// Pods are the Pods that own other Pods.
	Pods Pods
	// Kinds are further kinds of owners. Their caches may stay empty, because a kind may not be installed, or the
	// program may lack the right to read it.
	Kinds map[schema.GroupKind]schema.GroupVersionResource
	// Timeout limits the calls to the API server of one look-up.
	Timeout time.Duration
	// Now is the clock.
	Now    func() time.Time
	Logger *slog.Logger
}

// Source caches the metadata of namespaces and of the owners of Pods.
type Source struct {
	Config
	resources map[schema.GroupKind]schema.GroupVersionResource
	factory   metadatainformer.SharedInformerFactory
	informers map[schema.GroupVersionResource]cache.SharedIndexInformer
	// further are the states of Kinds.
	further map[schema.GroupVersionResource]*access
}

// New returns a Source. It starts nothing.
func New(c Config) (*Source, error) {
	s := &Source{
		Config:    c,
		resources: maps.Clone(ofKubernetes),
		factory: metadatainformer.NewSharedInformerFactoryWithOptions(
			c.Client, 0, metadatainformer.WithTransform(strip)),
		informers: map[schema.GroupVersionResource]cache.SharedIndexInformer{},
		further:   map[schema.GroupVersionResource]*access{},
	}
	s.informers[namespaces] = s.factory.ForResource(namespaces).Informer()
	for _, resource := range ofKubernetes {
		if resource != pods {
			s.informers[resource] = s.factory.ForResource(resource).Informer()
		}
	}
	for kind, resource := range c.Kinds {
		if _, ok := ofKubernetes[kind]; ok {
			return nil, fmt.Errorf("kind %s is known already", kind)
		}
		state := &access{resource: resource, now: c.Now, logger: c.Logger}
		informer := s.factory.ForResource(resource).Informer()
		if err := informer.SetWatchErrorHandlerWithContext(state.watchFailed); err != nil {
			return nil, fmt.Errorf("watching %s: %w", resource.Resource, err)
		}
		s.resources[kind], s.informers[resource], s.further[resource] = resource, informer, state
	}
	return s, nil
}

// strip removes what look-ups do not read. Annotations may hold whole manifests, and managed fields are larger still.
func strip(obj any) (any, error) {
	if object, ok := obj.(*metav1.PartialObjectMetadata); ok {
		object.ManagedFields = nil
		maps.DeleteFunc(object.Annotations, func(key, _ string) bool { return !isOurs(key) })
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

// Ready reports whether every cache of Kubernetes' own kinds is filled. What other caches lack is read from the API
// server.
func (s *Source) Ready() bool {
	for resource, informer := range s.informers {
		if s.further[resource] == nil && !informer.HasSynced() {
			return false
		}
	}
	return true
}

// isOurs reports whether the key of an annotation is one of Spillway.
func isOurs(key string) bool {
	return strings.HasPrefix(key, policy.Prefix) || key == policy.LocalReplicasAnnotation
}

// Workload returns what the owners of the Pod say about it. It may call the API server, for the timeout of New at most.
// It returns an error if the look-up fails.
//
// What an owner that is gone or cannot be read has said is not known. What the Pod has copied from it then still
// counts.
func (s *Source) Workload(ctx context.Context, pod *corev1.Pod) (evaluation.Workload, error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return s.workload(pod, func(o owner) (*metav1.PartialObjectMetadata, error) {
		return s.get(ctx, o.resource, pod.Namespace, o.name, o.uid)
	})
}

// CachedWorkload is Workload without calls to the API server. It does not block. What the caches lack counts as gone.
func (s *Source) CachedWorkload(pod *corev1.Pod) evaluation.Workload {
	w, _ := s.workload(pod, func(o owner) (*metav1.PartialObjectMetadata, error) { // It returns no other error.
		if object := s.cached(o.resource, pod.Namespace, o.name, o.uid); object != nil {
			return object, nil
		}
		return nil, apierrors.NewNotFound(o.resource.GroupResource(), o.name)
	})
	return w
}

// InheritsMalformed reports whether a malformed key of an owner or of the namespace counts for the Pod. It reads the
// caches only and does not block. Keys have no effect on the Pods of a DaemonSet.
func (s *Source) InheritsMalformed(pod *corev1.Pod) bool {
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil && owner.Kind == "DaemonSet" {
		return false
	}
	w := s.CachedWorkload(pod)
	if !policy.HasBurstLabel(pod.Labels) {
		if _, err := policy.ParseMode(w.Labels); err != nil {
			return true
		}
	}
	others := policy.Inherit(nil, w.Annotations, s.CachedNamespace(pod.Namespace))
	if len(others) == 0 {
		return false
	}
	values := policy.Inherit(pod.Annotations, w.Annotations, others)
	_, sharesErr := policy.ParseShares(values)
	_, _, waitErr := policy.ParseBurstAfter(values)
	_, _, wayHomeErr := policy.ParseWayHome(values)
	return sharesErr != nil || waitErr != nil || wayHomeErr != nil
}

// CachedNamespace returns the annotations of a namespace whose keys are Spillway's, nil if the cache lacks it. It does
// not block. The caller must not change them.
func (s *Source) CachedNamespace(name string) map[string]string {
	if object := s.cached(namespaces, "", name, ""); object != nil {
		return object.Annotations
	}
	return nil
}

// owner identifies the controller of an object, in the namespace of that object.
type owner struct {
	resource schema.GroupVersionResource
	name     string
	uid      types.UID
}

// workload follows the chain of owners of a Pod, each of which find returns.
func (s *Source) workload(
	pod *corev1.Pod, find func(owner) (*metav1.PartialObjectMetadata, error),
) (evaluation.Workload, error) {
	w := evaluation.Workload{Annotations: map[string]string{}}
	var object metav1.Object = pod
	for range maxOwners {
		reference := metav1.GetControllerOfNoCopy(object)
		if reference == nil {
			return w, nil
		}
		resource, ok := s.resources[schema.FromAPIVersionAndKind(reference.APIVersion, reference.Kind).GroupKind()]
		if !ok {
			return w, nil
		}
		found, err := find(owner{resource, reference.Name, reference.UID})
		if apierrors.IsNotFound(err) {
			keepCopies(w.Annotations, pod.Annotations)
			return w, nil
		}
		if err != nil {
			return evaluation.Workload{}, fmt.Errorf(
				"looking up %s %s/%s: %w", reference.Kind, pod.Namespace, reference.Name, err)
		}
		if w.Labels == nil && policy.HasBurstLabel(found.Labels) {
			w.Labels = found.Labels
		}
		if annotationsCount(resource, found) {
			add(&w, found.Annotations, reference)
		}
		object = found
	}
	return w, nil
}

// annotationsCount reports whether Pods inherit the annotations of an owner.
//
// Those of a ReplicaSet that has a controller do not count. The Deployment controller copies the annotations of a
// Deployment to its ReplicaSets and removes none of them when they are removed from the Deployment, and so does Argo
// Rollouts: the copy would win over what the user has changed. (Kubernetes, pkg/controller/deployment/util,
// SetNewReplicaSetAnnotations.)
//
// Those of a Pod do not count either. They are about the Pod itself: that one driver stays local says nothing about its
// executors.
func annotationsCount(resource schema.GroupVersionResource, object *metav1.PartialObjectMetadata) bool {
	switch resource {
	case pods:
		return false
	case replicaSets:
		return metav1.GetControllerOfNoCopy(object) == nil
	}
	return true
}

// inherited are the annotations of owners that count for their Pods.
var inherited = policy.InheritedAnnotations()

// add adds the annotations of an owner that no nearer owner has.
func add(w *evaluation.Workload, annotations map[string]string, of *metav1.OwnerReference) {
	if len(annotations) == 0 {
		return
	}
	for _, key := range inherited {
		value, ok := annotations[key]
		if _, nearer := w.Annotations[key]; !ok || nearer {
			continue
		}
		if w.Places == nil {
			w.Places = map[string]string{}
		}
		w.Annotations[key], w.Places[key] = value, of.Kind+" "+of.Name
	}
}

// keepCopies adds what a Pod has copied.
func keepCopies(to, pod map[string]string) {
	if pod[policy.InheritedAnnotation] == "" {
		return
	}
	own := policy.Inherit(pod, map[string]string{}, nil)
	for key, value := range policy.Inherit(pod, nil, nil) {
		_, isOwn := own[key]
		if _, known := to[key]; !isOwn && !known {
			to[key] = value
		}
	}
}

// Namespace returns the labels of a namespace, and its annotations whose keys are Spillway's. It may call the API
// server, as Labels does.
func (s *Source) Namespace(ctx context.Context, name string) (labels, annotations map[string]string, err error) {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
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
	state := s.further[resource]
	if state.isDenied() {
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	}
	object, err := s.Client.Resource(resource).Namespace(namespace).Get(ctx, name, metav1.GetOptions{})
	if state.failed(err) {
		return nil, apierrors.NewNotFound(resource.GroupResource(), name)
	}
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
	if resource == pods {
		return cachedPod(s.Pods.Get(cache.NewObjectName(namespace, name)), uid)
	}
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

// cachedPod returns the metadata of a Pod, nil if the Pod is nil or another one with the same name.
func cachedPod(pod *corev1.Pod, uid types.UID) *metav1.PartialObjectMetadata {
	if pod == nil || pod.UID != uid {
		return nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: pod.ObjectMeta}
}

// OnChange calls changed with a namespace when a burst label of an owner in it or an annotation that Pods inherit from
// it changes, its own label about bursting, or an annotation of it whose key is Spillway's. It does so until stop is
// called. changed must not block.
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
		updated := func(before, after any) {
			if namespace, ok := changedNamespace(resource, before, after); ok {
				changed(namespace)
			}
		}
		registration, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{UpdateFunc: updated})
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
	if resource != namespaces && annotationsChanged(resource, was, is) {
		return namespace, true
	}
	return "", false
}

// annotationsChanged reports whether an update changes what Pods inherit from an owner. A ReplicaSet that gets or loses
// its controller counts from then on, or no longer (annotationsCount).
func annotationsChanged(resource schema.GroupVersionResource, was, is *metav1.PartialObjectMetadata) bool {
	value := func(object *metav1.PartialObjectMetadata, key string) (string, bool) {
		if !annotationsCount(resource, object) {
			return "", false
		}
		value, ok := object.Annotations[key]
		return value, ok
	}
	for _, key := range inherited {
		before, had := value(was, key)
		if after, has := value(is, key); had != has || before != after {
			return true
		}
	}
	return false
}
