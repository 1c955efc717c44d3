package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
)

// Facts are what is known of the cluster (internal/facts).
type Facts interface {
	// Claims are the kinds of the volumes behind the Pod's claims; one that is not known is missing. It must not block.
	Claims(*corev1.Pod) map[string]string
}

// Validator judges by one policy. It holds no state: many goroutines may use it at once.
type Validator struct {
	policy *policy.Policy
	facts  Facts
}

// New makes a Validator.
func New(p *policy.Policy, facts Facts) *Validator { return &Validator{policy: p, facts: facts} }

// Review looks at an object that is created, or at an update of old to it; old is nil for a creation. It is refused for the faults,
// if there are any, and the warnings are for the user in any case. namespace is the object's.
//
// Only what an update changes is a fault: what was malformed before stays editable, and is a warning. What a controller makes is never
// refused, for nobody would see why it does not come: its faults are warnings too. What is being deleted is left alone.
func (v *Validator) Review(namespace string, s, old *Subject) (faults field.ErrorList, warnings []string) {
	object := s.object()
	if object.DeletionTimestamp != nil || (old != nil && s.saysAsBefore(old)) {
		return nil, nil
	}
	faults = v.faults(s)
	if old != nil {
		faults, warnings = ratchet(faults, v.faults(old))
	}
	// A DaemonSet's Pods never burst, so nothing of ours means anything there.
	if s.kind == "DaemonSet" || metav1.GetControllerOfNoCopy(&object) != nil {
		for _, fault := range faults {
			warnings = append(warnings, fault.Error())
		}
		faults = nil
	}
	return faults, append(warnings, v.warnings(namespace, s)...)
}

// faults are all malformed keys of the subject.
func (v *Validator) faults(s *Subject) field.ErrorList {
	var found field.ErrorList
	for _, at := range s.places() {
		for _, key := range []string{policy.BurstLabel, policy.BurstLabelAlias} {
			if value, ok := at.meta.Labels[key]; ok {
				_, err := policy.ParseMode(map[string]string{key: value})
				found = append(found, listed(at.path.Child("labels"), err)...)
			}
		}
	}
	_, _, quotaErr := policy.ParseLocalReplicas(s.pod.meta.Annotations)
	_, switchErr := policy.ParseSwitch(s.pod.meta.Annotations)
	_, replacementsErr := v.policy.CheckReplacements(s.asPod(""))
	_, soldOutErr := policy.ParseOnSoldOut(s.pod.meta.Annotations)
	for _, err := range []error{quotaErr, switchErr, replacementsErr, soldOutErr} {
		found = append(found, listed(s.pod.path.Child("annotations"), err)...)
	}
	return found
}

// listed are the faults of one map of keys as the API names them.
func listed(keys *field.Path, err error) field.ErrorList {
	var found field.ErrorList
	for _, fault := range policy.KeyErrors(err) {
		detail := fault.Right
		if fault.Cause != nil {
			detail += ": " + fault.Cause.Error()
		}
		value := any(fault.Value)
		if fault.Kind == field.ErrorTypeRequired {
			value = ""
		}
		found = append(found, &field.Error{Type: fault.Kind, Field: keys.Key(fault.Key).String() + fault.Path, BadValue: value, Detail: detail})
	}
	return found
}

// ratchet takes faults that were there before for warnings. What would be right does not matter: it may depend on the rest of the object.
func ratchet(faults, before field.ErrorList) (fresh field.ErrorList, warnings []string) {
	for _, f := range faults {
		if slices.ContainsFunc(before, func(b *field.Error) bool {
			return f.Type == b.Type && f.Field == b.Field && f.BadValue == b.BadValue
		}) {
			warnings = append(warnings, f.Error()+"; it was so before this update")
			continue
		}
		fresh = append(fresh, f)
	}
	return fresh, warnings
}

// asPod is the Pod, or one as the template makes it.
func (s *Subject) asPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: s.pod.meta.Name, Namespace: namespace, Labels: s.pod.meta.Labels, Annotations: s.pod.meta.Annotations},
		Spec:       s.spec,
	}
}
