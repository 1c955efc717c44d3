package ccisim

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const jsonType = "application/json"

// serveCreate stores a new object.
func (s *Sim) serveCreate(c *call) (*reply, *apiError) {
	if got := mediaType(c.r.Header.Get("Content-Type")); got != jsonType {
		return nil, unsupportedMediaType(got, jsonType)
	}
	obj, refusal := s.decodeBody(c, c.body, s.strategies[c.res].createFields())
	if refusal != nil {
		return nil, refusal
	}
	if refusal := s.completeMeta(c, obj); refusal != nil {
		return nil, refusal
	}
	if refusal := s.strategies[c.res].prepare(s, c.caller, obj); refusal != nil {
		return nil, refusal
	}
	if errs := validateMeta(c.res, obj); len(errs) > 0 {
		return nil, invalid(c.res, obj.GetName(), errs)
	}
	return s.storeNew(c, obj)
}

// storeNew puts the object into the store, unless its name is taken or its namespace is not there for it.
func (s *Sim) storeNew(c *call, obj object) (*reply, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	if phase := s.namespacePhase(c.namespace); c.res.namespaced && phase != corev1.NamespaceActive {
		return nil, forbidden(c.res, obj.GetName(), "unable to create new content in namespace %s because it is being terminated", c.namespace)
	}
	if s.store.get(c.res, keyOf(obj)) != nil {
		return nil, alreadyExists(c.res, obj.GetName())
	}
	if refusal := s.strategies[c.res].admit(s, obj); refusal != nil {
		return nil, refusal
	}
	if isDryRun(c) {
		return jsonReply(http.StatusCreated, mustEncode(obj)), nil
	}
	e, err := s.store.put(c.res, obj)
	if err != nil {
		return nil, statusError(err, "")
	}
	s.strategies[c.res].created(s, c.caller, obj)
	s.stored(c.res, obj)
	return jsonReply(http.StatusCreated, e.raw), nil
}

// stored has the object looked at that was just stored, and what may have waited for it. Holds mu.
func (s *Sim) stored(res *resource, obj object) {
	s.poke(res, keyOf(obj))
	if res == configMaps || res == secrets {
		s.pokeHeld()
	}
}

// completeMeta sets what the server owns of a new object's metadata.
func (s *Sim) completeMeta(c *call, obj object) *apiError {
	meta := obj.meta()
	if meta.Namespace != "" && meta.Namespace != c.namespace {
		return badRequest(codeBadBody, "the namespace of the provided object does not match the namespace sent on the request: %s is not %s",
			meta.Namespace, c.namespace)
	}
	meta.Namespace = c.namespace
	if meta.Name == "" && meta.GenerateName != "" {
		meta.Name = meta.GenerateName[:min(len(meta.GenerateName), 58)] + rand.String(5)
	}
	s.stamp(obj)
	return nil
}

func validateMeta(res *resource, obj object) field.ErrorList {
	nameRule := apivalidation.NameIsDNSSubdomain
	if res == namespaces {
		nameRule = apivalidation.NameIsDNSLabel
	}
	return apivalidation.ValidateObjectMeta(obj.meta(), res.namespaced, nameRule, field.NewPath("metadata"))
}

// checkNamespace answers 404 for everything inside a namespace that does not exist. Holds mu, for reading at least.
func (s *Sim) checkNamespace(c *call) *apiError {
	if c.namespace != "" && s.store.get(namespaces, key{name: c.namespace}) == nil {
		return notFound(namespaces, c.namespace)
	}
	return nil
}

func (s *Sim) namespacePhase(name string) corev1.NamespacePhase {
	if ns, ok := s.store.get(namespaces, key{name: name}).(*Namespace); ok {
		return ns.Status.Phase
	}
	return ""
}

func isDryRun(c *call) bool { return c.r.URL.Query().Get("dryRun") == metav1.DryRunAll }
