// Package facts collects from the cluster what policy.Input needs besides the Pod: the global switch, the annotations
// of namespaces and the kinds of the volumes of claims. It reads caches, and calls the API server in FindClaims only.
// It decides nothing.
package facts

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/policy"
)

// switchConfigMap is the ConfigMap of the global switch, for messages.
const switchConfigMap = policy.SwitchConfigMapNamespace + "/" + policy.SwitchConfigMapName

// Source keeps the facts up to date with watches.
type Source struct {
	client   kubernetes.Interface
	factory  informers.SharedInformerFactory
	switches informers.SharedInformerFactory
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	classes  storagelisters.StorageClassLister
	spaces   corelisters.NamespaceLister
	synced   []cache.InformerSynced
	global   atomic.Int64
	changed  func()
	logger   *slog.Logger
}

// New returns a Source that calls changed after every change of the global switch and of the annotations of a
// namespace. It starts nothing.
func New(client kubernetes.Interface, changed func(), logger *slog.Logger) (*Source, error) {
	s := &Source{
		client:  client,
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(kube.StripManagedFields)),
		switches: informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithNamespace(policy.SwitchConfigMapNamespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, policy.SwitchConfigMapName).String()
			})),
		changed: changed,
		logger:  logger,
	}
	s.claims = s.factory.Core().V1().PersistentVolumeClaims().Lister()
	s.volumes = s.factory.Core().V1().PersistentVolumes().Lister()
	s.classes = s.factory.Storage().V1().StorageClasses().Lister()
	for _, informer := range []cache.SharedIndexInformer{
		s.factory.Core().V1().PersistentVolumeClaims().Informer(),
		s.factory.Core().V1().PersistentVolumes().Informer(),
		s.factory.Storage().V1().StorageClasses().Informer(),
	} {
		s.synced = append(s.synced, informer.HasSynced)
	}
	namespaces := s.factory.Core().V1().Namespaces()
	s.spaces = namespaces.Lister()
	s.synced = append(s.synced, namespaces.Informer().HasSynced)
	if _, err := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: s.namespaceChanged,
	}); err != nil {
		return nil, fmt.Errorf("watching namespaces: %w", err)
	}
	registration, err := s.switches.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.read(obj) },
		UpdateFunc: func(_, obj any) { s.read(obj) },
		DeleteFunc: func(any) { s.set(policy.SwitchUnset) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching ConfigMap %s: %w", switchConfigMap, err)
	}
	s.synced = append(s.synced, registration.HasSynced)
	return s, nil
}

// Run watches until ctx ends. It blocks.
func (s *Source) Run(ctx context.Context) error {
	s.factory.StartWithContext(ctx)
	s.switches.StartWithContext(ctx)
	<-ctx.Done()
	s.factory.Shutdown()
	s.switches.Shutdown()
	return nil
}

// Ready reports whether every cache is filled.
func (s *Source) Ready() bool {
	for _, synced := range s.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// WaitReady blocks until Ready returns true. It returns an error if ctx ends first.
func (s *Source) WaitReady(ctx context.Context) error {
	for !s.Ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the caches: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Global returns the global switch as last seen. A malformed value counts as off; it was logged when it was seen.
func (s *Source) Global() policy.Switch { return policy.Switch(s.global.Load()) }

func (s *Source) read(obj any) {
	configMap, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	value, err := policy.ParseSwitch(configMap.Data)
	if err != nil {
		s.logger.Error("the global switch is malformed and counts as off", "configmap", switchConfigMap, "err", err)
	}
	s.set(value)
}

func (s *Source) set(value policy.Switch) {
	if s.global.Swap(int64(value)) != int64(value) {
		s.logger.Info("the global switch changed", "switch", value.String())
		s.changed()
	}
}

// Namespace returns the annotations of a namespace (policy.Input.NamespaceAnnotations). It returns an error while the
// cache does not contain the namespace: what it allows is not known.
func (s *Source) Namespace(name string) (map[string]string, error) {
	namespace, err := s.spaces.Get(name)
	if err != nil {
		return nil, fmt.Errorf("looking up the annotations of namespace %s: %w", name, err)
	}
	return namespace.Annotations, nil
}

// namespaceChanged reports a change of the annotations of a namespace that are Spillway's. Other controllers change
// theirs as often as they like.
func (s *Source) namespaceChanged(before, after any) {
	old, ok := before.(*corev1.Namespace)
	changed, known := after.(*corev1.Namespace)
	if ok && known && !maps.Equal(ours(old.Annotations), ours(changed.Annotations)) {
		s.changed()
	}
}

// ours returns the annotations whose keys are Spillway's.
func ours(annotations map[string]string) map[string]string {
	found := map[string]string{}
	for key, value := range annotations {
		if strings.HasPrefix(key, policy.Prefix) {
			found[key] = value
		}
	}
	return found
}
