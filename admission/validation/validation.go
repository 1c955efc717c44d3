package validation

import (
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

// Facts returns what is known about the cluster (internal/facts).
type Facts interface {
	// Claims returns the kinds of the volumes behind the claims of the Pod, without those that are unknown. It must not
	// block.
	Claims(*corev1.Pod) map[string]string
}

// Nodes knows the virtual nodes (admission/controllers/podcache).
type Nodes interface {
	// Ours returns the virtual nodes of Spillway. It must not block.
	Ours() []policy.VirtualNode
}

// Namespaces knows the annotations of namespaces (admission/owners).
type Namespaces interface {
	// CachedNamespace returns the annotations of a namespace whose keys are Spillway's, nil if they are not known. It
	// must not block.
	CachedNamespace(name string) map[string]string
}

// Validator validates by one policy. It holds no state, so goroutines may share it.
type Validator struct {
	policy     *policy.Policy
	facts      Facts
	nodes      Nodes
	namespaces Namespaces
	schedulers schedulers.Schedulers
}

// New returns a Validator. s are the schedulers that call the extender.
//
// It does not know what namespaces may: it does not warn about sizes, which a namespace may be allowed to choose.
func New(
	p *policy.Policy, facts Facts, nodes Nodes, namespaces Namespaces, s schedulers.Schedulers,
) *Validator {
	return &Validator{
		policy: p.Without(policy.ReasonOversizedFlavor), facts: facts, nodes: nodes, namespaces: namespaces,
		schedulers: s,
	}
}

// Review validates an object of a namespace. old is its previous version, nil at creation. The webhook rejects the
// object if there are errors, and returns the warnings to the user in any case.
//
// An error that old had too is a warning, so that users can edit objects that were malformed before. Errors of an
// object that a controller creates are warnings too, because no user would see the rejection. An object that is being
// deleted is not validated.
func (v *Validator) Review(namespace string, s, old *Subject) (errs field.ErrorList, warnings []string) {
	object := s.object()
	if object.DeletionTimestamp != nil || (old != nil && s.unchanged(old)) {
		return nil, nil
	}
	inherited := v.namespaces.CachedNamespace(namespace)
	check := func(s *Subject) field.ErrorList {
		return append(v.errors(s), s.contradictions(namespace, inherited)...)
	}
	errs = check(s)
	if old != nil {
		errs, warnings = ratchet(errs, check(old))
	}
	// The Pods of a DaemonSet never burst, so keys have no effect there.
	if s.kind == "DaemonSet" || metav1.GetControllerOfNoCopy(&object) != nil {
		for _, err := range errs {
			warnings = append(warnings, err.Error())
		}
		errs = nil
	}
	shorten(errs)
	return errs, append(warnings, v.warnings(namespace, s, old)...)
}

// ReviewNamespace validates the keys of a Namespace. old is its previous version, empty at creation. An error that old
// had too is a warning.
func (v *Validator) ReviewNamespace(namespace, old metav1.ObjectMeta) (errs field.ErrorList, warnings []string) {
	at := place{field.NewPath("metadata"), namespace}
	path := at.path.Child("annotations")
	faults := func(annotations map[string]string) field.ErrorList {
		_, err := v.policy.NamespaceSettings(annotations)
		return fieldErrors(path, errors.Join(err, inheritedError(annotations)))
	}
	errs, warnings = ratchet(faults(namespace.Annotations), faults(old.Annotations))
	shorten(errs)
	return errs, append(warnings, mistyped(at)...)
}

// errors returns all malformed keys of the subject.
func (v *Validator) errors(s *Subject) field.ErrorList {
	var found field.ErrorList
	for _, at := range s.places() {
		for _, key := range []string{policy.BurstLabel, policy.BurstLabelAlias} {
			if value, ok := at.meta.Labels[key]; ok {
				_, err := policy.ParseMode(map[string]string{key: value})
				found = append(found, fieldErrors(at.path.Child("labels"), err)...)
			}
		}
	}
	found = append(found, s.inheritedErrors()...)
	_, switchErr := policy.ParseSwitch(s.pod.meta.Annotations)
	_, replacementsErr := v.policy.CheckReplacements(s.asPod(""))
	_, soldOutErr := policy.ParseOnSoldOut(s.pod.meta.Annotations)
	_, servicesErr := policy.ParseServices(s.pod.meta.Annotations)
	_, portsErr := policy.ParseReservedPorts(s.pod.meta.Annotations)
	for _, err := range []error{
		switchErr, replacementsErr, soldOutErr, servicesErr, portsErr,
	} {
		found = append(found, fieldErrors(s.pod.path.Child("annotations"), err)...)
	}
	return found
}

// inheritedErrors returns the errors of the annotations that Pods inherit, with those that contradict each other. Of
// each annotation the nearest counts, and the path of an error is where it stands.
func (s *Subject) inheritedErrors() field.ErrorList {
	values, paths := map[string]string{}, map[string]*field.Path{}
	for _, at := range s.places() {
		for _, key := range policy.InheritedAnnotations() {
			if value, ok := at.meta.Annotations[key]; ok {
				values[key], paths[key] = value, at.path.Child("annotations")
			}
		}
	}
	var found field.ErrorList
	for _, fault := range policy.KeyErrors(inheritedError(values)) {
		found = append(found, fieldErrors(paths[fault.Key], fault)...)
	}
	return found
}

// inheritedError returns what is wrong with the annotations that Pods inherit.
func inheritedError(annotations map[string]string) error {
	_, sharesErr := policy.ParseShares(annotations)
	_, _, waitErr := policy.ParseBurstAfter(annotations)
	_, _, wayHomeErr := policy.ParseWayHome(annotations)
	return errors.Join(sharesErr, waitErr, wayHomeErr)
}

// fieldErrors converts an error of a parser of policy. keys is the path of the labels or annotations that it parsed.
func fieldErrors(keys *field.Path, err error) field.ErrorList {
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
		found = append(found, &field.Error{
			Type: fault.Kind, Field: keys.Key(fault.Key).String() + fault.Path, BadValue: value, Detail: detail,
		})
	}
	return found
}

// shorten cuts the values in errors, because the answer repeats them: a value can be an annotation of 256 KiB.
func shorten(errs field.ErrorList) {
	for _, err := range errs {
		if value, ok := err.BadValue.(string); ok {
			err.BadValue = policy.Clip(value, policy.MaxMessage)
		}
	}
}

// ratchet turns errors that existed before the update into warnings. It does not compare their details, which may
// depend on the rest of the object.
func ratchet(errs, before field.ErrorList) (introduced field.ErrorList, warnings []string) {
	for _, err := range errs {
		if slices.ContainsFunc(before, func(b *field.Error) bool {
			return err.Type == b.Type && err.Field == b.Field && err.BadValue == b.BadValue
		}) {
			warnings = append(warnings, err.Error()+"; this error existed before the update")
			continue
		}
		introduced = append(introduced, err)
	}
	return introduced, warnings
}

// asPod returns the Pod, or a Pod as the template describes it.
func (s *Subject) asPod(namespace string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.pod.meta.Name, Namespace: namespace,
			Labels: s.pod.meta.Labels, Annotations: s.pod.meta.Annotations,
		},
		Spec: s.spec,
	}
}
