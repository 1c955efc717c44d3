package ccisim

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	groupCCI     = "cci"
	groupYangtse = "yangtse"
	version      = "v2"
)

// resource is one kind that the service serves, as far as its address goes.
type resource struct {
	group, plural, kind string
	namespaced          bool
	verbs               []string
	// lives says that objects change by themselves as time passes.
	lives bool
}

func (r *resource) groupResource() schema.GroupResource {
	return schema.GroupResource{Group: r.group, Resource: r.plural}
}

func (r *resource) allows(verb string) bool { return slices.Contains(r.verbs, verb) }

// The verbs are those of the live discovery listing: nothing has deletecollection, and namespaces have no update. Whether events can be
// watched is a policy.
var (
	allVerbs       = []string{"create", "delete", "get", "list", "patch", "update", "watch"}
	namespaceVerbs = []string{"create", "delete", "get", "list", "watch"}
	eventVerbs     = []string{"get", "list", "watch"}
)

var (
	namespaces = &resource{group: groupCCI, plural: "namespaces", kind: "Namespace", verbs: namespaceVerbs, lives: true}
	networks   = &resource{group: groupYangtse, plural: "networks", kind: "Network", namespaced: true, verbs: allVerbs, lives: true}
	pods       = &resource{group: groupCCI, plural: "pods", kind: "Pod", namespaced: true, verbs: allVerbs, lives: true}
	configMaps = &resource{group: groupCCI, plural: "configmaps", kind: "ConfigMap", namespaced: true, verbs: allVerbs}
	secrets    = &resource{group: groupCCI, plural: "secrets", kind: "Secret", namespaced: true, verbs: allVerbs}
	volumes    = &resource{group: groupCCI, plural: "persistentvolumes", kind: "PersistentVolume", verbs: allVerbs}
	claims     = &resource{group: groupCCI, plural: "persistentvolumeclaims", kind: "PersistentVolumeClaim", namespaced: true, verbs: allVerbs, lives: true}
	podEvents  = &resource{group: groupCCI, plural: "events", kind: "Event", namespaced: true, verbs: eventVerbs}

	allResources = []*resource{namespaces, networks, pods, configMaps, secrets, volumes, claims, podEvents}
)

// resourceFor finds a resource by its path parts, nil when there is none.
func resourceFor(group, plural string) *resource {
	for _, res := range allResources {
		if res.group == group && res.plural == plural {
			return res
		}
	}
	return nil
}

// strategy is how one kind behaves. Methods that take a *Sim and say so hold its lock.
type strategy interface {
	// empty returns a new object; its type's struct tags rule strategic merge patches.
	empty() object
	// createFields and updateFields list what a body may hold.
	createFields() fields
	updateFields() fields
	// prepare completes a new object and refuses what the service does not take, by looking at the object alone.
	prepare(s *Sim, caller *Credential, obj object) *apiError
	// admit refuses a new object because of what else is stored. Holds mu.
	admit(s *Sim, obj object) *apiError
	// created does what follows from a new object. Holds mu.
	created(s *Sim, caller *Credential, obj object)
	// prepareUpdate completes next, which is to replace old, and refuses what cannot change. Holds mu.
	prepareUpdate(s *Sim, old, next object) *apiError
	// finalize returns what is stored while obj ends gracefully; nil when there is nothing to wait for. Holds mu.
	finalize(s *Sim, obj object, options *metav1.DeleteOptions) object
	// advance moves obj's life on. It is called for kinds that live only. Holds mu.
	advance(s *Sim, obj object) step
}

// plain is a strategy that takes everything and has no life of its own.
type plain struct{}

func (plain) prepare(*Sim, *Credential, object) *apiError         { return nil }
func (plain) admit(*Sim, object) *apiError                        { return nil }
func (plain) created(*Sim, *Credential, object)                   {}
func (plain) prepareUpdate(_ *Sim, _, _ object) *apiError         { return nil }
func (plain) finalize(*Sim, object, *metav1.DeleteOptions) object { return nil }
func (plain) advance(*Sim, object) step                           { return step{} }

// strategiesOfFirst are those of CCI 1.0.
func strategiesOfFirst() map[*resource]strategy {
	of := strategies()
	of[namespaces] = namespace1Strategy{of[namespaces].(namespaceStrategy)}
	of[networks] = network1Strategy{forCreate: network1Fields(createMeta()), forUpdate: network1Fields(updateMeta())}
	of[pods] = pod1Strategy{of[pods].(podStrategy)}
	return of
}

func strategies() map[*resource]strategy {
	return map[*resource]strategy{
		namespaces: namespaceStrategy{fields: namespaceFields()},
		networks:   networkStrategy{forCreate: networkFields(createMeta()), forUpdate: networkFields(updateMeta())},
		pods:       podStrategy{forCreate: podCreateFields(), forUpdate: podUpdateFields()},
		configMaps: configMapStrategy{forCreate: configMapFields(createMeta()), forUpdate: configMapFields(updateMeta())},
		secrets:    secretStrategy{forCreate: secretFields(createMeta()), forUpdate: secretFields(updateMeta())},
		volumes:    volumeStrategy{forCreate: volumeObjectFields(createMeta()), forUpdate: volumeObjectFields(updateMeta())},
		claims:     claimStrategy{forCreate: claimFields(createMeta()), forUpdate: claimFields(updateMeta())},
		podEvents:  eventStrategy{},
	}
}
