package validation

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
)

// settings returns the annotations that the Pods of the subject inherit or have themselves, of each the nearest, and
// where in the object each stands. Those of the namespace count last and have no place.
func (s *Subject) settings(namespace map[string]string) (values map[string]string, paths map[string]*field.Path) {
	values, paths = policy.Inherit(nil, nil, namespace), map[string]*field.Path{}
	if values == nil {
		values = map[string]string{}
	}
	for _, at := range s.places() { // That of the Pod is the last.
		for _, key := range policy.InheritedAnnotations() {
			if value, ok := at.meta.Annotations[key]; ok {
				values[key], paths[key] = value, at.path.Child("annotations").Key(key)
			}
		}
	}
	return values, paths
}

// contradictions returns the shares of the object that contradict those of its namespace. What contradicts within the
// object is reported already, and what contradicts within the namespace is not a fault of the object.
func (s *Subject) contradictions(name string, namespace map[string]string) field.ErrorList {
	own, paths := s.settings(nil)
	if _, err := policy.ParseShares(own); err != nil || !policy.HasShares(own) {
		return nil
	}
	values, _ := s.settings(namespace)
	_, err := policy.ParseShares(values)
	var found field.ErrorList
	for _, fault := range policy.KeyErrors(err) {
		for _, key := range policy.ShareAnnotations() {
			switch {
			case paths[key] == nil:
			case key == fault.Key:
				found = append(found, &field.Error{
					Type: fault.Kind, Field: paths[key].String(), BadValue: values[key],
					Detail: fault.Right + ", on Namespace " + name,
				})
			case strings.Contains(fault.Right, key):
				found = append(found, &field.Error{
					Type: fault.Kind, Field: paths[key].String(), BadValue: values[key],
					Detail: fmt.Sprintf("contradicts %s, which is %q on Namespace %s and %s",
						fault.Key, fault.Value, name, fault.Right),
				})
			}
		}
	}
	return found
}

// leftWaiting finds shares that leave replicas without a node at the number of replicas that the object has.
func (v *Validator) leftWaiting(namespace string, s *Subject, mode policy.Mode) []string {
	values, _ := s.settings(v.namespaces.CachedNamespace(namespace))
	shares, err := policy.ParseShares(values)
	if err != nil || s.replicas == 0 || mode == policy.ModeOff {
		return nil
	}
	local, cloud := shares.LocalCap(s.replicas), shares.CloudCap(s.replicas)
	if mode == policy.ModeEnforce {
		local = 0
	}
	if local == policy.NoCap || cloud == policy.NoCap || local+cloud >= s.replicas {
		return nil
	}
	return []string{fmt.Sprintf("spec.replicas: %d of %d replicas wait: at most %d may run on local nodes and %d in "+
		"the cloud (%s)", s.replicas-local-cloud, s.replicas, local, cloud, shares)}
}

// withoutEffect finds what the object says about two sides although every Pod runs on one of them.
func withoutEffect(s *Subject, mode policy.Mode) []string {
	why := map[policy.Mode]string{
		policy.ModeEnforce: "has no effect together with the burst label enforce: every replica runs in the cloud",
		policy.ModeOff:     "has no effect together with the burst label off: every replica stays on local nodes",
	}[mode]
	if why == "" {
		return nil
	}
	var found []string
	values, paths := s.settings(nil)
	for _, key := range policy.InheritedAnnotations() {
		value, ok := values[key]
		capped := key == policy.CloudMaxAnnotation && mode == policy.ModeEnforce
		if !ok || capped || inheritedError(map[string]string{key: value}) != nil {
			continue
		}
		text := paths[key].String() + ": " + why
		if key == policy.LocalReplicasAnnotation && mode == policy.ModeEnforce {
			text += "; use localPrefer to keep the quota on local nodes"
		}
		found = append(found, text)
	}
	return found
}
