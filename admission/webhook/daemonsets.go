package webhook

import (
	"context"
	"fmt"
	"log/slog"
	"reflect"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/rawjson"
	"github.com/spillway-k8s/spillway/policy"
)

// daemonSetReviewer keeps DaemonSets that tolerate every taint off virtual nodes. With node affinity in the template,
// the DaemonSet controller creates no Pod for a virtual node, so no Pod fails there and users need not edit the
// DaemonSet.
type daemonSetReviewer struct {
	// off disables the reviewer: the cluster lets DaemonSets run in the cloud.
	off    bool
	logger *slog.Logger
}

// review allows the DaemonSet, with a patch of its template if the template allows virtual nodes.
func (d *daemonSetReviewer) review(
	_ context.Context, request *admissionv1.AdmissionRequest,
) (*admissionv1.AdmissionResponse, outcome, error) {
	set, old, err := decodeDaemonSet(request)
	if err != nil {
		return nil, outcomeMalformed, err
	}
	response := &admissionv1.AdmissionResponse{Allowed: true}
	// A change of the template recreates all Pods. Only the user may decide that, so the webhook changes the template only
	// if the update changes it too.
	unchanged := old != nil && reflect.DeepEqual(set.Spec.Template, old.Spec.Template)
	if d.off || unchanged || !policy.ToleratesProvider(&set.Spec.Template.Spec) {
		return response, outcomeUntouched, nil
	}
	out := set.DeepCopy()
	requireNodeType(&out.Spec.Template.Spec, corev1.NodeSelectorOpNotIn)
	response.Patch, err = patchFor(request.Object.Raw, set, out)
	if err != nil {
		d.logger.Error("a DaemonSet stays unchanged",
			"kind", "DaemonSet", "namespace", request.Namespace, "name", set.Name, "err", err)
		response.Warnings = lines("spillway left the DaemonSet unchanged: " + err.Error())
		return response, outcomeFailed, nil
	}
	d.logger.Debug("reviewed a DaemonSet",
		"kind", "DaemonSet", "namespace", request.Namespace, "name", set.Name, "changed", response.Patch != nil)
	return patched(response)
}

// decodeDaemonSet returns the DaemonSet of a review, and its previous version if the review is about an update.
func decodeDaemonSet(request *admissionv1.AdmissionRequest) (set, old *appsv1.DaemonSet, err error) {
	sets := metav1.GroupVersionResource{Group: "apps", Version: "v1", Resource: "daemonsets"}
	update := request.Operation == admissionv1.Update
	if request.Resource != sets || request.SubResource != "" || (request.Operation != admissionv1.Create && !update) {
		return nil, nil, fmt.Errorf(
			"request: %s of %s %s: must be CREATE or UPDATE of daemonsets in apps/v1, as in Registration",
			request.Operation, request.Resource.Resource, request.SubResource)
	}
	set = &appsv1.DaemonSet{}
	if err := rawjson.Unmarshal(request.Object.Raw, set); err != nil {
		return nil, nil, fmt.Errorf("decoding request.object as a DaemonSet: %w", err)
	}
	if !update {
		return set, nil, nil
	}
	old = &appsv1.DaemonSet{}
	if err := rawjson.Unmarshal(request.OldObject.Raw, old); err != nil {
		return nil, nil, fmt.Errorf("decoding request.oldObject as a DaemonSet: %w", err)
	}
	return set, old, nil
}
