package api

import (
	"net/http"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
)

// call is a request whose path and method are parsed.
type call struct {
	verb        string
	res         *objects.Resource
	namespace   string
	name        string
	subresource string
	caller      *Credential
	body        []byte
	r           *http.Request
	// account is what of the account is requested, empty for objects; project is the project in its path.
	account, project string
	// allNamespaces is true if lists of all namespaces are served.
	allNamespaces bool
}

// key returns the namespace and name of the object.
func (c *call) key() types.NamespacedName {
	return types.NamespacedName{Namespace: c.namespace, Name: c.name}
}

// label is the name under which the call is counted: the resource, with the subresource if there is one.
func (c *call) label() string {
	switch {
	case c.res == nil:
		return c.account
	case c.subresource != "":
		return c.res.Plural + "/" + c.subresource
	default:
		return c.res.Plural
	}
}

// route parses the path. A nil error with a nil resource and no account is discovery.
func (s *Server) route(r *http.Request) (*call, *apiError) {
	c := &call{r: r, verb: strings.ToLower(r.Method), allNamespaces: s.cfg.Generation == objects.CCI1}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	if c.routeAccount(parts) {
		return c, nil
	}
	if s.cfg.Generation == objects.CCI1 {
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
	if len(parts) == 2 || parts[2] != objects.Version ||
		(parts[1] != objects.GroupCCI && parts[1] != objects.GroupYangtse) {
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

// routeResource parses the part after the group and version.
func (c *call) routeResource(group string, rest []string) *apiError {
	switch {
	case rest[0] == objects.Namespaces.Plural && len(rest) <= 2:
		c.res = objects.ResourceFor(group, objects.Namespaces.Plural)
		if len(rest) == 2 {
			c.name = rest[1]
		}
	case rest[0] == objects.Namespaces.Plural:
		c.namespace = rest[1]
		c.res = objects.ResourceFor(group, rest[2])
		if len(rest) > 3 {
			c.name = rest[3]
		}
	case len(rest) == 1:
		c.res = objects.ResourceFor(group, rest[0])
	case len(rest) == 2:
		if res := objects.ResourceFor(group, rest[0]); res != nil && !res.Namespaced {
			c.res, c.name = res, rest[1]
		}
	}
	if c.res == nil || (!c.res.Namespaced && c.namespace != "") {
		c.res = nil
		return unknownPath()
	}
	if len(rest) == 5 {
		return c.routeSubresource(rest[4])
	}
	return nil
}

// routeSubresource accepts pods/log and pods/exec only: attach and portforward do not exist in CCI 2.0.
func (c *call) routeSubresource(name string) *apiError {
	if c.res != objects.Pods || (name != "log" && name != "exec") {
		return unknownPath()
	}
	c.subresource = name
	return nil
}

// routeVerb derives the verb from the method.
func (c *call) routeVerb() *apiError {
	switch {
	case c.subresource != "" && c.r.Method != http.MethodGet && (c.subresource != "exec" || c.r.Method != http.MethodPost):
		return methodNotAllowed(c.res, c.verb)
	case c.subresource != "":
		c.verb = c.subresource
	case c.r.Method == http.MethodGet && c.name != "":
		c.verb = "get"
	case c.r.Method == http.MethodGet && IsTrue(c.r.URL.Query().Get("watch")):
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
	if c.subresource == "" && !c.res.Allows(c.verb) {
		return methodNotAllowed(c.res, c.verb)
	}
	if c.res.Namespaced && c.namespace == "" {
		return c.refuseAllNamespaces()
	}
	return nil
}

// refuseAllNamespaces returns the error for a path without a namespace: a shared cluster serves one namespace at a
// time.
func (c *call) refuseAllNamespaces() *apiError {
	if c.verb == "list" && c.allNamespaces {
		return nil
	}
	if c.verb != "list" && c.verb != "watch" {
		return unknownPath()
	}
	return badRequest(codeNamespaceSelector, "a namespace must be named to %s %s", c.verb, c.res.Plural)
}

// IsTrue parses a boolean query parameter as Kubernetes does: it is true if it is set, and neither "0" nor "false".
func IsTrue(value string) bool { return value != "" && value != "0" && value != "false" }

// canonical converts the parts of a path of CCI 1.0 to those of the same path in CCI 2.0.
func canonical(parts []string) ([]string, *apiError) {
	switch {
	case len(parts) == 1 && parts[0] == "api":
		return []string{"apis"}, nil
	case len(parts) >= 2 && parts[0] == "api" && parts[1] == "v1":
		return slices.Concat([]string{"apis", objects.GroupCCI, objects.Version}, parts[2:]), nil
	case len(parts) >= 3 && parts[1] == "networking.cci.io" && parts[2] == "v1beta1":
		return slices.Concat([]string{"apis", objects.GroupYangtse, objects.Version}, parts[3:]), nil
	}
	return nil, unknownPath()
}
