package day

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	discoverylisters "k8s.io/client-go/listers/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

const (
	namespace = "day"
	// between is the mean time between two requests of the client.
	between = 10 * time.Millisecond
	// settling is how long the workloads of midnight have to become Ready before the day begins.
	settling = time.Minute
	retry    = 200 * time.Millisecond
)

// player plays one day on a system.
type player struct {
	config    Config
	wayHome   bool
	client    kubernetes.Interface
	meter     *meter
	workloads []workload
	slices    discoverylisters.EndpointSliceNamespaceLister
}

func newPlayer(trial *system.System, c Config, wayHome bool) (*player, error) {
	rules, err := policy.New(policy.Config{})
	if err != nil {
		return nil, fmt.Errorf("creating the policy that knows what the cloud bills: %w", err)
	}
	return &player{
		config: c, wayHome: wayHome, client: trial.Client(), meter: newMeter(rules, pause), workloads: workloads(),
	}, nil
}

// play plays the day and returns its figures.
func (p *player) play(ctx context.Context) (Figures, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if p.wayHome {
		own.Annotations = map[string]string{policy.WayHomeAnnotation: "true"}
	}
	if _, err := p.client.CoreV1().Namespaces().Create(ctx, own, metav1.CreateOptions{}); err != nil {
		return Figures{}, fmt.Errorf("creating namespace %s: %w", namespace, err)
	}
	if err := p.observe(ctx); err != nil {
		return Figures{}, err
	}
	changes := curve(p.workloads, p.config.Seed)
	midnight := 0
	for midnight < len(changes) && changes[midnight].at == 0 {
		midnight++
	}
	for _, change := range changes[:midnight] {
		if err := p.create(ctx, p.workloads[change.workload], change.replicas); err != nil {
			return Figures{}, err
		}
	}
	if err := p.settle(ctx); err != nil {
		return Figures{}, err
	}
	start := time.Now()
	end, stop := context.WithDeadline(ctx, start.Add(p.config.Length))
	defer stop()
	group, groupContext := errgroup.WithContext(end)
	group.Go(func() error { return p.follow(groupContext, start, changes[midnight:]) })
	group.Go(func() error { return p.maintain(groupContext, start) })
	group.Go(func() error { p.request(groupContext); return nil })
	err := group.Wait()
	if ctx.Err() != nil {
		return Figures{}, ctx.Err()
	}
	if err != nil && end.Err() == nil {
		return Figures{}, err
	}
	return p.meter.result(time.Now()), nil
}

// real returns the instant of a time of the day.
func (p *player) real(start time.Time, at time.Duration) time.Time {
	return start.Add(time.Duration(float64(at) * p.config.Length.Hours() / hoursOfDay))
}

// observe starts to follow Pods, EndpointSlices and PodDisruptionBudgets.
func (p *player) observe(ctx context.Context) error {
	factory := informers.NewSharedInformerFactoryWithOptions(p.client, 0, informers.WithNamespace(namespace))
	pod := func(obj any, gone bool) {
		if last, ok := obj.(cache.DeletedFinalStateUnknown); ok {
			obj = last.Obj
		}
		if pod, ok := obj.(*corev1.Pod); ok {
			p.meter.pod(time.Now(), pod, gone)
		}
	}
	budget := func(obj any) {
		if pdb, ok := obj.(*policyv1.PodDisruptionBudget); ok {
			p.meter.budget(time.Now(), pdb)
		}
	}
	_, errPods := factory.Core().V1().Pods().Informer().AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { pod(obj, false) }, UpdateFunc: func(_, obj any) { pod(obj, false) },
		DeleteFunc: func(obj any) { pod(obj, true) },
	})
	_, errBudgets := factory.Policy().V1().PodDisruptionBudgets().Informer().AddEventHandler(
		cache.ResourceEventHandlerFuncs{AddFunc: budget, UpdateFunc: func(_, obj any) { budget(obj) }})
	if err := errors.Join(errPods, errBudgets); err != nil {
		return fmt.Errorf("following the Pods: %w", err)
	}
	p.slices = factory.Discovery().V1().EndpointSlices().Lister().EndpointSlices(namespace)
	factory.Start(ctx.Done())
	factory.WaitForCacheSync(ctx.Done())
	return nil
}

// create creates a workload with its Service and PodDisruptionBudget.
func (p *player) create(ctx context.Context, w workload, replicas int) error {
	p.meter.scaled(w.name, replicas)
	_, errService := p.client.CoreV1().Services(namespace).Create(ctx, w.service(), metav1.CreateOptions{})
	_, errBudget := p.client.PolicyV1().PodDisruptionBudgets(namespace).Create(ctx, w.budget(), metav1.CreateOptions{})
	var err error
	if w.kind == stateful {
		_, err = p.client.AppsV1().StatefulSets(namespace).Create(ctx, w.statefulSet(replicas), metav1.CreateOptions{})
	} else {
		_, err = p.client.AppsV1().Deployments(namespace).Create(ctx, w.deployment(replicas), metav1.CreateOptions{})
	}
	if err := errors.Join(errService, errBudget, err); err != nil {
		return fmt.Errorf("creating workload %s: %w", w.name, err)
	}
	return nil
}

// settle waits until all Services have as many Ready endpoints as their workloads have replicas at midnight.
func (p *player) settle(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	for {
		missing := ""
		for _, w := range p.workloads {
			if len(p.endpoints(w.name)) < w.least {
				missing = w.name
			}
		}
		if missing == "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for the endpoints of workload %s: %w", missing, ctx.Err())
		case <-time.After(retry):
		}
	}
}

// follow applies the load curve.
func (p *player) follow(ctx context.Context, start time.Time, changes []scale) error {
	for _, change := range changes {
		if !sleepUntil(ctx, p.real(start, change.at)) {
			return nil
		}
		w := p.workloads[change.workload]
		p.meter.scaled(w.name, change.replicas)
		patch := fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, change.replicas)
		var err error
		if w.kind == stateful {
			_, err = p.client.AppsV1().StatefulSets(namespace).Patch(
				ctx, w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
		} else {
			_, err = p.client.AppsV1().Deployments(namespace).Patch(
				ctx, w.name, types.MergePatchType, patch, metav1.PatchOptions{}, "scale")
		}
		if err != nil {
			return fmt.Errorf("scaling workload %s: %w", w.name, err)
		}
	}
	return nil
}

// maintain drains a local node, and lets it take Pods again.
func (p *player) maintain(ctx context.Context, start time.Time) error {
	if !sleepUntil(ctx, p.real(start, drainAt)) {
		return nil
	}
	node := system.LocalNode(0)
	if err := p.cordon(ctx, node, true); err != nil {
		return err
	}
	until := p.real(start, uncordonAt)
	for time.Now().Before(until) {
		if err := p.evict(ctx, node); err != nil {
			return err
		}
		if !sleepUntil(ctx, time.Now().Add(retry)) {
			return nil
		}
	}
	return p.cordon(ctx, node, false)
}

func (p *player) cordon(ctx context.Context, node string, unschedulable bool) error {
	patch := fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, unschedulable)
	_, err := p.client.CoreV1().Nodes().Patch(ctx, node, types.MergePatchType, patch, metav1.PatchOptions{})
	if err != nil {
		return fmt.Errorf("draining node %s: %w", node, err)
	}
	return nil
}

// evict asks for the eviction of every Pod of the node, as kubectl drain does.
func (p *player) evict(ctx context.Context, node string) error {
	pods, err := p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.nodeName", node).String(),
	})
	if err != nil {
		return fmt.Errorf("draining node %s: %w", node, err)
	}
	for i := range pods.Items {
		pod := &pods.Items[i]
		err := p.client.CoreV1().Pods(namespace).EvictV1(ctx, &policyv1.Eviction{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: pod.Name},
		})
		if err != nil && !apierrors.IsTooManyRequests(err) && !apierrors.IsNotFound(err) {
			return fmt.Errorf("evicting pod %s: %w", pod.Name, err)
		}
	}
	return nil
}

// request sends requests at random instants to random Ready endpoints of random Services.
func (p *player) request(ctx context.Context) {
	random := rand.New(rand.NewPCG(p.config.Seed, 1))
	next := time.Now()
	for {
		next = next.Add(time.Duration(random.ExpFloat64() * float64(between)))
		if !sleepUntil(ctx, next) {
			return
		}
		var pod types.UID
		if ready := p.endpoints(p.workloads[random.IntN(len(p.workloads))].name); len(ready) > 0 {
			pod = ready[random.IntN(len(ready))]
		}
		p.meter.request(time.Now(), pod)
	}
}

// endpoints returns the Pods that the EndpointSlices of a Service offer as Ready.
func (p *player) endpoints(service string) (pods []types.UID) {
	selector := labels.SelectorFromSet(labels.Set{discoveryv1.LabelServiceName: service})
	slices, err := p.slices.List(selector)
	if err != nil {
		return nil // The cache of an informer returns no error.
	}
	for _, slice := range slices {
		for i := range slice.Endpoints {
			endpoint := &slice.Endpoints[i]
			notReady := endpoint.Conditions.Ready != nil && !*endpoint.Conditions.Ready
			if !notReady && endpoint.TargetRef != nil {
				pods = append(pods, endpoint.TargetRef.UID)
			}
		}
	}
	return pods
}

// sleepUntil returns at the instant, or false if ctx ends before.
func sleepUntil(ctx context.Context, instant time.Time) bool {
	timer := time.NewTimer(time.Until(instant))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
