package api

import (
	"net/url"
	"slices"

	fieldselector "k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// selector selects objects of a resource.
type selector struct {
	namespace string
	labels    labels.Selector
	fields    fieldselector.Selector
}

// eventFields are the fields that lists of Events can select by, in addition to the metadata.
var eventFields = []string{
	"involvedObject.kind", "involvedObject.namespace", "involvedObject.name", "involvedObject.uid",
}

// parseSelector parses labelSelector and fieldSelector. The fields are metadata.name and metadata.namespace, and in
// lists of Events those of the involved object: res is nil for watches.
func parseSelector(res *objects.Resource, namespace string, query url.Values) (*selector, *apiError) {
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, badRequest(codeBadBody, "unable to parse labelSelector %q: %v", query.Get("labelSelector"), err)
	}
	byField, err := fieldselector.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, badRequest(codeBadBody, "unable to parse fieldSelector %q: %v", query.Get("fieldSelector"), err)
	}
	for _, requirement := range byField.Requirements() {
		ofEvents := res == objects.Events && slices.Contains(eventFields, requirement.Field)
		if requirement.Field != "metadata.name" && requirement.Field != "metadata.namespace" && !ofEvents {
			return nil, badRequest(codeBadBody, "field label not supported: %s", requirement.Field)
		}
	}
	return &selector{namespace: namespace, labels: byLabel, fields: byField}, nil
}

// matchesObject reports whether a list contains an object.
func (s *selector) matchesObject(obj objects.Object) bool {
	set := fieldselector.Set{"metadata.name": obj.GetName(), "metadata.namespace": obj.GetNamespace()}
	if event, ok := obj.(*objects.Event); ok {
		about := event.InvolvedObject
		set["involvedObject.kind"], set["involvedObject.name"] = about.Kind, about.Name
		set["involvedObject.namespace"], set["involvedObject.uid"] = about.Namespace, string(about.UID)
	}
	return (s.namespace == "" || s.namespace == obj.GetNamespace()) && s.fields.Matches(set) &&
		s.labels.Matches(labels.Set(obj.GetLabels()))
}

// matches reports whether an object with these labels is selected.
func (s *selector) matches(k types.NamespacedName, set map[string]string) bool {
	return s.matchesKey(k) && s.labels.Matches(labels.Set(set))
}

func (s *selector) matchesKey(k types.NamespacedName) bool {
	if s.namespace != "" && s.namespace != k.Namespace {
		return false
	}
	return s.fields.Empty() ||
		s.fields.Matches(fieldselector.Set{"metadata.name": k.Name, "metadata.namespace": k.Namespace})
}
