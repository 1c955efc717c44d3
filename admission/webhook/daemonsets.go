package webhook

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// daemonSetReviewer keeps DaemonSets that tolerate every taint off virtual nodes: with node affinity in the template, their
// controller never makes a Pod for one, so nothing fails there and nobody has to edit them.
type daemonSetReviewer struct {
	// off: the cluster lets DaemonSets run in the cloud.
	off    bool
	logger *slog.Logger
}

// review allows the DaemonSet, with a patch of its template where that lets Pods onto virtual nodes.
func (d *daemonSetReviewer) review(_ context.Context, request *admissionv1.AdmissionRequest) (*admissionv1.AdmissionResponse, outcome, error) {
	set, old, err := decodeDaemonSet(request)
	if err != nil {
		return nil, outcomeMalformed, err
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	// A change of the template makes all Pods anew. That is for its owner to say: an update of anything else leaves it alone.
	if d.off || (old != nil && reflect.DeepEqual(set.Spec.Template, old.Spec.Template)) || !policy.ToleratesProvider(&set.Spec.Template.Spec) {
		return response, outcomeUntouched, nil
	}
	out := set.DeepCopy()
	requireNodeType(&out.Spec.Template.Spec, corev1.NodeSelectorOpNotIn)
	response.Patch, err = patchFor(request.Object.Raw, set, out)
	if err != nil {
		d.logger.Error("leaving a DaemonSet as it is", "namespace", request.Namespace, "name", set.Name, "err", err)
		response.Warnings = lines("spillway left the DaemonSet as it is: " + err.Error())
		return response, outcomeFailed, nil
	}
	d.logger.Debug("reviewed a DaemonSet", "namespace", request.Namespace, "name", set.Name, "changed", response.Patch != nil)
	return patched(response)
}

// decodeDaemonSet reads the DaemonSet of a review, and for an update what it was before.
func decodeDaemonSet(request *admissionv1.AdmissionRequest) (set, old *appsv1.DaemonSet, err error) {
	sets := metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	update := request.Operation == admissionv1.Update
	if request.Resource != sets || request.SubResource != "" || (request.Operation != admissionv1.Create && !update) {
		return nil, nil, fmt.Errorf("request: %s of %s %s: must be CREATE or UPDATE of daemonsets in apps/v1, as Registration says",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	set = &appsv1.DaemonSet{}
	if err := json.Unmarshal(request.Object.Raw, set); err != nil {
		return nil, nil, fmt.Errorf("decoding request.object as a DaemonSet: %w", err)
	}
	if !update {
		return set, nil, nil
	}
	old = &appsv1.DaemonSet{}
	if err := json.Unmarshal(request.OldObject.Raw, old); err != nil {
		return nil, nil, fmt.Errorf("decoding request.oldObject as a DaemonSet: %w", err)
	}
	return set, old, nil
}
