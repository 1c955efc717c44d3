package api

import (
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const jsonType = "application/json"

// serveCreate stores a new object.
func (s *Server) serveCreate(c *call) (*reply, *apiError) {
	if got := mediaType(c.r.Header.Get("Content-Type")); got != jsonType {
		return nil, unsupportedMediaType(got, jsonType)
	}
	obj, refusal := s.decodeBody(c, c.body, s.kinds[c.res].createFields)
	if refusal != nil {
		return nil, refusal
	}
	if refusal := s.completeMeta(c, obj); refusal != nil {
		return nil, refusal
	}
	if refusal := s.kinds[c.res].prepare(s, c.caller, obj); refusal != nil {
		return nil, refusal
	}
	if errs := validateMeta(c.res, obj); len(errs) > 0 {
		return nil, invalid(c.res, obj.GetName(), errs)
	}
	return s.update(func(tx store.Tx) (*reply, *apiError) { return s.storeNew(tx, c, obj) })
}

// update calls f in a transaction of the store.
func (s *Server) update(f func(tx store.Tx) (*reply, *apiError)) (out *reply, refusal *apiError) {
	s.store.Update(func(tx store.Tx) { out, refusal = f(tx) })
	return out, refusal
}

// view calls f with the store locked for reading.
func (s *Server) view(f func(v store.View) (*reply, *apiError)) (out *reply, refusal *apiError) {
	s.store.View(func(v store.View) { out, refusal = f(v) })
	return out, refusal
}

// storeNew stores the object, unless its name is taken or its namespace does not accept it.
func (s *Server) storeNew(tx store.Tx, c *call, obj objects.Object) (*reply, *apiError) {
	if refusal := checkNamespace(tx.View, c); refusal != nil {
		return nil, refusal
	}
	if c.res.Namespaced && tx.NamespacePhase(c.namespace) != corev1.NamespaceActive {
		return nil, forbidden(c.res, obj.GetName(),
			"unable to create new content in namespace %s because it is being terminated", c.namespace)
	}
	if tx.Get(c.res, objects.KeyOf(obj)) != nil {
		return nil, alreadyExists(c.res, obj.GetName())
	}
	if refusal := s.kinds[c.res].admit(tx.View, obj); refusal != nil {
		return nil, refusal
	}
	if pod, ok := obj.(*objects.Pod); ok {
		if refusal := s.checkQuota(tx.View, pod); refusal != nil {
			return nil, refusal
		}
	}
	if isDryRun(c) {
		return jsonReply(http.StatusCreated, mustEncode(obj)), nil
	}
	e, err := tx.Put(c.res, obj)
	if err != nil {
		return nil, statusError(err, "")
	}
	if snapshot, ok := obj.(*objects.ImageSnapshot); ok {
		if err := s.addMaker(tx, snapshot.Spec.BuildingConfig.Namespace, snapshot.Maker()); err != nil {
			return nil, statusError(err, "")
		}
	}
	s.life.Created(tx, obj)
	s.life.Stored(tx, c.res, obj)
	return jsonReply(http.StatusCreated, e.Raw), nil
}

// completeMeta sets the metadata that the server sets of a new object.
func (s *Server) completeMeta(c *call, obj objects.Object) *apiError {
	meta := obj.Meta()
	if meta.Namespace != "" && meta.Namespace != c.namespace {
		return badRequest(codeBadBody,
			"the namespace of the provided object does not match the namespace sent on the request: %s is not %s",
			meta.Namespace, c.namespace)
	}
	meta.Namespace = c.namespace
	if meta.Name == "" && meta.GenerateName != "" {
		meta.Name = meta.GenerateName[:min(len(meta.GenerateName), 58)] + rand.String(5)
	}
	objects.Stamp(obj, s.cfg.Clock.Now())
	return nil
}

func validateMeta(res *objects.Resource, obj objects.Object) field.ErrorList {
	nameRule := apivalidation.NameIsDNSSubdomain
	if res == objects.Namespaces {
		nameRule = apivalidation.NameIsDNSLabel
	}
	return apivalidation.ValidateObjectMeta(obj.Meta(), res.Namespaced, nameRule, field.NewPath("metadata"))
}

// checkNamespace returns 404 for everything in a namespace that does not exist.
func checkNamespace(v store.View, c *call) *apiError {
	if c.namespace != "" && v.Get(objects.Namespaces, types.NamespacedName{Name: c.namespace}) == nil {
		return notFound(objects.Namespaces, c.namespace)
	}
	return nil
}

func isDryRun(c *call) bool { return c.r.URL.Query().Get("dryRun") == metav1.DryRunAll }
