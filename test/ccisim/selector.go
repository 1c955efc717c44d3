package ccisim

import (
	"net/url"
	"slices"

	fieldselector "k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// selector is which objects of a table a caller wants.
type selector struct {
	namespace string
	labels    labels.Selector
	fields    fieldselector.Selector
}

// eventFields are what events can be selected on beside their names.
var eventFields = []string{"involvedObject.kind", "involvedObject.name", "involvedObject.uid"}

// parseSelector reads labelSelector and fieldSelector. Only metadata.name and metadata.namespace can be selected on, and in lists of
// events what they are about: res is nil for watches.
func parseSelector(res *resource, namespace string, query url.Values) (*selector, *apiError) {
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, badRequest(codeBadBody, "unable to parse labelSelector %q: %v", query.Get("labelSelector"), err)
	}
	byField, err := fieldselector.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, badRequest(codeBadBody, "unable to parse fieldSelector %q: %v", query.Get("fieldSelector"), err)
	}
	for _, requirement := range byField.Requirements() {
		ofEvents := res == podEvents && slices.Contains(eventFields, requirement.Field)
		if requirement.Field != "metadata.name" && requirement.Field != "metadata.namespace" && !ofEvents {
			return nil, badRequest(codeBadBody, "field label not supported: %s", requirement.Field)
		}
	}
	return &selector{namespace: namespace, labels: byLabel, fields: byField}, nil
}

// matchesObject is for lists.
func (s *selector) matchesObject(obj object) bool {
	set := fieldselector.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
	if event, ok := obj.(*Event); ok {
		about := event.InvolvedObject
		set["involvedObject.kind"], set["involvedObject.name"], set["involvedObject.uid"] = about.Kind, about.Name, string(about.UID)
	}
	return (s.namespace == "" || s.namespace == obj.GetNamespace()) && s.fields.Matches(set) && s.labels.Matches(labels.Set(obj.GetLabels()))
}

func (s *selector) matches(k key, set map[string]string) bool {
	return s.matchesKey(k) && s.labels.Matches(labels.Set(set))
}

func (s *selector) matchesKey(k key) bool {
	if s.namespace != "" && s.namespace != k.namespace {
		return false
	}
	return s.fields.Empty() || s.fields.Matches(fieldselector.Set{"metadata.name": k.name, "metadata.namespace": k.namespace})
}
