package validation

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Kinds are the kinds that can be reviewed.
var kinds = []string{"Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"}

// Subject is an object with keys of ours, as validation looks at it.
type Subject struct {
	kind string
	// owners are the object and what it makes on the way to Pods, the farthest first; a Pod has none.
	owners []place
	// pod are the Pod's metadata, or its template's.
	pod  place
	spec corev1.PodSpec
}

// place is metadata and where they stand.
type place struct {
	path *field.Path
	meta metav1.ObjectMeta
}

// Decode reads an object of one of the kinds that can be reviewed. The error says what it is not.
func Decode(kind string, raw []byte) (*Subject, error) {
	s := &Subject{kind: kind}
	var err error
	switch kind {
	case "Pod":
		var o corev1.Pod
		err = json.Unmarshal(raw, &o)
		s.pod, s.spec = place{field.NewPath("metadata"), o.ObjectMeta}, o.Spec
	case "ReplicaSet":
		var o appsv1.ReplicaSet
		err = json.Unmarshal(raw, &o)
		s.make(o.ObjectMeta, o.Spec.Template)
	case "Deployment":
		var o appsv1.Deployment
		err = json.Unmarshal(raw, &o)
		s.make(o.ObjectMeta, o.Spec.Template)
	case "StatefulSet":
		var o appsv1.StatefulSet
		err = json.Unmarshal(raw, &o)
		s.make(o.ObjectMeta, o.Spec.Template)
		s.claim(o.Spec.VolumeClaimTemplates)
	case "DaemonSet":
		var o appsv1.DaemonSet
		err = json.Unmarshal(raw, &o)
		s.make(o.ObjectMeta, o.Spec.Template)
	case "Job":
		var o batchv1.Job
		err = json.Unmarshal(raw, &o)
		s.make(o.ObjectMeta, o.Spec.Template)
	case "CronJob":
		var o batchv1.CronJob
		err = json.Unmarshal(raw, &o)
		s.makeCronJob(o)
	default:
		return nil, fmt.Errorf("kind %q: must be one of %v", kind, kinds)
	}
	if err != nil {
		return nil, fmt.Errorf("decoding a %s: %w", kind, err)
	}
	return s, nil
}

func (s *Subject) make(meta metav1.ObjectMeta, template corev1.PodTemplateSpec) {
	s.owners = []place{{field.NewPath("metadata"), meta}}
	s.pod, s.spec = place{field.NewPath("spec", "template", "metadata"), template.ObjectMeta}, template.Spec
}

// claim gives the Pods the volumes that a StatefulSet claims for them, as its controller does: a volume of the template that has the name of
// one gives way. Ephemeral ones stand for them, for the claim of such a one too is known by its template only.
func (s *Subject) claim(templates []corev1.PersistentVolumeClaim) {
	for _, t := range templates {
		template := &corev1.PersistentVolumeClaimTemplate{Spec: t.Spec}
		s.spec.Volumes = append(slices.DeleteFunc(s.spec.Volumes, func(v corev1.Volume) bool { return v.Name == t.Name }),
			corev1.Volume{Name: t.Name, VolumeSource: corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{VolumeClaimTemplate: template}}})
	}
}

func (s *Subject) makeCronJob(o batchv1.CronJob) {
	job := field.NewPath("spec", "jobTemplate")
	s.owners = []place{{field.NewPath("metadata"), o.ObjectMeta}, {job.Child("metadata"), o.Spec.JobTemplate.ObjectMeta}}
	template := o.Spec.JobTemplate.Spec.Template
	s.pod, s.spec = place{job.Child("spec", "template", "metadata"), template.ObjectMeta}, template.Spec
}

// object are the metadata of the object itself.
func (s *Subject) object() metav1.ObjectMeta {
	if len(s.owners) > 0 {
		return s.owners[0].meta
	}
	return s.pod.meta
}

// specPath is where the Pod's spec stands.
func (s *Subject) specPath() *field.Path {
	switch s.kind {
	case "Pod":
		return field.NewPath("spec")
	case "CronJob":
		return field.NewPath("spec", "jobTemplate", "spec", "template", "spec")
	}
	return field.NewPath("spec", "template", "spec")
}

// places are all metadata of the subject, the Pod's last.
func (s *Subject) places() []place { return append(slices.Clone(s.owners), s.pod) }

// saysAsBefore tells whether an update leaves all of it that validation looks at as it was. Both come from the same text where
// nothing changed. The semantic comparison of the API would count out quantities such as 1e1000000000, which takes minutes.
func (s *Subject) saysAsBefore(old *Subject) bool {
	is, was := s.places(), old.places()
	for i := range is {
		if !maps.Equal(is[i].meta.Labels, was[i].meta.Labels) || !maps.Equal(is[i].meta.Annotations, was[i].meta.Annotations) {
			return false
		}
	}
	return reflect.DeepEqual(s.spec, old.spec)
}

// Name is the object's name, or the beginning of the one that it will get.
func (s *Subject) Name() string {
	meta := s.object()
	return cmp.Or(meta.Name, meta.GenerateName)
}
