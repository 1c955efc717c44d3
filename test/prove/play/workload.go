package play

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/prove/plan"
	"github.com/spillway-k8s/spillway/test/prove/record"
)

// retry is the interval between retries of requests to the API server.
const retry = 100 * time.Millisecond

// player plays one workload.
type player struct {
	client    kubernetes.Interface
	log       *record.Log
	namespace string
	workload  plan.Workload
	// revision is the revision of the template, and highest the latest of all revisions.
	revision, highest int
	created           int
}

// play creates the workload and applies its steps. It blocks until the last step.
func (p *player) play(ctx context.Context) error {
	if err := pause(ctx, p.workload.Start); err != nil {
		return err
	}
	p.note("make", fmt.Sprintf("%s of %d", p.workload.Kind, p.workload.Replicas))
	p.noteWorkload(p.workload.Settings)
	if err := p.insist(ctx, p.create); err != nil {
		return err
	}
	if p.workload.MinAvailable > 0 {
		if err := p.insist(ctx, p.createBudget); err != nil {
			return err
		}
	}
	for _, step := range p.workload.Steps {
		if err := pause(ctx, step.After); err != nil {
			return err
		}
		if err := p.insist(ctx, func(ctx context.Context) error { return p.take(ctx, step) }); err != nil {
			return err
		}
	}
	return nil
}

// insist retries until the API server answers. Some requests it refuses for good, because the Pod is deleted or a Job
// has ended. They are skipped: histories do not depend on them.
func (p *player) insist(ctx context.Context, do func(context.Context) error) error {
	for {
		err := do(ctx)
		switch {
		case err == nil, apierrors.IsNotFound(err), apierrors.IsAlreadyExists(err), apierrors.IsConflict(err),
			apierrors.IsTooManyRequests(err):
			return nil
		case apierrors.IsInvalid(err) || apierrors.IsForbidden(err) || apierrors.IsBadRequest(err):
			return fmt.Errorf("playing %s: %w", p.workload.Name, err)
		}
		if err := pause(ctx, retry); err != nil {
			return err
		}
	}
}

func (p *player) note(do, on string) {
	p.log.Add(record.Entry{Action: &record.Action{Workload: p.namespace + "/" + p.workload.Name, Do: do, On: on}})
}

// noteWorkload records what is about to be written to the workload itself.
func (p *player) noteWorkload(shares map[string]string) {
	w := &p.workload
	noted := &record.Workload{
		Namespace: p.namespace, Name: w.Name, MinAvailable: w.MinAvailable, WayHome: w.WayHome,
	}
	if w.OnWorkload {
		noted.Settings = settings(w, shares)
	}
	p.log.Add(record.Entry{Workload: noted})
}

func (p *player) createBudget(ctx context.Context) error {
	budgets := p.client.PolicyV1().PodDisruptionBudgets(p.namespace)
	_, err := budgets.Create(ctx, budget(&p.workload), metav1.CreateOptions{})
	return err
}

func (p *player) create(ctx context.Context) (err error) {
	switch created := object(&p.workload).(type) {
	case *appsv1.Deployment:
		_, err = p.client.AppsV1().Deployments(p.namespace).Create(ctx, created, metav1.CreateOptions{})
	case *appsv1.ReplicaSet:
		_, err = p.client.AppsV1().ReplicaSets(p.namespace).Create(ctx, created, metav1.CreateOptions{})
	case *appsv1.StatefulSet:
		_, err = p.client.AppsV1().StatefulSets(p.namespace).Create(ctx, created, metav1.CreateOptions{})
	case *batchv1.Job:
		_, err = p.client.BatchV1().Jobs(p.namespace).Create(ctx, created, metav1.CreateOptions{})
	}
	return err
}

func (p *player) take(ctx context.Context, step plan.Step) error {
	switch step.Do {
	case plan.Scale:
		return p.scale(ctx, step.Count)
	case plan.Rollout:
		p.highest++
		return p.roll(ctx, p.highest)
	case plan.Rollback:
		return p.roll(ctx, max(p.revision-1, 0))
	case plan.EditQuota:
		p.note(string(step.Do), strconv.Itoa(step.Count))
		return p.annotate(ctx, policy.LocalReplicasAnnotation, strconv.Itoa(step.Count))
	case plan.EditShares:
		return p.editShares(ctx, step.Settings)
	default:
		return p.takePods(ctx, step)
	}
}

func (p *player) scale(ctx context.Context, replicas int) error {
	p.note(string(plan.Scale), strconv.Itoa(replicas))
	field := "replicas"
	if p.workload.Kind == plan.Job {
		field = "parallelism"
	}
	return p.patch(ctx, map[string]any{"spec": map[string]any{field: replicas}})
}

// editShares replaces the annotations that stand on the workload itself.
func (p *player) editShares(ctx context.Context, shares map[string]string) error {
	p.note(string(plan.EditShares), fmt.Sprint(shares))
	p.noteWorkload(shares)
	annotations := map[string]any{}
	for _, key := range policy.InheritedAnnotations() {
		annotations[key] = nil // Remove it.
	}
	for key, value := range settings(&p.workload, shares) {
		annotations[key] = value
	}
	return p.patch(ctx, map[string]any{"metadata": map[string]any{"annotations": annotations}})
}

func (p *player) roll(ctx context.Context, revision int) error {
	p.note("roll", fmt.Sprintf("from revision %d to %d", p.revision, revision))
	p.revision = revision
	return p.annotate(ctx, revisionAnnotation, strconv.Itoa(revision))
}

func (p *player) annotate(ctx context.Context, key, value string) error {
	return p.patch(ctx, map[string]any{"spec": map[string]any{"template": map[string]any{"metadata": map[string]any{
		"annotations": map[string]string{key: value},
	}}}})
}

func (p *player) patch(ctx context.Context, change map[string]any) error {
	body, err := json.Marshal(change)
	if err != nil {
		return fmt.Errorf("encoding a patch: %w", err)
	}
	name, options := p.workload.Name, metav1.PatchOptions{}
	switch p.workload.Kind {
	case plan.ReplicaSet:
		_, err = p.client.AppsV1().ReplicaSets(p.namespace).Patch(ctx, name, types.MergePatchType, body, options)
	case plan.StatefulSet:
		_, err = p.client.AppsV1().StatefulSets(p.namespace).Patch(ctx, name, types.MergePatchType, body, options)
	case plan.Job:
		_, err = p.client.BatchV1().Jobs(p.namespace).Patch(ctx, name, types.MergePatchType, body, options)
	default:
		_, err = p.client.AppsV1().Deployments(p.namespace).Patch(ctx, name, types.MergePatchType, body, options)
	}
	return err
}

// pause waits for the duration. It fails if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
