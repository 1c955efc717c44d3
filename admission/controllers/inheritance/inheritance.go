// Package inheritance keeps what Pods have copied from their workloads (policy.Copies) up to date: when an annotation
// of a workload changes, the copies on its active Pods follow, wherever they run. So a change of a workload has an
// effect on Pods that exist, and rolls none. The other programs need to know Pods and namespaces only.
//
// The webhook writes the copies when a Pod is created. This controller also repairs what it missed.
package inheritance

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/admission/controllers/podcache"
	"github.com/spillway-k8s/spillway/admission/controllers/reconciler"
	"github.com/spillway-k8s/spillway/internal/counters"
	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// name is the name of the controller in logs and metrics.
	name    = "inherit"
	workers = 16
)

// Owners knows the annotations of owners (admission/owners).
type Owners interface {
	// Workload returns what the owners of a Pod say about it. It may block for a bounded time.
	Workload(context.Context, *corev1.Pod) (evaluation.Workload, error)
	// CachedWorkload is Workload, as far as the caches know. It must not block.
	CachedWorkload(*corev1.Pod) evaluation.Workload
	// OnChange calls changed with a namespace until stop is called. changed must not block.
	OnChange(changed func(namespace string)) (stop func() error, err error)
}

// Config holds what the controller works with. No field is optional.
type Config struct {
	Client kubernetes.Interface
	Pods   *podcache.Pods
	Owners Owners
	// Resync is how often every Pod is compared with its workload although nothing is known to have changed.
	Resync time.Duration
	// Failures counts failed reconciliations (reconciler.NewFailures).
	Failures *prometheus.CounterVec
	Logger   *slog.Logger
}

// Controller keeps copies of annotations up to date.
type Controller struct {
	Config
	updated prometheus.Counter
}

// New returns the controller and registers its metrics. It starts nothing.
func New(c Config, registerer prometheus.Registerer) (*Controller, error) {
	updated := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spillway_admission_inherited_updates_total",
		Help: "Pods whose copies of annotations have followed their workload.",
	})
	if err := registerer.Register(updated); err != nil {
		return nil, fmt.Errorf("registering the metrics of controller %s: %w", name, err)
	}
	counters.Start(c.Failures, []string{name})
	return &Controller{Config: c, updated: updated}, nil
}

// Run runs the controller until ctx ends. It blocks. It may be called again afterwards.
func (c *Controller) Run(ctx context.Context) error {
	var add func(cache.ObjectName)
	return reconciler.Run(ctx, reconciler.Config{
		Name: name, Workers: workers, Resync: c.Resync, Trigger: reconciler.NewTrigger(), Failures: c.Failures,
		Logger: c.Logger,
		Watch: func(queue func(cache.ObjectName)) (stop func() error, err error) {
			add = queue
			return c.watch(queue)
		},
		Reconcile: reconciler.Once(func(ctx context.Context, key cache.ObjectName) error {
			return c.reconcile(ctx, key, add)
		}),
		Backlog: func() []cache.ObjectName { return c.Pods.Select(c.differs) },
	})
}

// watch adds Pods that differ from their workload, and namespaces in which a workload has changed. The key of a
// namespace has no name. Many changes at once, such as an installation of charts, compare its Pods a few times only.
func (c *Controller) watch(add func(cache.ObjectName)) (stop func() error, err error) {
	handle := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && c.differs(pod) {
			add(cache.MetaObjectToName(pod))
		}
	}
	stopPods, err := c.Pods.Handle(cache.ResourceEventHandlerFuncs{
		AddFunc: handle, UpdateFunc: func(_, pod any) { handle(pod) },
	})
	if err != nil {
		return nil, err
	}
	stopOwners, err := c.Owners.OnChange(func(namespace string) { add(cache.NewObjectName(namespace, "")) })
	if err != nil {
		return nil, errors.Join(err, stopPods())
	}
	return func() error { return errors.Join(stopOwners(), stopPods()) }, nil
}

// inherits reports whether a Pod has copies. The webhook writes none to the Pods of a DaemonSet.
func inherits(pod *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(pod)
	return policy.IsActive(pod) && (owner == nil || owner.Kind != "DaemonSet")
}

// differs reports whether the copies of a Pod are not those of its workload, as far as the caches know.
func (c *Controller) differs(pod *corev1.Pod) bool {
	if !inherits(pod) {
		return false
	}
	set, remove := policy.Copies(pod.Annotations, c.Owners.CachedWorkload(pod).Annotations)
	return len(set)+len(remove) > 0
}

// reconcile brings one Pod up to date, or adds the Pods of a namespace that differ.
func (c *Controller) reconcile(ctx context.Context, key cache.ObjectName, add func(cache.ObjectName)) error {
	if key.Name == "" {
		for _, pod := range c.Pods.InNamespace(key.Namespace, c.differs) {
			add(pod)
		}
		return nil
	}
	pod := c.Pods.Get(key)
	if pod == nil || !inherits(pod) {
		return nil
	}
	workload, err := c.Owners.Workload(ctx, pod)
	if err != nil {
		return fmt.Errorf("looking up the workload: %w", err)
	}
	set, remove := policy.Copies(pod.Annotations, workload.Annotations)
	if len(set)+len(remove) == 0 {
		return nil
	}
	patch, err := copiesPatch(pod, set, remove)
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: reconciler.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("updating copies of annotations: %w", err)
	}
	c.updated.Inc()
	c.Logger.Debug("the copies of annotations of a Pod follow its workload",
		logging.Pod(pod.Namespace, pod.Name, pod.UID), "controller", name)
	return nil
}

// copiesPatch applies only to the version of the Pod that was read: if anyone has changed the Pod since, for example
// its own annotations, the patch fails with a conflict.
func copiesPatch(pod *corev1.Pod, set map[string]string, remove []string) ([]byte, error) {
	annotations := map[string]any{}
	for key, value := range set {
		annotations[key] = value
	}
	for _, key := range remove {
		annotations[key] = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion, "annotations": annotations,
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}
