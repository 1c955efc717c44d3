package ccisim

import (
	"bytes"
	"encoding/json"
	"net/http"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
)

const (
	jsonPatchType      = "application/json-patch+json"
	mergePatchType     = "application/merge-patch+json"
	strategicPatchType = "application/strategic-merge-patch+json"
)

// serveGet returns one object.
func (s *Sim) serveGet(c *call) (*reply, *apiError) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	e, ok := s.store.tables[c.res].items[key{c.namespace, c.name}]
	if !ok {
		return nil, notFound(c.res, c.name)
	}
	return jsonReply(http.StatusOK, e.raw), nil
}

// serveUpdate replaces an object.
func (s *Sim) serveUpdate(c *call) (*reply, *apiError) {
	if got := mediaType(c.r.Header.Get("Content-Type")); got != jsonType {
		return nil, unsupportedMediaType(got, jsonType)
	}
	return s.change(c, func(*entry) ([]byte, *apiError) { return c.body, nil })
}

// servePatch changes an object by one of the three kinds of patch.
func (s *Sim) servePatch(c *call) (*reply, *apiError) {
	kind := mediaType(c.r.Header.Get("Content-Type"))
	switch kind {
	case jsonPatchType, mergePatchType, strategicPatchType:
	default:
		return nil, unsupportedMediaType(kind, jsonPatchType+", "+mergePatchType+", "+strategicPatchType)
	}
	return s.change(c, func(old *entry) ([]byte, *apiError) { return s.patched(c, kind, old.raw) })
}

// change replaces an object by what makeBody makes of it.
func (s *Sim) change(c *call, makeBody func(old *entry) ([]byte, *apiError)) (*reply, *apiError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	old, ok := s.store.tables[c.res].items[key{c.namespace, c.name}]
	if !ok {
		return nil, notFound(c.res, c.name)
	}
	body, refusal := makeBody(old)
	if refusal != nil {
		return nil, refusal
	}
	next, refusal := s.decodeBody(c, body, s.strategies[c.res].updateFields())
	if refusal != nil {
		return nil, refusal
	}
	if refusal := s.checkReplacement(c, old.obj, next); refusal != nil {
		return nil, refusal
	}
	if isDryRun(c) {
		return jsonReply(http.StatusOK, mustEncode(next)), nil
	}
	if bytes.Equal(mustEncode(next), old.raw) {
		// As in Kubernetes, a change that changes nothing is no change: no new version, no event.
		return jsonReply(http.StatusOK, old.raw), nil
	}
	e, err := s.store.put(c.res, next)
	if err != nil {
		return nil, statusError(err, "")
	}
	s.stored(c.res, next)
	return jsonReply(http.StatusOK, e.raw), nil
}

// checkReplacement makes next what may replace old.
func (s *Sim) checkReplacement(c *call, old, next object) *apiError {
	meta, oldMeta := next.meta(), old.meta()
	if meta.Name != oldMeta.Name || (meta.Namespace != "" && meta.Namespace != oldMeta.Namespace) {
		return badRequest(codeBadBody, "the name of the object (%s/%s) does not match the name on the URL (%s/%s)",
			meta.Namespace, meta.Name, oldMeta.Namespace, oldMeta.Name)
	}
	if meta.ResourceVersion != "" && meta.ResourceVersion != oldMeta.ResourceVersion {
		return conflict(c.res, c.name, "the object has been modified; please apply your changes to the latest version and try again")
	}
	if meta.UID != "" && meta.UID != oldMeta.UID {
		return conflict(c.res, c.name, "Precondition failed: UID in precondition: %s, UID in object meta: %s", meta.UID, oldMeta.UID)
	}
	keepServerMeta(meta, oldMeta)
	if refusal := s.strategies[c.res].prepareUpdate(s, old, next); refusal != nil {
		return refusal
	}
	if errs := validateMeta(c.res, next); len(errs) > 0 {
		return invalid(c.res, c.name, errs)
	}
	return nil
}

// keepServerMeta copies what a caller cannot change from the old metadata. Source: only labels, annotations and generateName may change.
func keepServerMeta(meta, old *metav1.ObjectMeta) {
	kept := *old.DeepCopy()
	kept.Labels, kept.Annotations, kept.GenerateName = meta.Labels, meta.Annotations, meta.GenerateName
	*meta = kept
}

// patched applies the call's patch to the encoded object.
func (s *Sim) patched(c *call, kind string, current []byte) ([]byte, *apiError) {
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
		out, err := strategicpatch.StrategicMergePatch(current, c.body, s.strategies[c.res].empty())
		if err != nil {
			return nil, badRequest(codeBadBody, "applying the strategic merge patch: %v", err)
		}
		return out, nil
	}
}

// codedInvalid is Kubernetes' answer to a JSON patch that does not apply.
func codedInvalid(c *call, message string) *apiError {
	err := codedError(http.StatusUnprocessableEntity, "", message)
	body := err.body.(codedStatus)
	body.Reason = metav1.StatusReasonInvalid
	body.Details = &metav1.StatusDetails{Name: c.name, Group: c.res.group, Kind: c.res.plural}
	err.body = body
	return err
}
