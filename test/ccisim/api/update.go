package api

import (
	"bytes"
	"encoding/json"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	jsonPatchType      = "application/json-patch+json"
	mergePatchType     = "application/merge-patch+json"
	strategicPatchType = "application/strategic-merge-patch+json"
)

// serveGet returns one object.
func (s *Server) serveGet(c *call) (*reply, *apiError) {
	return s.view(func(v store.View) (*reply, *apiError) {
		if refusal := checkNamespace(v, c); refusal != nil {
			return nil, refusal
		}
		e := v.Entry(c.res, c.key())
		if e == nil {
			return nil, notFound(c.res, c.name)
		}
		return jsonReply(http.StatusOK, e.Raw), nil
	})
}

// serveUpdate replaces an object.
func (s *Server) serveUpdate(c *call) (*reply, *apiError) {
	if got := mediaType(c.r.Header.Get("Content-Type")); got != jsonType {
		return nil, unsupportedMediaType(got, jsonType)
	}
	return s.change(c, func([]byte) ([]byte, *apiError) { return c.body, nil })
}

// servePatch changes an object with one of the three kinds of patch.
func (s *Server) servePatch(c *call) (*reply, *apiError) {
	kind := mediaType(c.r.Header.Get("Content-Type"))
	switch kind {
	case jsonPatchType, mergePatchType, strategicPatchType:
	default:
		return nil, unsupportedMediaType(kind, jsonPatchType+", "+mergePatchType+", "+strategicPatchType)
	}
	return s.change(c, func(current []byte) ([]byte, *apiError) { return s.patched(c, kind, current) })
}

// change replaces an object. NewBody returns the new object from the encoded old one.
func (s *Server) change(c *call, newBody func(current []byte) ([]byte, *apiError)) (*reply, *apiError) {
	return s.update(func(tx store.Tx) (*reply, *apiError) {
		if refusal := checkNamespace(tx.View, c); refusal != nil {
			return nil, refusal
		}
		old := tx.Entry(c.res, c.key())
		if old == nil {
			return nil, notFound(c.res, c.name)
		}
		body, refusal := newBody(old.Raw)
		if refusal != nil {
			return nil, refusal
		}
		next, refusal := s.decodeBody(c, body, s.kinds[c.res].updateFields)
		if refusal != nil {
			return nil, refusal
		}
		if refusal := s.checkReplacement(c, old.Object, next); refusal != nil {
			return nil, refusal
		}
		if refusal := s.kinds[c.res].admit(tx.View, next); refusal != nil {
			return nil, refusal
		}
		if isDryRun(c) {
			return jsonReply(http.StatusOK, mustEncode(next)), nil
		}
		if bytes.Equal(mustEncode(next), old.Raw) {
			// As in Kubernetes, an update without a difference makes no new version and no watch event.
			return jsonReply(http.StatusOK, old.Raw), nil
		}
		e, err := tx.Put(c.res, next)
		if err != nil {
			return nil, statusError(err, "")
		}
		s.life.Stored(tx, c.res, next)
		return jsonReply(http.StatusOK, e.Raw), nil
	})
}

// checkReplacement completes next, which is to replace old, and refuses what may not change.
func (s *Server) checkReplacement(c *call, old, next objects.Object) *apiError {
	meta, oldMeta := next.Meta(), old.Meta()
	if meta.Name != oldMeta.Name || (meta.Namespace != "" && meta.Namespace != oldMeta.Namespace) {
		return badRequest(codeBadBody, "the name of the object (%s/%s) does not match the name on the URL (%s/%s)",
			meta.Namespace, meta.Name, oldMeta.Namespace, oldMeta.Name)
	}
	if meta.ResourceVersion != "" && meta.ResourceVersion != oldMeta.ResourceVersion {
		return conflict(c.res, c.name,
			"the object has been modified; please apply your changes to the latest version and try again")
	}
	if meta.UID != "" && meta.UID != oldMeta.UID {
		return conflict(c.res, c.name,
			"Precondition failed: UID in precondition: %s, UID in object meta: %s", meta.UID, oldMeta.UID)
	}
	keepServerMeta(meta, oldMeta)
	if refusal := s.kinds[c.res].prepareUpdate(old, next); refusal != nil {
		return refusal
	}
	if errs := validateMeta(c.res, next); len(errs) > 0 {
		return invalid(c.res, c.name, errs)
	}
	return nil
}

// keepServerMeta copies from the old metadata what a client cannot change: everything but labels, annotations and
// generateName.
func keepServerMeta(meta, old *metav1.ObjectMeta) {
	kept := *old.DeepCopy()
	kept.Labels, kept.Annotations, kept.GenerateName = meta.Labels, meta.Annotations, meta.GenerateName
	*meta = kept
}

// patched applies the patch of the call to the encoded object.
func (s *Server) patched(c *call, kind string, current []byte) ([]byte, *apiError) {
	switch kind {
	case jsonPatchType:
		patch, err := jsonpatch.DecodePatch(c.body)
		if err != nil {
			return nil, badRequest(codeBadBody, "decoding the JSON patch: %v", err)
		}
		out, err := patch.Apply(current)
		if err != nil {
			return nil, codedInvalid(c, "applying the JSON patch: "+err.Error())
		}
		return out, nil
	case mergePatchType:
		if !json.Valid(c.body) {
			return nil, badRequest(codeBadBody, "the merge patch is not JSON")
		}
		out, err := jsonpatch.MergePatch(current, c.body)
		if err != nil {
			return nil, badRequest(codeBadBody, "applying the merge patch: %v", err)
		}
		return out, nil
	default:
		out, err := strategicpatch.StrategicMergePatch(current, c.body, s.cfg.Generation.New(c.res))
		if err != nil {
			return nil, badRequest(codeBadBody, "applying the strategic merge patch: %v", err)
		}
		return out, nil
	}
}

// codedInvalid is the error of Kubernetes for a JSON patch that cannot be applied.
func codedInvalid(c *call, message string) *apiError {
	err := codedError(http.StatusUnprocessableEntity, "", message)
	body := err.body.(codedStatus)
	body.Reason = metav1.StatusReasonInvalid
	body.Details = &metav1.StatusDetails{Name: c.name, Group: c.res.Group, Kind: c.res.Plural}
	err.body = body
	return err
}
