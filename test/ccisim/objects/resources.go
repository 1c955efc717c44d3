package objects

import (
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// The API groups and the version of CCI 2.0.
const (
	GroupCCI     = "cci"
	GroupYangtse = "yangtse"
	Version      = "v2"
)

// The root paths of CCI 1.0, which is a plain Kubernetes API with a group of its own for networks.
const (
	FirstAPI      = "/api"
	FirstNetworks = "/apis/networking.cci.io"
)

// Resource is one resource of the API.
type Resource struct {
	Group, Plural, Kind string
	Namespaced          bool
	Verbs               []string
	// Reconciled is true for resources whose objects change as time passes: package podlife reconciles them.
	Reconciled bool
}

// GroupResource returns the name that API errors use.
func (r *Resource) GroupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.Group, Resource: r.Plural}
}

// Allows reports whether the resource has the verb.
func (r *Resource) Allows(verb string) bool { return slices.Contains(r.Verbs, verb) }

// The verbs are those of the live discovery listing: no resource has deletecollection, and namespaces have no update.
// Whether events can be watched is a policy.
var (
	allVerbs       = []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	namespaceVerbs = []string{"create", "delete", "get", "list", "watch"}
	eventVerbs     = []string{"get", "list", "watch"}
	snapshotVerbs  = []string{"create", "delete", "get", "list", "watch"}
)

// The resources of the API.
var (
	Namespaces = &Resource{
		Group: GroupCCI, Plural: "namespaces", Kind: "Namespace", Verbs: namespaceVerbs, Reconciled: true,
	}
	Networks = &Resource{
		Group: GroupYangtse, Plural: "networks", Kind: "Network", Namespaced: true, Verbs: allVerbs, Reconciled: true,
	}
	Pods = &Resource{
		Group: GroupCCI, Plural: "pods", Kind: "Pod", Namespaced: true, Verbs: allVerbs, Reconciled: true,
	}
	ConfigMaps = &Resource{Group: GroupCCI, Plural: "configmaps", Kind: "ConfigMap", Namespaced: true, Verbs: allVerbs}
	Secrets    = &Resource{Group: GroupCCI, Plural: "secrets", Kind: "Secret", Namespaced: true, Verbs: allVerbs}
	Volumes    = &Resource{Group: GroupCCI, Plural: "persistentvolumes", Kind: "PersistentVolume", Verbs: allVerbs}
	Claims     = &Resource{
		Group: GroupCCI, Plural: "persistentvolumeclaims", Kind: "PersistentVolumeClaim", Namespaced: true,
		Verbs: allVerbs, Reconciled: true,
	}
	Events = &Resource{Group: GroupCCI, Plural: "events", Kind: "Event", Namespaced: true, Verbs: eventVerbs}

	// Snapshots are the image snapshots, which belong to the account.
	Snapshots = &Resource{
		Group: GroupCCI, Plural: "imagesnapshots", Kind: "ImageSnapshot", Verbs: snapshotVerbs, Reconciled: true,
	}

	// All are the resources in the order of discovery and of the state file.
	All = []*Resource{Namespaces, Networks, Pods, ConfigMaps, Secrets, Volumes, Claims, Events, Snapshots}
)

// ResourceFor returns the resource of a group and plural, or nil if there is none.
func ResourceFor(group, plural string) *Resource {
	for _, res := range All {
		if res.Group == group && res.Plural == plural {
			return res
		}
	}
	return nil
}

// ResourceNamed returns the resource with the plural, or nil if there is none: plurals are unique across the groups.
func ResourceNamed(plural string) *Resource {
	for _, res := range All {
		if res.Plural == plural {
			return res
		}
	}
	return nil
}

// Generation is one of the two APIs of an account. The zero value is CCI 2.0.
type Generation int

// The generations. They share credentials, faults and policies, and no object.
const (
	CCI2 Generation = iota
	CCI1
)

// New returns an empty object of the resource. The struct tags of its type control strategic merge patches.
func (g Generation) New(res *Resource) Object {
	switch res {
	case Namespaces:
		return &Namespace{}
	case Networks:
		if g == CCI1 {
			return &Network1{}
		}
		return &Network{}
	case Pods:
		return &Pod{}
	case ConfigMaps:
		return &ConfigMap{}
	case Secrets:
		return &Secret{}
	case Volumes:
		return &PersistentVolume{}
	case Claims:
		return &PersistentVolumeClaim{}
	case Snapshots:
		return &ImageSnapshot{}
	default:
		return &Event{}
	}
}

// APIVersion returns the resource's apiVersion in this generation.
func (g Generation) APIVersion(res *Resource) string {
	switch {
	case g == CCI2:
		return res.Group + "/" + Version
	case res == Networks:
		return "networking.cci.io/v1beta1"
	}
	return "v1"
}

// Path returns the API path of a namespaced object. Faults of the cloud are matched against it.
func (g Generation) Path(res *Resource, k types.NamespacedName) string {
	root := "/apis/"
	if g == CCI1 && res != Networks {
		root = FirstAPI + "/"
	}
	return root + g.APIVersion(res) + "/namespaces/" + k.Namespace + "/" + res.Plural + "/" + k.Name
}
