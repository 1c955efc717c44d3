package ccisim

import (
	"net/http"
	"slices"
	"strings"
)

// call is a request understood as far as its path and method go.
type call struct {
	verb        string
	res         *resource
	namespace   string
	name        string
	subresource string
	caller      *Credential
	body        []byte
	r           *http.Request
	// allNamespaces says that a list may be of all namespaces.
	allNamespaces bool
}

// label is how the call is counted: the resource, with the subresource where there is one.
func (c *call) label() string {
	switch {
	case c.res == nil:
		return ""
	case c.subresource != "":
		return c.res.plural + "/" + c.subresource
	default:
		return c.res.plural
	}
}

// route understands the path. A nil error with a nil resource is discovery.
func (s *Sim) route(r *http.Request) (*call, *apiError) {
	c := &call{r: r, verb: strings.ToLower(r.Method), allNamespaces: s.isFirst}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if s.isFirst {
		var refusal *apiError
		if parts, refusal = canonical(parts); refusal != nil {
			return c, refusal
		}
	}
	if parts[0] != "apis" || len(parts) > 8 || slices.Contains(parts, "") {
		return c, unknownPath()
	}
	if len(parts) == 1 {
		return c, nil
	}
	if len(parts) == 2 || (parts[1] != groupCCI && parts[1] != groupYangtse) || parts[2] != version {
		return c, unknownPath()
	}
	if len(parts) == 3 {
		return c, nil
	}
	if err := c.routeResource(parts[1], parts[3:]); err != nil {
		return c, err
	}
	return c, c.routeVerb()
}

// routeResource understands what follows the group and version.
func (c *call) routeResource(group string, rest []string) *apiError {
	switch {
	case rest[0] == namespaces.plural && len(rest) <= 2:
		c.res = resourceFor(group, namespaces.plural)
		if len(rest) == 2 {
			c.name = rest[1]
		}
	case rest[0] == namespaces.plural:
		c.namespace = rest[1]
		c.res = resourceFor(group, rest[2])
		if len(rest) > 3 {
			c.name = rest[3]
		}
	case len(rest) == 1:
		c.res = resourceFor(group, rest[0])
	case len(rest) == 2 && rest[0] == volumes.plural:
		c.res, c.name = resourceFor(group, rest[0]), rest[1]
	}
	if c.res == nil || (!c.res.namespaced && c.namespace != "") {
		c.res = nil
		return unknownPath()
	}
	if len(rest) == 5 {
		return c.routeSubresource(rest[4])
	}
	return nil
}

// routeSubresource knows pods/log and pods/exec only: attach and portforward do not exist in CCI 2.0.
func (c *call) routeSubresource(name string) *apiError {
	if c.res != pods || (name != "log" && name != "exec") {
		return unknownPath()
	}
	c.subresource = name
	return nil
}

// routeVerb turns the method into the verb of the resource.
func (c *call) routeVerb() *apiError {
	switch {
	case c.subresource != "" && c.r.Method != http.MethodGet && (c.subresource != "exec" || c.r.Method != http.MethodPost):
		return methodNotAllowed(c.res, c.verb)
	case c.subresource != "":
		c.verb = c.subresource
	case c.r.Method == http.MethodGet && c.name != "":
		c.verb = "get"
	case c.r.Method == http.MethodGet && isTrue(c.r.URL.Query().Get("watch")):
		c.verb = "watch"
	case c.r.Method == http.MethodGet:
		c.verb = "list"
	case c.r.Method == http.MethodPost && c.name == "":
		c.verb = "create"
	case c.r.Method == http.MethodPut && c.name != "":
		c.verb = "update"
	case c.r.Method == http.MethodPatch && c.name != "":
		c.verb = "patch"
	case c.r.Method == http.MethodDelete && c.name != "":
		c.verb = "delete"
	case c.r.Method == http.MethodDelete:
		c.verb = "deletecollection"
	default:
		return methodNotAllowed(c.res, c.verb)
	}
	if c.subresource == "" && !c.res.allows(c.verb) {
		return methodNotAllowed(c.res, c.verb)
	}
	if c.res.namespaced && c.namespace == "" {
		return c.refuseAllNamespaces()
	}
	return nil
}

// refuseAllNamespaces answers the path without a namespace: a shared cluster serves one namespace at a time.
func (c *call) refuseAllNamespaces() *apiError {
	if c.verb == "list" && c.allNamespaces {
		return nil
	}
	if c.verb != "list" && c.verb != "watch" {
		return unknownPath()
	}
	return badRequest(codeNamespaceSelector, "a namespace must be named to %s %s", c.verb, c.res.plural)
}

// isTrue reads a boolean query parameter as Kubernetes does: present and not "0" or "false".
func isTrue(value string) bool { return value != "" && value != "0" && value != "false" }
