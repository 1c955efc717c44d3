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

	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// PodsGetter returns the client of Pods for virtual-kubelet's PodController. It changes two kinds of writes:
//
//   - A status. The controller replaces the whole Pod as it once was, with the newest resourceVersion, and so reverts
//     labels and annotations that others have written since. This client sends only the difference of the status, for
//     this version of this Pod alone. It sends nothing after the Pod has ended for the cluster. With the end it sends
//     what the Pod has cost.
//   - A deletion. The controller removes a Pod from the cluster at once if the Pod is not running, and after the grace
//     period if it is, whether or not the cloud Pod has ended. This client leaves that to the Provider, which does it
//     when the cloud Pod is gone.
func (p *Provider) PodsGetter() corev1client.PodsGetter { return podsGetter{p} }

// DiscardEvents returns the recorder for virtual-kubelet's PodController. The controller would report Pods as created
// when they are only queued.
func DiscardEvents() record.EventRecorder { return discardRecorder{} }

type podsGetter struct{ provider *Provider }

func (g podsGetter) Pods(namespace string) corev1client.PodInterface {
	return podInterface{g.provider.config.Client.Pods(namespace), g.provider, namespace}
}

type podInterface struct {
	corev1client.PodInterface
	provider  *Provider
	namespace string
}

// UpdateStatus sends the difference from the Pod as it is known now.
func (i podInterface) UpdateStatus(ctx context.Context, pod *corev1.Pod, _ metav1.UpdateOptions) (*corev1.Pod, error) {
	current := i.provider.pod(identity.KeyOf(pod))
	if current == nil {
		return nil, apierrors.NewNotFound(corev1.Resource("pods"), pod.Name)
	}
	if translate.IsTerminal(current.Status.Phase) {
		return current, nil // Another client has ended it, by an eviction for example, since the controller read it.
	}
	metadata, key := map[string]any{}, identity.KeyOf(current)
	cost := i.provider.costOf(key, &pod.Status)
	if cost != nil {
		text := prices.Exact(cost) + " " + i.provider.config.Prices.Currency()
		metadata["annotations"] = map[string]string{policy.CostAnnotation: text}
	}
	patch, err := statusPatch(current, pod.Status, metadata)
	if err != nil || patch == nil {
		return current, err
	}
	written, err := i.Patch(ctx, pod.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{}, "status")
	if apierrors.IsConflict(err) {
		// The Pod has changed. The watch will deliver the change, and the Provider will compare again.
		return current, nil
	}
	if err == nil && cost != nil {
		// The patch is for one version of the Pod, and nothing is written after its end: each Pod is counted once. A
		// process that ends here has not counted it, which is better than twice.
		i.provider.costs.add(key.Namespace, cost)
	}
	if err == nil {
		i.provider.recordWritten(current, written)
	}
	return written, err
}

// Delete queues the Pod for the Provider.
func (i podInterface) Delete(_ context.Context, name string, _ metav1.DeleteOptions) error {
	if pod, err := i.provider.pods.Pods(i.namespace).Get(name); err == nil {
		i.provider.loop.Add(identity.KeyOf(pod))
	}
	return nil
}

// statusPatch returns the difference between the status of a Pod and the wanted one, nil if there is none. Conditions
// of others stay. metadata is sent with a difference.
func statusPatch(current *corev1.Pod, wanted corev1.PodStatus, metadata map[string]any) ([]byte, error) {
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
	return bind(patch, metadata, current)
}

// bind adds metadata to a patch, and makes the API server refuse it for another Pod of the same name, and for another
// version of this Pod.
func bind(patch []byte, metadata map[string]any, pod *corev1.Pod) ([]byte, error) {
	var fields map[string]any
	if err := json.Unmarshal(patch, &fields); err != nil {
		return nil, fmt.Errorf("decoding the patch of a status: %w", err)
	}
	metadata["uid"], metadata["resourceVersion"] = pod.UID, pod.ResourceVersion
	fields["metadata"] = metadata
	bound, err := json.Marshal(fields)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch of a status: %w", err)
	}
	return bound, nil
}
