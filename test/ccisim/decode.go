package ccisim

import (
	"encoding/json"
	"mime"
	"strings"
)

// decodeBody turns a body into an object, with the fields policy applied. allowed lists what the body may hold.
func (s *Sim) decodeBody(c *call, raw []byte, allowed fields) (object, *apiError) {
	var generic map[string]any
	if err := json.Unmarshal(raw, &generic); err != nil || generic == nil {
		return nil, badRequest(codeBadBody, "the request body is not a JSON object: %v", err)
	}
	if err := s.checkType(c.res, generic); err != nil {
		return nil, err
	}
	found := &pruned{}
	found.prune("", generic, allowed)
	name := bodyName(generic)
	if len(found.refusals) > 0 {
		return nil, forbidden(c.res, name, "%s", strings.Join(found.refusals, "; "))
	}
	if len(found.unlisted) > 0 && s.Policies().Fields == RefuseFields {
		return nil, badRequest(codeBadBody, "unknown fields: %s", strings.Join(found.unlisted, ", "))
	}
	s.records.countDropped(c.verb, c.res.plural, c.namespace, name, found.unlisted)
	return s.typedObject(c.res, s.strategies[c.res].empty(), generic)
}

// checkType refuses a body of another kind.
func (s *Sim) checkType(res *resource, generic map[string]any) *apiError {
	apiVersion, kind := generic["apiVersion"], generic["kind"]
	if apiVersion != s.apiVersion(res) || kind != res.kind {
		return badRequest(codeBadBody, "apiVersion %v and kind %v do not fit the path: %s and %s are right", apiVersion, kind, s.apiVersion(res), res.kind)
	}
	return nil
}

func bodyName(generic map[string]any) string {
	meta, _ := generic["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

// typedObject decodes what pruning left.
func (s *Sim) typedObject(res *resource, obj object, generic map[string]any) (object, *apiError) {
	clean, err := json.Marshal(generic)
	if err != nil {
		return nil, badRequest(codeBadBody, "encoding the request body again: %v", err)
	}
	if err := json.Unmarshal(clean, obj); err != nil {
		return nil, badRequest(codeBadBody, "the request body is not a %s: %v", res.kind, err)
	}
	obj.setType(s.apiVersion(res), res.kind)
	return obj, nil
}

// mediaType is the Content-Type without its parameters.
func mediaType(header string) string {
	parsed, _, err := mime.ParseMediaType(header)
	if err != nil {
		return header
	}
	return parsed
}
