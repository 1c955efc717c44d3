package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/admission/verdict"
)

// podReviewer prepares Pods that are being created. It refuses none.
type podReviewer struct {
	judge         Judge
	schedulerName string
	metrics       metrics
	logger        *slog.Logger
}

// review allows the Pod, with a patch where it is to be changed and with warnings about its malformed keys.
func (p *podReviewer) review(ctx context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, outcome, error) {
	pod, err := decodePod(request)
	if err != nil {
		return nil, outcomeMalformed, err
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	if !concerns(pod) {
		return response, outcomeUntouched, nil
	}
	subject := pod.DeepCopy()
	subject.Namespace = request.Namespace // The object may leave it out.
	verdict, err := p.judge.Decide(ctx, subject)
	if err == nil {
		response.Warnings = warnings(pod, verdict)
		p.metrics.decided(verdict)
		response.Patch, err = patchFor(request.Object.Raw, pod, mutate(pod, verdict, p.schedulerName))
	}
	if err != nil {
		p.logger.Error("leaving a Pod as it is", "namespace", request.Namespace, "name", pod.Name, "generateName", pod.GenerateName, "err", err)
		response.Warnings = append(response.Warnings, lines("spillway left the Pod as it is: "+err.Error())...)
		return response, outcomeFailed, nil
	}
	p.logger.Debug("reviewed a Pod", "namespace", request.Namespace, "name", pod.Name, "generateName", pod.GenerateName,
		"keyed", verdict.Keyed, "decision", verdict.Describe())
	return patched(response)
}

// patched completes a response that may have a patch.
func patched(response *admissionv1.AdmissionResponse) (*admissionv1.AdmissionResponse, outcome, error) {
	if response.Patch == nil {
		return response, outcomeUntouched, nil
	}
	response.PatchType = new(admissionv1.PatchTypeJSONPatch)
	return response, outcomeMutated, nil
}

// decodePod reads the Pod of a review of its creation.
func decodePod(request *admissionv1.AdmissionRequest) (*corev1.Pod, error) {
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	if request.Resource != pods || request.SubResource != "" || request.Operation != admissionv1.Create {
		return nil, fmt.Errorf("request: %s of %s %s: must be CREATE of pods in v1, as Registration says",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	var kind metav1.TypeMeta
	if err := json.Unmarshal(request.Object.Raw, &kind); err != nil || kind.Kind != "Pod" {
		return nil, fmt.Errorf("request.object: must be a Pod, not %q", kind.Kind)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(request.Object.Raw, &pod); err != nil {
		return nil, fmt.Errorf("decoding request.object as a Pod: %w", err)
	}
	return &pod, nil
}

// warnings say what is malformed, and why a Pod that asks for the cloud does not get there. What is malformed on a Pod of nobody is
// left to the validation, which refuses it.
func warnings(pod *corev1.Pod, v verdict.Verdict) []string {
	var found []string
	if isControlled(pod) {
		for _, fault := range v.Faults {
			found = append(found, lines(fault.Error())...)
		}
	}
	if v.Keyed && v.Forbidden() && !v.Off {
		found = append(found, fmt.Sprintf("%s: the Pod stays on local nodes: %s", v.Reason, v.Message))
	}
	return found
}
