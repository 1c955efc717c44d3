package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/evaluation"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/internal/tracing"
	"github.com/spillway-k8s/spillway/policy"
)

// podReviewer prepares Pods at creation. It rejects none.
type podReviewer struct {
	evaluator  Evaluator
	schedulers schedulers.Schedulers
	ignored    policy.IgnoredSelectors
	metrics    metrics
	logger     *slog.Logger
}

// review allows the Pod, with a patch if the Pod needs a change and with warnings about its malformed keys.
func (p *podReviewer) review(
	ctx context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	pod, err := decodePod(request)
	if err != nil {
		return nil, outcomeMalformed, err
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	if !isSchedulable(pod) {
		return response, outcomeUntouched, nil
	}
	before := withoutAdded(pod)
	// Selectors that virtual nodes need not match are no reason to keep the Pod local. If there is another reason, the
	// Pod keeps them as they are.
	prepared := p.ignored.Ignore(before)
	subject := *prepared
	subject.Namespace = request.Namespace // The object may omit it.
	ctx, span := tracing.Start(ctx, "admission: prepare Pod", &subject)
	result, err := p.evaluator.Evaluate(ctx, &subject)
	if err == nil {
		response.Warnings = p.warnings(pod, result)
		p.metrics.countDecision(result)
		if mayBurstLater(before, result, p.schedulers) {
			before = prepared
		}
		mutated := inherit(withoutWritten(mutate(before, result, p.schedulers)), result)
		if result.Managed {
			tracing.Mark(ctx, mutated)
		}
		response.Patch, err = patchForPod(request.Object.Raw, pod, mutated)
	}
	tracing.End(span, err, "decision", result.Describe())
	if err != nil {
		p.logger.Error("a Pod stays unchanged",
			logging.Pod(request.Namespace, pod.Name, pod.UID), "generateName", pod.GenerateName, "err", err)
		response.Warnings = append(response.Warnings, lines("spillway left the Pod unchanged: "+err.Error())...)
		return response, outcomeFailed, nil
	}
	p.logger.Debug("reviewed a Pod", logging.Pod(request.Namespace, pod.Name, pod.UID),
		"generateName", pod.GenerateName, "managed", result.Managed, "decision", result.Describe())
	return patched(response)
}

// withoutWritten returns a Pod without annotations that the programs write later, and that a copied manifest has. The
// Pod itself stays unchanged.
func withoutWritten(pod *corev1.Pod) *corev1.Pod {
	out := pod
	for _, key := range []string{policy.TraceAnnotation, policy.CostAnnotation} {
		if _, ok := out.Annotations[key]; ok {
			if out == pod {
				out = pod.DeepCopy()
			}
			delete(out.Annotations, key)
		}
	}
	return out
}

// patched completes a response that may have a patch.
func patched(response *admissionv1.AdmissionResponse) (*admissionv1.AdmissionResponse, outcome, error) {
	if response.Patch == nil {
		return response, outcomeUntouched, nil
	}
	response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	return response, outcomeMutated, nil
}

// decodePod returns the Pod of a review of its creation.
func decodePod(request *admissionv1.AdmissionRequest) (*corev1.Pod, error) {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if request.Resource != pods || request.SubResource != "" || request.Operation != admissionv1.Create {
		return nil, fmt.Errorf("request: %s of %s %s: must be CREATE of pods in v1, as in Registration",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	var pod corev1.Pod
	if len(request.Object.Raw) == 0 {
		return nil, errors.New("request.object: must be a Pod: missing")
	}
	if err := rawjson.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("decoding request.object as a Pod: %w", err)
	}
	if pod.Kind != "Pod" {
		return nil, fmt.Errorf("request.object: must be a Pod, not %q", pod.Kind)
	}
	return &pod, nil
}

// warnings returns the malformed keys of a Pod, and why a Pod that requests to burst does not, or not as it requests.
// It leaves the malformed keys of a Pod without a controller to the validation, which rejects the Pod.
func (p *podReviewer) warnings(pod *corev1.Pod, result evaluation.Result) []string {
	var found []string
	if isControlled(pod) {
		for _, err := range result.Errors {
			found = append(found, lines(err.Error())...)
		}
	}
	if result.StaysLocal() {
		found = append(found, fmt.Sprintf("%s: the Pod stays on local nodes: %s", result.Reason, result.Message))
	}
	if !result.Forbidden() {
		text := p.schedulers.Warn(pod.Spec.SchedulerName, result.BurstMode, result.HasShares, result.Limited)
		if result.NeedsExtender() && !result.Limited && !p.schedulers.Call(pod.Spec.SchedulerName) {
			text = schedulers.CannotCount(pod.Spec.SchedulerName).String()
		}
		if text != "" {
			found = append(found, lines(text)...)
		}
	}
	return found
}
