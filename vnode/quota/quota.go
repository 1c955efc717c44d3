// Package quota keeps the capacity of a virtual node within the quotas of its cloud namespace, as far as the cloud
// shows them: CCI 1.0 does. The scheduler then sends no more Pods than the cloud accepts. The cloud itself keeps the
// quotas: what is read here may be a minute old.
package quota

import (
	"context"
	"errors"
	"log/slog"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// API is the part of cci.API that a Follower uses.
type API interface {
	NamespaceQuotas(ctx context.Context, namespace string) ([]corev1.ResourceQuota, error)
}

// Config configures a Follower. All fields are required.
type Config struct {
	// API and Namespace are where the quotas are.
	API       API
	Namespace string
	// Node is the name of the virtual node, for the log.
	Node string
	// Configured is the capacity in the configuration. The capacity of the node is never more.
	Configured corev1.ResourceList
	// CloudPods returns the node's cloud Pods. They are not changed.
	CloudPods func() map[identity.Key]*cci.Pod
	// Set sets the capacity of the node, and what of it its Pods may use.
	Set func(capacity, allocatable corev1.ResourceList)
	// Interval is the time between two reads.
	Interval time.Duration
	Logger   *slog.Logger
}

// Follower follows the quotas for one virtual node. Its methods are not safe for concurrent use.
type Follower struct {
	config Config
	// logged is the last logged error. An error that repeats is logged once.
	logged string
}

// New checks the configuration and returns a Follower. It starts nothing.
func New(config Config) (*Follower, error) {
	if config.API == nil || config.Namespace == "" || config.Node == "" || len(config.Configured) == 0 ||
		config.CloudPods == nil || config.Set == nil || config.Interval <= 0 || config.Logger == nil {
		return nil, errors.New("creating the follower of quotas: a required field is missing")
	}
	return &Follower{config: config}, nil
}

// Run reads the quotas now and periodically, until ctx ends. It blocks and returns nil. If they cannot be read, the
// capacity stays as it is, at the start as configured, and the log says why, once.
func (f *Follower) Run(ctx context.Context) error {
	ticker := time.NewTicker(f.config.Interval)
	defer ticker.Stop()
	for {
		if err := f.follow(ctx); err != nil && ctx.Err() == nil && err.Error() != f.logged {
			f.logged = err.Error()
			f.config.Logger.Warn("the quotas of the cloud namespace cannot be read: the capacity of the node stays as it is",
				"err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (f *Follower) follow(ctx context.Context) error {
	quotas, err := f.config.API.NamespaceQuotas(ctx, f.config.Namespace)
	if err != nil {
		return err
	}
	f.logged = ""
	f.config.Set(within(f.config.Configured, quotas, use(f.config.CloudPods())))
	return nil
}

// limits are the resources of a quota that limit a resource of a node. Requests and limits are equal in CCI 1.0.
var limits = map[corev1.ResourceName][]corev1.ResourceName{
	corev1.ResourcePods:   {corev1.ResourcePods},
	corev1.ResourceCPU:    {corev1.ResourceCPU, corev1.ResourceRequestsCPU, corev1.ResourceLimitsCPU},
	corev1.ResourceMemory: {corev1.ResourceMemory, corev1.ResourceRequestsMemory, corev1.ResourceLimitsMemory},
}

// within returns the capacity, which is what is configured or less if a quota is less, and what of it the Pods of the
// node may use: not what others use of the quota.
func within(
	configured corev1.ResourceList, quotas []corev1.ResourceQuota, own corev1.ResourceList,
) (capacity, allocatable corev1.ResourceList) {
	capacity, allocatable = configured.DeepCopy(), configured.DeepCopy()
	for name, of := range limits {
		for _, quota := range quotas {
			for _, limit := range of {
				hard, limited := quota.Status.Hard[limit]
				if !limited {
					continue
				}
				lower(capacity, name, hard)
				others := quota.Status.Used[limit].DeepCopy()
				others.Sub(own[name])
				if others.Sign() > 0 {
					hard.Sub(others)
				}
				lower(allocatable, name, hard)
			}
		}
	}
	return capacity, allocatable
}

// lower sets a resource to a limit if it is more. Nothing is less than zero.
func lower(list corev1.ResourceList, name corev1.ResourceName, limit resource.Quantity) {
	if limit.Sign() < 0 {
		limit = *resource.NewQuantity(0, limit.Format)
	}
	if has, ok := list[name]; ok && has.Cmp(limit) > 0 {
		list[name] = limit
	}
}

// use returns what cloud Pods use of a quota: all that have not ended.
func use(pods map[identity.Key]*cci.Pod) corev1.ResourceList {
	sum := corev1.ResourceList{}
	add := func(name corev1.ResourceName, quantity resource.Quantity) {
		total := sum[name]
		total.Add(quantity)
		sum[name] = total
	}
	for _, pod := range pods {
		if translate.IsTerminal(pod.Status.Phase) {
			continue
		}
		add(corev1.ResourcePods, *resource.NewQuantity(1, resource.DecimalSI))
		for name, quantity := range translate.BilledSize(pod).Resources() {
			add(name, quantity)
		}
	}
	return sum
}
