package ccisim

import (
	"encoding/json"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// serveDelete starts an object's end, or ends it.
func (s *Sim) serveDelete(c *call) (*reply, *apiError) {
	options, refusal := deleteOptions(c)
	if refusal != nil {
		return nil, refusal
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if refusal := s.checkNamespace(c); refusal != nil {
		return nil, refusal
	}
	obj := s.store.get(c.res, key{c.namespace, c.name})
	if obj == nil {
		return nil, notFound(c.res, c.name)
	}
	if refusal := s.checkPreconditions(c, obj, options.Preconditions); refusal != nil {
		return nil, refusal
	}
	if len(options.DryRun) > 0 {
		return jsonReply(http.StatusOK, mustEncode(obj)), nil
	}
	return s.end(c, obj, options)
}

// end ends obj: at once where the resource has no graceful end. Holds mu.
func (s *Sim) end(c *call, obj object, options *metav1.DeleteOptions) (*reply, *apiError) {
	ending := s.strategies[c.res].finalize(s, obj, options)
	if ending == nil {
		s.remove(c.res, obj.copyObject())
		return jsonReply(http.StatusOK, mustEncode(deleted(c.res, obj))), nil
	}
	e, err := s.store.put(c.res, ending)
	if err != nil {
		return nil, statusError(err, "")
	}
	s.poke(c.res, keyOf(ending))
	return jsonReply(http.StatusOK, e.raw), nil
}

func deleted(res *resource, obj object) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: obj.GetName(), Group: res.group, Kind: res.plural, UID: obj.GetUID()},
	}
}

// deleteOptions reads the options from the query and the body; the body wins, as in Kubernetes.
func deleteOptions(c *call) (*metav1.DeleteOptions, *apiError) {
	options := &metav1.DeleteOptions{}
	query := c.r.URL.Query()
	if text := query.Get("gracePeriodSeconds"); text != "" {
		seconds, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, badRequest(codeBadBody, "gracePeriodSeconds: %q is not a number", text)
		}
		options.GracePeriodSeconds = &seconds
	}
	if isDryRun(c) {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if len(c.body) > 0 {
		if err := json.Unmarshal(c.body, options); err != nil {
			return nil, badRequest(codeBadBody, "decoding the delete options: %v", err)
		}
	}
	if options.GracePeriodSeconds != nil && *options.GracePeriodSeconds < 0 {
		// Kubernetes takes a negative grace for 1.
		one := int64(1)
		options.GracePeriodSeconds = &one
	}
	return options, nil
}

func (s *Sim) checkPreconditions(c *call, obj object, want *metav1.Preconditions) *apiError {
	if want == nil || s.Policies().IgnorePreconditions {
		return nil
	}
	if want.UID != nil && *want.UID != obj.GetUID() {
		return conflict(c.res, c.name, "Precondition failed: UID in precondition: %s, UID in object meta: %s", *want.UID, obj.GetUID())
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != obj.GetResourceVersion() {
		return conflict(c.res, c.name, "Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s",
			*want.ResourceVersion, obj.GetResourceVersion())
	}
	return nil
}
