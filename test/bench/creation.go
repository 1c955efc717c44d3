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

// creators is how many Pods are created at once where creations per second are measured, and atOnce how many more than one after another: so
// many that it takes a second at least.
const (
	creators = 20
	atOnce   = 5
)

// registered says which of admission's registrations the API server knows.
type registered int

const (
	// noWebhook: none, as if there was no admission program.
	noWebhook registered = iota
	// mutatingOnly: what changes Pods, and not what refuses them.
	mutatingOnly
	// bothWebhooks: as in production.
	bothWebhooks
)

// creationCase is one kind of Pod under one set of registrations.
type creationCase struct {
	pod, title string
	webhooks   registered
	// mutates and validates say whether the program is called for a Pod.
	mutates, validates bool
	// make makes a Pod; owner is a ReplicaSet that is there.
	make func(name string, owner metav1.OwnerReference) *corev1.Pod
}

const noWebhookTitle = "not registered"

// creationCases are in groups of one kind of Pod, of which the first is the floor.
var creationCases = []creationCase{
	{pod: "of no workload, without a key", title: noWebhookTitle, make: barePod},
	{pod: "of no workload, without a key", title: "registered, not called", webhooks: bothWebhooks, make: barePod},
	{pod: "of a ReplicaSet, without a key", title: noWebhookTitle, make: replicaPod},
	{pod: "of a ReplicaSet, without a key", title: "called: the workload may have a label", webhooks: bothWebhooks, mutates: true, make: replicaPod},
	{pod: "of a ReplicaSet, with a quota", title: noWebhookTitle, make: replicaQuotaPod},
	{pod: "of a ReplicaSet, with a quota", title: "called, changes the Pod", webhooks: bothWebhooks, mutates: true, make: replicaQuotaPod},
	{pod: "of no workload, with a burst label", title: noWebhookTitle, make: labelledPod},
	{pod: "of no workload, with a burst label", title: "called, changes the Pod", webhooks: mutatingOnly, mutates: true, make: labelledPod},
	{pod: "of no workload, with a burst label", title: "called, changes the Pod; called again, validates it", webhooks: bothWebhooks, mutates: true, validates: true, make: labelledPod},
}

// creationResult is what a case has come to.
type creationResult struct {
	creationCase
	// alone are creations one after another.
	alone []time.Duration
	// rates are creations per second with 20 at once, one for each round.
	rates []float64
}

// measureCreation creates Pods under each case in each round, with admission running all the time.
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

// share is how many of a total fall to a round.
func share(total, round, rounds int) int { return total*(round+1)/rounds - total*round/rounds }

// measureCase creates Pods one after another, then more at once, and checks whether admission was asked about each as it should.
func (c *cluster) measureCase(ctx context.Context, r *creationResult, owner metav1.OwnerReference, count int, o options) error {
	if err := c.register(ctx, r.webhooks); err != nil {
		return err
	}
	mutated, validated, err := c.reviews(ctx)
	if err != nil {
		return err
	}
	if err := awaitCalm(ctx, o.Calm.Duration, []int{os.Getpid(), c.PID(system.Etcd), c.PID(system.APIServer), c.PID(system.Admission)}); err != nil {
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

// create creates a Pod and returns how long that took. Where admission is called, a Pod with a key must come back changed, and no other.
func (c *cluster) create(ctx context.Context, pod *corev1.Pod, called bool) (time.Duration, error) {
	start := time.Now()
	created, err := c.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	took := time.Since(start)
	if err != nil {
		return 0, fmt.Errorf("creating pod %s/%s: %w", namespace, pod.Name, err)
	}
	hasKey := pod.Labels[policy.BurstLabel] != "" || pod.Annotations[policy.LocalReplicasAnnotation] != ""
	if changed := policy.NeedsPlacement(&created.Spec); changed != (called && hasKey) {
		return 0, fmt.Errorf("pod %s/%s: it is %t that it was changed, and must be %t", namespace, pod.Name, changed, called && hasKey)
	}
	return took, nil
}

func checkReviews(path string, called bool, got, pods int) error {
	want := 0
	if called {
		want = pods
	}
	if got != want {
		return fmt.Errorf("%s was called %d times for %d pods, and must have been called %d times", path, got, pods, want)
	}
	return nil
}

// reviews are how often admission was asked to change Pods and to validate them.
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

// register has the API server know the registrations and no others, and returns when it does as they say.
func (c *cluster) register(ctx context.Context, want registered) error {
	if want != noWebhook {
		if err := c.RegisterWebhooks(ctx); err != nil {
			return err
		}
	}
	registrations := c.Client().AdmissionregistrationV1()
	if want == noWebhook {
		if err := registrations.MutatingWebhookConfigurations().Delete(ctx, webhook.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("removing the registration: %w", err)
		}
	}
	if want != bothWebhooks {
		if err := registrations.ValidatingWebhookConfigurations().Delete(ctx, webhook.Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			return fmt.Errorf("removing the registration: %w", err)
		}
	}
	return c.awaitRegistered(ctx, want)
}

// awaitRegistered tries a Pod with a right and one with a malformed key until the API server has seen what is registered.
func (c *cluster) awaitRegistered(ctx context.Context, want registered) error {
	const limit = time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pods, dry := c.Client().CoreV1().Pods(namespace), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}
	for {
		right, err := pods.Create(ctx, labelledPod("try", metav1.OwnerReference{}), dry)
		if err != nil {
			return fmt.Errorf("trying whether admission is called: %w", err)
		}
		malformed := labelledPod("try", metav1.OwnerReference{})
		malformed.Labels[policy.BurstLabel] = "malformed"
		_, err = pods.Create(ctx, malformed, dry)
		if err != nil && !apierrors.IsInvalid(err) {
			return fmt.Errorf("trying whether admission is called: %w", err)
		}
		if policy.NeedsPlacement(&right.Spec) == (want != noWebhook) && apierrors.IsInvalid(err) == (want == bothWebhooks) {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not do as the registrations say, after %s: %w", limit, ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// createReplicaSet makes the workload that Pods belong to. There is no controller that would make Pods of it.
func (c *cluster) createReplicaSet(ctx context.Context) (metav1.OwnerReference, error) {
	pod := plainPod("creation", 0)
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

// barePod has neither a key nor a workload.
func barePod(name string, _ metav1.OwnerReference) *corev1.Pod {
	pod := plainPod("creation", 0)
	pod.Name, pod.OwnerReferences = name, nil
	return pod
}

// labelledPod has a burst label and no workload.
func labelledPod(name string, none metav1.OwnerReference) *corev1.Pod {
	pod := barePod(name, none)
	pod.Labels[policy.BurstLabel] = string(policy.ModeLocalPrefer)
	return pod
}

// replicaPod has a workload and no key.
func replicaPod(name string, owner metav1.OwnerReference) *corev1.Pod {
	pod := barePod(name, owner)
	pod.OwnerReferences = []metav1.OwnerReference{owner}
	return pod
}

// replicaQuotaPod has a workload and a quota, as the workload's controller makes it.
func replicaQuotaPod(name string, owner metav1.OwnerReference) *corev1.Pod {
	pod := replicaPod(name, owner)
	pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
	return pod
}
