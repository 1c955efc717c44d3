package services

import (
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// scope is what all Pods of a server may see.
type scope struct {
	// all is every namespace. Otherwise namespaces has those that all Pods see.
	all        bool
	namespaces map[string]bool
	// server is the Service of the servers.
	server types.NamespacedName
}

func newScope(namespaces []string, server types.NamespacedName) scope {
	s := scope{namespaces: map[string]bool{}, server: server}
	for _, namespace := range namespaces {
		s.all = s.all || namespace == AllNamespaces
		s.namespaces[namespace] = true
	}
	return s
}

// view is what one stream or list shows: what its Pod may see and its selectors select.
type view struct {
	scope
	// namespace is that of the Pod.
	namespace string
	labels    labels.Selector
	fields    fields.Selector
}

// newView returns the view of a Pod. The options must be valid.
func (s scope) newView(namespace string, options *internalversion.ListOptions) view {
	v := view{scope: s, namespace: namespace, labels: labels.Everything(), fields: fields.Everything()}
	if options.LabelSelector != nil {
		v.labels = options.LabelSelector
	}
	if options.FieldSelector != nil {
		v.fields = options.FieldSelector
	}
	return v
}

// key is the same for views that show the same objects.
func (v view) key() string {
	parts := []string{v.labels.String(), v.fields.String()}
	if !v.all && !v.namespaces[v.namespace] {
		parts = append(parts, v.namespace)
	}
	return strings.Join(parts, "\n")
}

// shows reports whether the view has an object.
func (v view) shows(o *object) bool {
	return o != nil && v.mayShow(o) && v.labels.Matches(o.labels) && v.fields.Matches(o.fields)
}

func (v view) mayShow(o *object) bool {
	// Nodes have no namespace. A Pod gets its own one only.
	return v.all || o.namespace == "" || o.namespace == v.namespace || v.namespaces[o.namespace] ||
		belongs(o, types.NamespacedName{Namespace: metav1.NamespaceDefault, Name: "kubernetes"}) || belongs(o, v.server)
}

// belongs reports whether an object is a Service, or one of its EndpointSlices.
func belongs(o *object, service types.NamespacedName) bool {
	name := o.name
	if slice, ok := o.labels[discoveryv1.LabelServiceName]; ok {
		name = slice
	}
	return o.namespace == service.Namespace && name == service.Name
}

// eventOf returns how an event appears in the view: its type, and the object to show. The type is empty if the view
// does not change.
func (v view) eventOf(e event) (watch.EventType, *object) {
	was, is := v.shows(e.old), v.shows(e.object)
	switch {
	case was && is:
		return watch.Modified, e.object
	case is:
		return watch.Added, e.object
	case was:
		return watch.Deleted, e.old
	}
	return "", nil
}

// fields returns the fields that a field selector may name. Source: Kubernetes v1.37, pkg/apis/core/v1/conversion.go.
func (k kind) fields() []string {
	switch k {
	case kindService:
		return []string{metav1.ObjectNameField, fieldNamespace, fieldClusterIP, fieldType}
	case kindEndpointSlice:
		return []string{metav1.ObjectNameField, fieldNamespace}
	}
	return []string{metav1.ObjectNameField}
}

// Fields of selectors.
const (
	fieldNamespace = "metadata.namespace"
	fieldClusterIP = "spec.clusterIP"
	fieldType      = "spec.type"
)
