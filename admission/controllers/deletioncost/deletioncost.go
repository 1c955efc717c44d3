// Package deletioncost writes a negative pod-deletion-cost to the Pods on virtual nodes whose controllers use that
// cost, such as the Pods of ReplicaSets, so that they delete cloud Pods first when they scale in. It never changes a
// cost that is set, whether by the user or by another controller.
package deletioncost

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
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
	"github.com/spillway-k8s/spillway/policy"
)

const (
	// name is the name of the controller in logs and metrics.
	name    = "rank"
	workers = 32
)

// Config holds what the controller works with. No field is optional.
type Config struct {
	Client kubernetes.Interface
	Pods   *podcache.Pods
	Nodes  *podcache.VirtualNodes
	// Cost is the deletion cost of cloud Pods.
	Cost int32
	// Resync is how often every Pod without a cost is reconciled although nothing is known to have changed.
	Resync time.Duration
	// Failures counts failed reconciliations (reconciler.NewFailures).
	Failures *prometheus.CounterVec
	Logger   *slog.Logger
}

// Controller writes deletion costs.
type Controller struct {
	Config
	written prometheus.Counter
}

// New returns the controller and registers its metrics. It starts nothing.
func New(c Config, registerer prometheus.Registerer) (*Controller, error) {
	written := prometheus.NewCounter(prometheus.CounterOpts{
		Name: "spillway_admission_ranks_written_total", Help: "Cloud Pods that got a deletion cost.",
	})
	if err := registerer.Register(written); err != nil {
		return nil, fmt.Errorf("registering the metrics of controller %s: %w", name, err)
	}
	counters.Start(c.Failures, []string{name})
	return &Controller{Config: c, written: written}, nil
}

// Run runs the controller until ctx ends. It blocks. It may be called again afterwards.
func (c *Controller) Run(ctx context.Context) error {
	nodeAdded := reconciler.NewTrigger()
	return reconciler.Run(ctx, reconciler.Config{
		Name: name, Workers: workers, Resync: c.Resync, Trigger: nodeAdded, Failures: c.Failures, Logger: c.Logger,
		Watch:   func(add func(cache.ObjectName)) (stop func() error, err error) { return c.watch(add, nodeAdded) },
		Backlog: c.backlog, Reconcile: reconciler.Once(c.reconcile),
	})
}

func (c *Controller) backlog() []cache.ObjectName {
	var names []cache.ObjectName
	for _, node := range c.Nodes.Names() {
		names = append(names, c.Pods.Unranked(node)...)
	}
	return names
}

// watch adds Pods on virtual nodes. The cache of Pods may be ahead of the cache of nodes, so a node that is added
// triggers a reconciliation of the backlog.
func (c *Controller) watch(add func(cache.ObjectName), nodeAdded *reconciler.Trigger) (stop func() error, err error) {
	handle := func(object any) {
		if pod, ok := object.(*corev1.Pod); ok && c.needsCost(pod) {
			add(cache.MetaObjectToName(pod))
		}
	}
	stopPods, err := c.Pods.Handle(cache.ResourceEventHandlerFuncs{
		AddFunc: handle, UpdateFunc: func(_, pod any) { handle(pod) },
	})
	if err != nil {
		return nil, err
	}
	stopNodes, err := c.Nodes.OnNew(nodeAdded.Fire)
	if err != nil {
		return nil, errors.Join(err, stopPods())
	}
	return func() error { return errors.Join(stopPods(), stopNodes()) }, nil
}

func (c *Controller) needsCost(pod *corev1.Pod) bool {
	return podcache.IsUnranked(pod) && c.Nodes.IsOurs(pod.Spec.NodeName)
}

func (c *Controller) reconcile(ctx context.Context, name cache.ObjectName) error {
	pod := c.Pods.Get(name)
	if pod == nil || !c.needsCost(pod) {
		return nil
	}
	patch, err := costPatch(pod, c.Cost)
	if err != nil {
		return err
	}
	_, err = c.Client.CoreV1().Pods(pod.Namespace).Patch(ctx, pod.Name, types.MergePatchType, patch,
		metav1.PatchOptions{FieldManager: reconciler.FieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("writing %s: %w", policy.DeletionCostAnnotation, err)
	}
	c.written.Inc()
	return nil
}

// costPatch applies only to the version of the Pod that was read: if anyone has changed the Pod since, for example the
// user, the patch fails with a conflict.
func costPatch(pod *corev1.Pod, cost int32) ([]byte, error) {
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": pod.UID, "resourceVersion": pod.ResourceVersion,
		"annotations": map[string]string{policy.DeletionCostAnnotation: strconv.Itoa(int(cost))},
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding a patch: %w", err)
	}
	return patch, nil
}
