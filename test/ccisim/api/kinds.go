package api

import (
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// admission completes the objects of one resource, and refuses those that the service does not accept.
type admission interface {
	// prepare completes a new object, and refuses it for what it contains.
	prepare(s *Server, caller *Credential, obj objects.Object) *apiError
	// admit refuses a new or changed object because of other stored objects.
	admit(v store.View, obj objects.Object) *apiError
	// prepareUpdate completes next, which is to replace old, and refuses changes of immutable fields.
	prepareUpdate(old, next objects.Object) *apiError
}

// plain is an admission that accepts everything.
type plain struct{}

func (plain) prepare(*Server, *Credential, objects.Object) *apiError { return nil }
func (plain) admit(store.View, objects.Object) *apiError             { return nil }
func (plain) prepareUpdate(_, _ objects.Object) *apiError            { return nil }

// kind is how the API treats one resource.
type kind struct {
	admission
	// createFields and updateFields list what a request body may contain.
	createFields, updateFields fields
}

// kindsOf returns the kinds of a generation.
func kindsOf(generation objects.Generation) map[*objects.Resource]kind {
	namespace := namespaceFields()
	kinds := map[*objects.Resource]kind{
		objects.Namespaces: {namespaceAdmission{}, namespace, namespace},
		objects.Networks:   {networkAdmission{}, networkFields(createMeta()), networkFields(updateMeta())},
		objects.Pods:       {podAdmission{}, podCreateFields(), podUpdateFields()},
		objects.ConfigMaps: {configMapAdmission{}, configMapFields(createMeta()), configMapFields(updateMeta())},
		objects.Secrets:    {secretAdmission{}, secretFields(createMeta()), secretFields(updateMeta())},
		objects.Volumes:    {volumeAdmission{}, volumeObjectFields(createMeta()), volumeObjectFields(updateMeta())},
		objects.Claims:     {claimAdmission{}, claimFields(createMeta()), claimFields(updateMeta())},
		// Events are read only.
		objects.Events:    {admission: plain{}},
		objects.Snapshots: {admission: snapshotAdmission{}, createFields: snapshotFields(createMeta())},
	}
	if generation == objects.CCI1 {
		kinds[objects.Namespaces] = kind{namespace1Admission{}, namespace, namespace}
		kinds[objects.Networks] = kind{network1Admission{}, network1Fields(createMeta()), network1Fields(updateMeta())}
		kinds[objects.Pods] = kind{pod1Admission{}, podCreateFields(), podUpdateFields()}
	}
	return kinds
}
