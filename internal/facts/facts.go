// Package facts gathers from the cluster what policy.Input needs beside the Pod: the global switch and the kinds of the
// volumes behind claims. It reads caches only and decides nothing.
package facts

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
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

	"github.com/spillway-k8s/spillway/policy"
)

// Source keeps the facts up to date by watches.
type Source struct {
	factory  informers.SharedInformerFactory
	switches informers.SharedInformerFactory
	claims   corelisters.PersistentVolumeClaimLister
	volumes  corelisters.PersistentVolumeLister
	classes  storagelisters.StorageClassLister
	synced   []cache.InformerSynced
	global   atomic.Int64
	changed  func()
	logger   *slog.Logger
}

// New makes a Source that calls changed after every change of the global switch. It starts nothing.
func New(client kubernetes.Interface, changed func(), logger *slog.Logger) (*Source, error) {
	s := &Source{
		factory: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithTransform(stripManagedFields)),
		switches: informers.NewSharedInformerFactoryWithOptions(client, 0, informers.WithNamespace(policy.SwitchConfigMapNamespace),
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
	registration, err := s.switches.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { s.read(obj) },
		UpdateFunc: func(_, obj any) { s.read(obj) },
		DeleteFunc: func(any) { s.set(policy.SwitchUnset) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching ConfigMap %s/%s: %w", policy.SwitchConfigMapNamespace, policy.SwitchConfigMapName, err)
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

// Ready tells whether every cache is filled.
func (s *Source) Ready() bool {
	for _, synced := range s.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// WaitReady blocks until Ready or until ctx ends, which is an error.
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

// Global is the global switch as last seen. A malformed value counts as off, and was logged when it came.
func (s *Source) Global() policy.Switch { return policy.Switch(s.global.Load()) }

// Claims are the kinds of the volumes behind the Pod's claims (policy.Input.Claims).
func (s *Source) Claims(pod *corev1.Pod) map[string]string {
	names := policy.ClaimNames(pod)
	if len(names) == 0 {
		return nil
	}
	kinds := make(map[string]string, len(names))
	for _, name := range names {
		if kind := s.claimKind(pod.Namespace, name); kind != "" {
			kinds[name] = kind
		}
	}
	return kinds
}

// driverParameter of a StorageClass names the driver where one provisioner serves many, as everest-csi-provisioner does on CCE.
// Source: CCE manual, StorageClass.
const driverParameter = "csi.storage.k8s.io/csi-driver-name"

// claimKind is the kind of the bound volume, else the driver of the claim's class, else empty: not known yet.
func (s *Source) claimKind(namespace, name string) string {
	claim, err := s.claims.PersistentVolumeClaims(namespace).Get(name)
	if err != nil { // A lister's only error is that it is not there.
		return ""
	}
	if volume, err := s.volumes.Get(claim.Spec.VolumeName); err == nil {
		return policy.VolumeKind(volume)
	}
	if claim.Spec.StorageClassName == nil {
		return ""
	}
	if class, err := s.classes.Get(*claim.Spec.StorageClassName); err == nil {
		return cmp.Or(class.Parameters[driverParameter], class.Provisioner)
	}
	return ""
}

// stripManagedFields halves the memory of a cached object.
func stripManagedFields(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return obj, nil
}

func (s *Source) read(obj any) {
	configMap, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	value, err := policy.ParseSwitch(configMap.Data)
	if err != nil {
		s.logger.Error("the global switch is malformed and counts as off", "configmap", policy.SwitchConfigMapNamespace+"/"+policy.SwitchConfigMapName, "err", err)
	}
	s.set(value)
}

func (s *Source) set(value policy.Switch) {
	if s.global.Swap(int64(value)) != int64(value) {
		s.logger.Info("the global switch changed", "switch", value.String())
		s.changed()
	}
}
