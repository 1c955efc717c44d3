package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/system"
)

// creators is the number of concurrent creations where creations per second are measured. atOnce is how many more Pods
// are created concurrently than one after another, so that it takes at least a second.
const (
	creators = 20
	atOnce   = 5
)

// registered determines which of admission's webhooks are registered.
type registered int

const (
	// noWebhook: none, as if admission was not installed.
	noWebhook registered = iota
	// mutatingOnly: only the webhook that changes Pods.
	mutatingOnly
	// bothWebhooks: both, as in production.
	bothWebhooks
)

// creationCase is one kind of Pod with one set of registrations.
type creationCase struct {
	pod, title string
	webhooks   registered
	// mutates and validates are set if the API server calls the webhook for a Pod.
	mutates, validates bool
	// make returns a Pod. The owner is an existing ReplicaSet.
	make func(name string, owner metav1.OwnerReference) *corev1.Pod
}

const noWebhookTitle = "not registered"

// creationCases are grouped by the kind of Pod. The first case of each group is the floor.
var creationCases = []creationCase{
	{pod: bareTitle, title: noWebhookTitle, make: barePod},
	{pod: bareTitle, title: "registered, not called", webhooks: bothWebhooks, make: barePod},
	{pod: replicaTitle, title: noWebhookTitle, make: replicaPod},
	{
		pod: replicaTitle, title: "called: the workload may have a label",
		webhooks: bothWebhooks, mutates: true, make: replicaPod,
	},
	{pod: quotaTitle, title: noWebhookTitle, make: replicaQuotaPod},
	{pod: quotaTitle, title: "called, changes the Pod", webhooks: bothWebhooks, mutates: true, make: replicaQuotaPod},
	{pod: labelTitle, title: noWebhookTitle, make: labeledPod},
	{pod: labelTitle, title: "called, changes the Pod", webhooks: mutatingOnly, mutates: true, make: labeledPod},
	{
		pod: labelTitle, title: "called, changes the Pod; called again, validates it",
		webhooks: bothWebhooks, mutates: true, validates: true, make: labeledPod,
	},
}

// Titles of the kinds of Pods.
const (
	bareTitle    = "without a workload, unmanaged"
	replicaTitle = "of a ReplicaSet, unmanaged"
	quotaTitle   = "of a ReplicaSet, with a quota"
	labelTitle   = "without a workload, with a burst label"
)

// creationResult is the result of a case.
type creationResult struct {
	creationCase
	// alone contains the times of creations one after another.
	alone []time.Duration
	// rates contains the concurrent creations per second, one entry per round.
	rates []float64
}

// measureCreation creates Pods in each case of each round. Admission runs all the time.
func measureCreation(ctx context.Context, c *cluster, o options, out io.Writer) (results []creationResult, err error) {
	if err := c.Restart(ctx, system.Admission); err != nil {
		return nil, err
	}
	defer func() {
		stopping := context.WithoutCancel(ctx)
		err = errors.Join(err, c.register(stopping, noWebhook), c.end(system.Admission), c.deletePods(stopping))
	}()
	owner, err := c.createReplicaSet(ctx)
	if err != nil {
		return nil, err
	}
	for _, cc := range creationCases {
		results = append(results, creationResult{creationCase: cc})
	}
	for round := range o.Rounds {
		count := share(o.Creates, round, o.Rounds)
		for i := range results {
			r := &results[(round*2+i)%len(results)]
			if err := c.measureCase(ctx, r, owner, count, o); err != nil {
				return nil, fmt.Errorf("a Pod %s, %s, round %d: %w", r.pod, r.title, round+1, err)
			}
			fmt.Fprintf(out, "round %d of %d: %6.1f creations/s, one in %s ms  %s: %s\n",
				round+1, o.Rounds, r.rates[round], millis(quantile(r.alone, 0.5)), r.pod, r.title)
		}
	}
	return results, nil
}

// share returns the part of a total that belongs to a round.
func share(total, round, rounds int) int { return total*(round+1)/rounds - total*round/rounds }

// measureCase creates Pods one after another and then concurrently, and checks how often admission was called.
func (c *cluster) measureCase(ctx context.Context, r *creationResult, owner metav1.OwnerReference, count int,
	o options) error {
	if err := c.register(ctx, r.webhooks); err != nil {
		return err
	}
	mutated, validated, err := c.reviews(ctx)
	if err != nil {
		return err
	}
	pids := []int{os.Getpid(), c.PID(system.Etcd), c.PID(system.APIServer), c.PID(system.Admission)}
	if err := awaitCalm(ctx, o.Calm.Duration, pids); err != nil {
		return err
	}
	for i := range count {
		took, err := c.create(ctx, r.make(fmt.Sprintf("alone-%04d", i), owner), r.mutates)
		if err != nil {
			return err
		}
		r.alone = append(r.alone, took)
	}
	group, groupContext := errgroup.WithContext(ctx)
	group.SetLimit(creators)
	start := time.Now()
	for i := range atOnce * count {
		group.Go(func() error {
			_, err := c.create(groupContext, r.make(fmt.Sprintf("at-once-%04d", i), owner), r.mutates)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	r.rates = append(r.rates, float64(atOnce*count)/time.Since(start).Seconds())
	mutatedAfter, validatedAfter, err := c.reviews(ctx)
	if err != nil {
		return err
	}
	return errors.Join(
		checkReviews(webhook.PodPath, r.mutates, mutatedAfter-mutated, (1+atOnce)*count),
		checkReviews(webhook.ValidationPath, r.validates, validatedAfter-validated, (1+atOnce)*count),
		c.deletePods(ctx))
}

// create creates a Pod and returns how long that took. If admission is called, it must have changed managed Pods, and
// no others.
func (c *cluster) create(ctx context.Context, pod *corev1.Pod, called bool) (time.Duration, error) {
	start := time.Now()
	created, err := c.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("creating pod %s/%s: %w", namespace, pod.Name, err)
	}
	managed := pod.Labels[policy.BurstLabel] != "" || pod.Annotations[policy.LocalReplicasAnnotation] != ""
	if changed := policy.NeedsPlacement(&created.Spec); changed != (called && managed) {
		return 0, fmt.Errorf("pod %s/%s: changed by admission: %t: must be %t", namespace, pod.Name, changed,
			called && managed)
	}
	return took, nil
}

func checkReviews(path string, called bool, got, pods int) error {
	want := 0
	if called {
		want = pods
	}
	if got != want {
		return fmt.Errorf("%s was called %d times for %d pods: must be %d times", path, got, pods, want)
	}
	return nil
}

// reviews returns how often admission was called to change Pods and to validate them.
func (c *cluster) reviews(ctx context.Context) (mutated, validated int, err error) {
	const counter = "spillway_admission_webhook_requests_total"
	url := c.HealthEndpoint(system.Admission)
	mutated, err = readMetric(ctx, url, counter, "webhook", webhook.PodPath[1:])
	if err != nil {
		return 0, 0, err
	}
	validated, err = readMetric(ctx, url, counter, "webhook", webhook.ValidationPath[1:])
	return mutated, validated, err
}

// register registers the wanted webhooks and no others, and returns when the API server calls exactly these.
func (c *cluster) register(ctx context.Context, want registered) error {
	if want != noWebhook {
		if err := c.RegisterWebhooks(ctx); err != nil {
			return err
		}
	}
	registrations := c.Client().AdmissionregistrationV1()
	var errMutating, errValidating error
	if want == noWebhook {
		errMutating = registrations.MutatingWebhookConfigurations().Delete(ctx, webhook.Name, metav1.DeleteOptions{})
	}
	if want != bothWebhooks {
		errValidating = registrations.ValidatingWebhookConfigurations().Delete(ctx, webhook.Name, metav1.DeleteOptions{})
	}
	for _, err := range []error{errMutating, errValidating} {
		if err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("deleting the registration: %w", err)
		}
	}
	return c.awaitRegistered(ctx, want)
}

// awaitRegistered creates a valid and a malformed Pod as a dry run until the result is that of the wanted
// registrations.
func (c *cluster) awaitRegistered(ctx context.Context, want registered) error {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pods, dry := c.Client().CoreV1().Pods(namespace), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	for {
		right, err := pods.Create(ctx, labeledPod("try", metav1.OwnerReference{}), dry)
		if err != nil {
			return fmt.Errorf("checking whether admission is called: %w", err)
		}
		malformed := labeledPod("try", metav1.OwnerReference{})
		malformed.Labels[policy.BurstLabel] = "malformed"
		_, err = pods.Create(ctx, malformed, dry)
		if err != nil && !apierrors.IsInvalid(err) {
			return fmt.Errorf("checking whether admission is called: %w", err)
		}
		mutates, validates := policy.NeedsPlacement(&right.Spec), apierrors.IsInvalid(err)
		if mutates == (want != noWebhook) && validates == (want == bothWebhooks) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not use the registrations after %s: %w", limit, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// createReplicaSet creates the workload of the Pods. No controller creates Pods for it.
func (c *cluster) createReplicaSet(ctx context.Context) (metav1.OwnerReference, error) {
	pod := unmanagedPod("creation", 0)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Name: "creation"},
		Spec: appsv1.ReplicaSetSpec{
			Selector: &metav1.LabelSelector{MatchLabels: pod.Labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
	created, err := c.Client().AppsV1().ReplicaSets(namespace).Create(ctx, set, metav1.CreateOptions{})
	if err != nil {
		return metav1.OwnerReference{}, fmt.Errorf("creating a ReplicaSet: %w", err)
	}
	return *metav1.NewControllerRef(created, appsv1.SchemeGroupVersion.WithKind("ReplicaSet")), nil
}

// barePod returns an unmanaged Pod without a workload.
func barePod(name string, _ metav1.OwnerReference) *corev1.Pod {
	pod := unmanagedPod("creation", 0)
	pod.Name, pod.OwnerReferences = name, nil
	return pod
}

// labeledPod returns a Pod with a burst label and without a workload.
func labeledPod(name string, none metav1.OwnerReference) *corev1.Pod {
	pod := barePod(name, none)
	pod.Labels[policy.BurstLabel] = string(policy.ModeLocalPrefer)
	return pod
}

// replicaPod returns an unmanaged Pod of a workload.
func replicaPod(name string, owner metav1.OwnerReference) *corev1.Pod {
	pod := barePod(name, owner)
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	return pod
}

// replicaQuotaPod returns a Pod of a workload with a quota, as the controller of the workload creates it.
func replicaQuotaPod(name string, owner metav1.OwnerReference) *corev1.Pod {
	pod := replicaPod(name, owner)
	pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	return pod
}
