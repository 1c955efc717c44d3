package validation

import (
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/rawjson"
)

// kinds are the kinds that can be validated.
var kinds = []string{
	"Pod", "ReplicationController", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob",
}

// Subject is what validation reads of an object.
type Subject struct {
	kind string
	// owners are the metadata of the object and of the templates between it and its Pods, the object first. A Pod has
	// none.
	owners []place
	// replicas is how many Pods the object has, 0 if it does not say so.
	replicas int
	// pod is the metadata of the Pod or of the Pod template.
	pod  place
	spec corev1.PodSpec
}

// place is metadata and their path in the object.
type place struct {
	path *field.Path
	meta metav1.ObjectMeta
}

// Decode decodes an object of one of the kinds that can be validated.
func Decode(kind string, raw []byte) (*Subject, error) {
	s := &Subject{kind: kind}
	var err error
	switch kind {
	case "Pod":
		var o corev1.Pod
		err = rawjson.Unmarshal(raw, &o)
		s.pod, s.spec = place{field.NewPath("metadata"), o.ObjectMeta}, o.Spec
	case "ReplicationController":
		var o corev1.ReplicationController
		err = rawjson.Unmarshal(raw, &o)
		var template corev1.PodTemplateSpec
		if o.Spec.Template != nil {
			template = *o.Spec.Template
		}
		s.setTemplate(o.ObjectMeta, template)
		s.replicas = countOf(o.Spec.Replicas)
	case "ReplicaSet":
		var o appsv1.ReplicaSet
		err = rawjson.Unmarshal(raw, &o)
		s.replicas = countOf(o.Spec.Replicas)
		s.setTemplate(o.ObjectMeta, o.Spec.Template)
	case "Deployment":
		var o appsv1.Deployment
		err = rawjson.Unmarshal(raw, &o)
		s.replicas = countOf(o.Spec.Replicas)
		s.setTemplate(o.ObjectMeta, o.Spec.Template)
	case "StatefulSet":
		var o appsv1.StatefulSet
		err = rawjson.Unmarshal(raw, &o)
		s.replicas = countOf(o.Spec.Replicas)
		s.setTemplate(o.ObjectMeta, o.Spec.Template)
		s.addClaims(o.Spec.VolumeClaimTemplates)
	case "DaemonSet":
		var o appsv1.DaemonSet
		err = rawjson.Unmarshal(raw, &o)
		s.setTemplate(o.ObjectMeta, o.Spec.Template)
	case "Job":
		var o batchv1.Job
		err = rawjson.Unmarshal(raw, &o)
		s.setTemplate(o.ObjectMeta, o.Spec.Template)
	case "CronJob":
		var o batchv1.CronJob
		err = rawjson.Unmarshal(raw, &o)
		s.setCronJob(o)
	default:
		return nil, fmt.Errorf("kind %q: must be one of %v", kind, kinds)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a %s: %w", kind, err)
	}
	return s, nil
}

// countOf returns the number of replicas of a workload. Without a value it has one.
func countOf(replicas *int32) int {
	if replicas == nil {
		return 1
	}
	return int(*replicas)
}

// setTemplate sets the places of an object with a Pod template.
func (s *Subject) setTemplate(meta metav1.ObjectMeta, template corev1.PodTemplateSpec) {
	s.owners = []place{{field.NewPath("metadata"), meta}}
	s.pod, s.spec = place{field.NewPath("spec", "template", "metadata"), template.ObjectMeta}, template.Spec
}

// addClaims adds the volumes of the claim templates of a StatefulSet to its Pods, as the StatefulSet controller does:
// they replace volumes of the Pod template with the same name. They are represented as ephemeral volumes, of whose
// claims also only the template is known.
func (s *Subject) addClaims(templates []corev1.PersistentVolumeClaim) {
	for _, t := range templates {
		template := &corev1.PersistentVolumeClaimTemplate{Spec: t.Spec}
		volume := corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{
			Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: template},
		}}
		others := slices.DeleteFunc(s.spec.Volumes, func(v corev1.Volume) bool { return v.Name == t.Name })
		s.spec.Volumes = append(others, volume)
	}
}

// setCronJob sets the places of a CronJob.
func (s *Subject) setCronJob(o batchv1.CronJob) {
	job := field.NewPath("spec", "jobTemplate")
	s.owners = []place{
		{field.NewPath("metadata"), o.ObjectMeta},
		{job.Child("metadata"), o.Spec.JobTemplate.ObjectMeta},
	}
	template := o.Spec.JobTemplate.Spec.Template
	s.pod, s.spec = place{job.Child("spec", "template", "metadata"), template.ObjectMeta}, template.Spec
}

// object returns the metadata of the object itself.
func (s *Subject) object() metav1.ObjectMeta {
	if len(s.owners) > 0 {
		return s.owners[0].meta
	}
	return s.pod.meta
}

// specPath returns the path of the Pod spec.
func (s *Subject) specPath() *field.Path {
	switch s.kind {
	case "Pod":
		return field.NewPath("spec")
	case "CronJob":
		return field.NewPath("spec", "jobTemplate", "spec", "template", "spec")
	}
	return field.NewPath("spec", "template", "spec")
}

// places returns all metadata of the subject, those of the Pod last.
func (s *Subject) places() []place { return append(slices.Clone(s.owners), s.pod) }

// unchanged reports whether an update changes nothing that validation reads. reflect.DeepEqual is enough, because the
// same text decodes to equal values.
func (s *Subject) unchanged(old *Subject) bool {
	is, was := s.places(), old.places()
	for i := range is {
		if !maps.Equal(is[i].meta.Labels, was[i].meta.Labels) ||
			!maps.Equal(is[i].meta.Annotations, was[i].meta.Annotations) {
			return false
		}
	}
	return s.replicas == old.replicas && reflect.DeepEqual(s.spec, old.spec)
}

// Name returns the name of the object, or the prefix of the name that the API server generates.
func (s *Subject) Name() string {
	meta := s.object()
	return cmp.Or(meta.Name, meta.GenerateName)
}
