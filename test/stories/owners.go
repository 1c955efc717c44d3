package stories

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// playReplicationController scales a ReplicationController in.
func playReplicationController(ctx context.Context, w *World) error {
	if err := w.apply(ctx, "replicationcontroller.yaml"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "legacy", 1, 3); err != nil {
		return err
	}
	if err := w.awaitRanked(ctx, "legacy"); err != nil {
		return err
	}
	local, err := w.localPods(ctx, "legacy")
	if err != nil {
		return err
	}
	if err := w.run(ctx, "scale", "replicationcontroller", "legacy", "--replicas=1"); err != nil {
		return err
	}
	if err := w.awaitRunning(ctx, "legacy", 1, 0); err != nil {
		return err
	}
	remaining, err := w.localPods(ctx, "legacy")
	if err != nil {
		return err
	}
	if !slices.Equal(local, remaining) {
		return fmt.Errorf("the local replica is now %v: want %v, as at the beginning", remaining, local)
	}
	return nil
}

// playTemplates creates what a controller of others creates: Pods of two templates with one owner.
func playTemplates(ctx context.Context, w *World) (err error) {
	leave, err := w.define(ctx, "crd-clusters.yaml")
	if err != nil {
		return err
	}
	defer func() { err = leave(err) }()
	owner, err := w.create(ctx, "clusters.stories.spillway.io", "ray",
		`{apiVersion: stories.spillway.io/v1, kind: Cluster, metadata: {name: ray}}`)
	if err != nil {
		return err
	}
	owned := metav1.OwnerReference{
		APIVersion: "stories.spillway.io/v1", Kind: "Cluster", Name: "ray", UID: owner, Controller: new(true),
	}
	for app, names := range map[string][]string{
		"head": {"ray-head-0"}, "workers": {"ray-workers-0", "ray-workers-1", "ray-workers-2"},
	} {
		for _, name := range names {
			pod := &corev1.Pod{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
				ObjectMeta: metav1.ObjectMeta{
					Name: name, Labels: map[string]string{"app": app}, OwnerReferences: []metav1.OwnerReference{owned},
					Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"},
				},
				Spec: corev1.PodSpec{
					TerminationGracePeriodSeconds: new(int64(1)),
					Containers:                    []corev1.Container{{Name: "main", Image: "nginx"}},
				},
			}
			if err := w.applyObject(ctx, pod); err != nil {
				return err
			}
		}
	}
	if err := w.awaitRunning(ctx, "head", 1, 0); err != nil {
		return err
	}
	return w.awaitRunning(ctx, "workers", 1, 2)
}

// playRollouts sets a burst label on an owner of a kind that the trial system's admission is configured to follow.
func playRollouts(ctx context.Context, w *World) (err error) {
	leave, err := w.define(ctx, "crd-rollouts.yaml")
	if err != nil {
		return err
	}
	defer func() { err = leave(err) }()
	owner, err := w.create(ctx, "rollouts.argoproj.io", "canary", `{apiVersion: argoproj.io/v1alpha1, kind: Rollout,
  metadata: {name: canary, labels: {virtual-kubelet.io/burst-to-cci: enforce}}}`)
	if err != nil {
		return err
	}
	// What the controller of Rollouts creates.
	_, err = w.kubectl(ctx, fmt.Sprintf(`{apiVersion: apps/v1, kind: ReplicaSet, metadata: {name: canary-1,
  ownerReferences: [
  {apiVersion: argoproj.io/v1alpha1, kind: Rollout, name: canary, uid: %q, controller: true}]}, spec: {
  replicas: 2, selector: {matchLabels: {app: canary}}, template: {metadata: {labels: {app: canary}},
  spec: {terminationGracePeriodSeconds: 1, containers: [{name: main, image: nginx}]}}}}`, owner), "apply", "-f", "-")
	if err != nil {
		return err
	}
	return w.awaitRunning(ctx, "canary", 0, 2)
}

// define creates a CustomResourceDefinition and waits until the API server serves it. leave deletes it with its
// objects.
func (w *World) define(ctx context.Context, manifest string) (leave func(error) error, err error) {
	if err := w.apply(ctx, manifest); err != nil {
		return nil, err
	}
	definition := strings.TrimSuffix(strings.TrimPrefix(manifest, "crd-"), ".yaml")
	selector := "--selector=story=" + definition
	leave = func(err error) error {
		_, deleteErr := w.kubectl(context.WithoutCancel(ctx), "", "delete", "customresourcedefinitions", selector,
			"--wait=false")
		if err == nil {
			err = deleteErr
		}
		return err
	}
	if _, err := w.kubectl(ctx, "", "wait", "customresourcedefinitions", selector, "--for=condition=Established",
		"--timeout=60s"); err != nil {
		return nil, leave(err)
	}
	return leave, nil
}

// create creates an object of a custom resource and returns its UID.
func (w *World) create(ctx context.Context, resource, name, manifest string) (types.UID, error) {
	err := w.await(ctx, resource+" to be served", func(ctx context.Context) (bool, string, error) {
		_, err := w.kubectl(ctx, manifest, "apply", "-f", "-")
		return err == nil, "", err
	})
	if err != nil {
		return "", err
	}
	uid, err := w.kubectl(ctx, "", "get", resource, name, "-o", "jsonpath={.metadata.uid}")
	return types.UID(uid), err
}
