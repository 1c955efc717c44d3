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
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// switchConfigMap is the ConfigMap of the global switch, for messages.
const switchConfigMap = policy.SwitchConfigMapNamespace + "/" + policy.SwitchConfigMapName

// Cluster keeps what holds for many Pods up to date: the global switch, and the settings of namespaces.
type Cluster struct {
	factory    informers.SharedInformerFactory
	switches   informers.SharedInformerFactory
	namespaces corelisters.NamespaceLister
	synced     []cache.InformerSynced
	global     atomic.Int64
	stays      atomic.Bool // WAY_HOME says that no Pod returns
	changed    func()
	logger     *slog.Logger
}

// NewCluster returns a Cluster that calls changed after every change of the global switch and of the settings of a
// namespace. It starts nothing.
func NewCluster(client kubernetes.Interface, changed func(), logger *slog.Logger) (*Cluster, error) {
	c := &Cluster{
		factory: informers.NewSharedInformerFactoryWithOptions(
			client, 0, informers.WithTransform(kube.StripManagedFields)),
		switches: informers.NewSharedInformerFactoryWithOptions(client, 0,
			informers.WithNamespace(policy.SwitchConfigMapNamespace),
			informers.WithTweakListOptions(func(o *metav1.ListOptions) {
				name := fields.OneTermEqualSelector(metav1.ObjectNameField, policy.SwitchConfigMapName)
				o.FieldSelector = name.String()
			})),
		changed: changed,
		logger:  logger,
	}
	namespaces := c.factory.Core().V1().Namespaces()
	c.namespaces = namespaces.Lister()
	if _, err := namespaces.Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: c.namespaceChanged,
	}); err != nil {
		return nil, fmt.Errorf("watching namespaces: %w", err)
	}
	registration, err := c.switches.Core().V1().ConfigMaps().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { c.read(obj) },
		UpdateFunc: func(_, obj any) { c.read(obj) },
		DeleteFunc: func(any) { c.set(policy.SwitchUnset); c.stays.Store(false) },
	})
	if err != nil {
		return nil, fmt.Errorf("watching ConfigMap %s: %w", switchConfigMap, err)
	}
	c.synced = append(c.synced, namespaces.Informer().HasSynced, registration.HasSynced)
	return c, nil
}

// Run watches until ctx ends. It blocks.
func (c *Cluster) Run(ctx context.Context) error {
	c.factory.StartWithContext(ctx)
	c.switches.StartWithContext(ctx)
	<-ctx.Done()
	c.factory.Shutdown()
	c.switches.Shutdown()
	return nil
}

// Ready reports whether every cache is filled.
func (c *Cluster) Ready() bool {
	for _, synced := range c.synced {
		if !synced() {
			return false
		}
	}
	return true
}

// WaitReady blocks until Ready returns true. It returns an error if ctx ends first.
func (c *Cluster) WaitReady(ctx context.Context) error {
	for !c.Ready() {
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the caches: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// Global returns the global switch as last seen. A malformed value was logged when it was seen.
func (c *Cluster) Global() policy.Switch { return policy.Switch(c.global.Load()) }

func (c *Cluster) read(obj any) {
	configMap, ok := obj.(*corev1.ConfigMap)
	if !ok {
		return
	}
	value, err := policy.ParseSwitch(configMap.Data)
	if err != nil {
		c.logger.Error("the global switch is malformed and counts as off",
			logging.Object("configmap", policy.SwitchConfigMapNamespace, policy.SwitchConfigMapName), "err", err)
	}
	c.set(value)
	returns, err := policy.ParseWayHomeSwitch(configMap.Data)
	if err != nil {
		c.logger.Error("the switch of the way home is malformed and counts as off",
			logging.Object("configmap", policy.SwitchConfigMapNamespace, policy.SwitchConfigMapName), "err", err)
	}
	if c.stays.Swap(!returns) == returns {
		c.logger.Info("the switch of the way home changed", "switch", returns)
	}
}

// WayHome reports whether cloud Pods may return to local nodes, as last seen.
func (c *Cluster) WayHome() bool { return !c.stays.Load() }

func (c *Cluster) set(value policy.Switch) {
	if c.global.Swap(int64(value)) != int64(value) {
		c.logger.Info("the global switch changed", "switch", value.String())
		c.changed()
	}
}

// Namespace returns the annotations of a namespace (policy.Input.NamespaceAnnotations). It returns an error while the
// cache does not contain the namespace: what it allows is not known.
func (c *Cluster) Namespace(name string) (map[string]string, error) {
	namespace, err := c.namespaces.Get(name)
	if err != nil {
		return nil, fmt.Errorf("looking up the annotations of namespace %s: %w", name, err)
	}
	return namespace.Annotations, nil
}

// NamespaceLabels returns the labels of a namespace (policy.Input.NamespaceLabels), nil while the cache does not
// contain it.
func (c *Cluster) NamespaceLabels(name string) map[string]string {
	namespace, err := c.namespaces.Get(name)
	if err != nil {
		return nil
	}
	return namespace.Labels
}

// namespaceChanged reports a change of what a namespace says about its Pods. Other controllers change other annotations
// as often as they like.
func (c *Cluster) namespaceChanged(before, after any) {
	old, ok := before.(*corev1.Namespace)
	changed, known := after.(*corev1.Namespace)
	if ok && known && (!maps.Equal(ours(old.Annotations), ours(changed.Annotations)) ||
		old.Labels[policy.NamespaceEnforceLabel] != changed.Labels[policy.NamespaceEnforceLabel]) {
		c.changed()
	}
}

// ours returns the annotations whose keys are Spillway's.
func ours(annotations map[string]string) map[string]string {
	found := map[string]string{}
	for key, value := range annotations {
		if strings.HasPrefix(key, policy.Prefix) || key == policy.LocalReplicasAnnotation {
			found[key] = value
		}
	}
	return found
}
