package api

import (
	"encoding/json"
	"mime"
	"strings"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// decodeBody decodes a body, and applies the policy of fields. Allowed lists what the body may contain.
func (s *Server) decodeBody(c *call, raw []byte, allowed fields) (objects.Object, *apiError) {
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
	if len(found.unlisted) > 0 && s.cfg.Faults.Policies().Fields == faults.RefuseFields {
		return nil, badRequest(codeBadBody, "unknown fields: %s", strings.Join(found.unlisted, ", "))
	}
	s.cfg.Requests.countDropped(c.verb, c.res.Plural, c.namespace, name, found.unlisted)
	return s.typedObject(c.res, s.cfg.Generation.New(c.res), generic)
}

// checkType returns an error for a body of another kind. A body without an apiVersion or a kind has those of the path.
// Source: the schema says that a server may infer both, and independent clients send neither.
func (s *Server) checkType(res *objects.Resource, generic map[string]any) *apiError {
	for name, right := range map[string]string{"apiVersion": s.apiVersion(res), "kind": res.Kind} {
		if value := generic[name]; value != nil && value != "" && value != right {
			return badRequest(codeBadBody, "apiVersion %v and kind %v do not fit the path: %s and %s are right",
				generic["apiVersion"], generic["kind"], s.apiVersion(res), res.Kind)
		}
	}
	return nil
}

func bodyName(generic map[string]any) string {
	meta, _ := generic["metadata"].(map[string]any)
	name, _ := meta["name"].(string)
	return name
}

// typedObject decodes what is left after pruning.
func (s *Server) typedObject(
	res *objects.Resource, obj objects.Object, generic map[string]any,
) (objects.Object, *apiError) {
	clean, err := json.Marshal(generic)
	if err != nil {
		return nil, badRequest(codeBadBody, "encoding the request body again: %v", err)
	}
	if err := json.Unmarshal(clean, obj); err != nil {
		return nil, badRequest(codeBadBody, "the request body is not a %s: %v", res.Kind, err)
	}
	obj.SetType(s.apiVersion(res), res.Kind)
	return obj, nil
}

// mediaType returns the Content-Type without its parameters.
func mediaType(header string) string {
	parsed, _, err := mime.ParseMediaType(header)
	if err != nil {
		return header
	}
	return parsed
}

// apiVersion returns the apiVersion of a resource.
func (s *Server) apiVersion(res *objects.Resource) string { return s.cfg.Generation.APIVersion(res) }
