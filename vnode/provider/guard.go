package provider

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/record"

	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Guard is the client of Pods for virtual-kubelet's PodController. It changes the two things that the controller writes:
//
//   - A status. The controller replaces the whole Pod as it once was, under the newest resourceVersion, and so takes back labels
//     and annotations that others have written meanwhile. Here only the difference of the status is sent, for this version of
//     this Pod alone, and nothing once the Pod has ended for the cluster.
//   - A deletion. The controller takes a Pod out of the cluster at once where it is not running, and after the grace where it is, whether or not
//     the cloud Pod has ended. Here that is left to the Provider, which does it when the cloud Pod is gone.
func (p *Provider) Guard() corev1client.PodsGetter { return guard{p} }

// Silence is the recorder for virtual-kubelet's PodController: it would say that Pods have been made when they have been queued.
func Silence() record.EventRecorder { return silence{} }

type guard struct{ provider *Provider }

func (g guard) Pods(namespace string) corev1client.PodInterface {
	return guardedPods{g.provider.config.Client.Pods(namespace), g.provider, namespace}
}

type guardedPods struct {
	corev1client.PodInterface
	provider  *Provider
	namespace string
}

// UpdateStatus sends what differs from the Pod as it is known now.
func (g guardedPods) UpdateStatus(ctx context.Context, pod *corev1.Pod, _ metav1.UpdateOptions) (*corev1.Pod, error) {
	current := g.provider.pod(identity.KeyOf(pod))
	if current == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	if translate.IsTerminal(current.Status.Phase) {
		return current, nil // Somebody else has ended it, by an eviction say, since the controller looked.
	}
	patch, err := statusPatch(current, pod.Status)
	if err != nil || patch == nil {
		return current, err
	}
	written, err := g.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsConflict(err) {
		// The Pod has changed, so news of it are on their way, and the Provider will compare again.
		return current, nil
	}
	return written, err
}

// Delete asks the Provider to look at the Pod.
func (g guardedPods) Delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	if pod, err := g.provider.pods.Pods(g.namespace).Get(name); err == nil {
		g.provider.queue.Add(identity.KeyOf(pod))
	}
	return nil
}

// statusPatch is the difference between the status of a Pod and the wanted one, nil where there is none. Conditions of others stay.
func statusPatch(current *corev1.Pod, wanted corev1.PodStatus) ([]byte, error) {
	wanted.Conditions = translate.MergeConditions(current.Status.Conditions, wanted.Conditions)
	before, err := json.Marshal(&corev1.Pod{Status: current.Status})
	if err != nil {
		return nil, fmt.Errorf("encoding the status of pod %s/%s: %w", current.Namespace, current.Name, err)
	}
	after, err := json.Marshal(&corev1.Pod{Status: wanted})
	if err != nil {
		return nil, fmt.Errorf("encoding the new status of pod %s/%s: %w", current.Namespace, current.Name, err)
	}
	patch, err := strategicpatch.CreateTwoWayMergePatch(before, after, &corev1.Pod{})
	if err != nil {
		return nil, fmt.Errorf("comparing the status of pod %s/%s: %w", current.Namespace, current.Name, err)
	}
	if string(patch) == "{}" {
		return nil, nil
	}
	return bind(patch, current)
}

// bind makes the API server refuse the patch for another Pod of the same name, or another version of this one.
func bind(patch []byte, pod *corev1.Pod) ([]byte, error) {
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, fmt.Errorf("reading the patch of a status: %w", err)
	}
	fields["metadata"] = map[string]any{"uid": pod.UID, "resourceVersion": pod.ResourceVersion}
	bound, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch of a status: %w", err)
	}
	return bound, nil
}
