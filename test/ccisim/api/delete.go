package api

import (
	"encoding/json"
	"net/http"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

// serveDelete starts the deletion of an object.
func (s *Server) serveDelete(c *call) (*reply, *apiError) {
	options, refusal := deleteOptions(c)
	if refusal != nil {
		return nil, refusal
	}
	return s.update(func(tx store.Tx) (*reply, *apiError) {
		if refusal := checkNamespace(tx.View, c); refusal != nil {
			return nil, refusal
		}
		obj := tx.Get(c.res, c.key())
		if obj == nil {
			return nil, notFound(c.res, c.name)
		}
		if refusal := s.checkPreconditions(c, obj, options.Preconditions); refusal != nil {
			return nil, refusal
		}
		if len(options.DryRun) > 0 {
			return jsonReply(http.StatusOK, mustEncode(obj)), nil
		}
		e, err := s.life.Delete(tx, c.res, obj, options)
		switch {
		case err != nil:
			return nil, statusError(err, "")
		case e == nil:
			return jsonReply(http.StatusOK, mustEncode(deleted(c.res, obj))), nil
		}
		return jsonReply(http.StatusOK, e.Raw), nil
	})
}

func deleted(res *objects.Resource, obj objects.Object) metav1.Status {
	return metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusSuccess,
		Details: &metav1.StatusDetails{Name: obj.GetName(), Group: res.Group, Kind: res.Plural, UID: obj.GetUID()},
	}
}

// deleteOptions parses the options in the query and the body. The body wins, as in Kubernetes.
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
		// Kubernetes treats a negative grace period as 1.
		one := int64(1)
		options.GracePeriodSeconds = &one
	}
	return options, nil
}

func (s *Server) checkPreconditions(c *call, obj objects.Object, want *metav1.Preconditions) *apiError {
	if want == nil || s.cfg.Faults.Policies().IgnorePreconditions {
		return nil
	}
	if want.UID != nil && *want.UID != obj.GetUID() {
		return conflict(c.res, c.name,
			"Precondition failed: UID in precondition: %s, UID in object meta: %s", *want.UID, obj.GetUID())
	}
	if want.ResourceVersion != nil && *want.ResourceVersion != obj.GetResourceVersion() {
		return conflict(c.res, c.name,
			"Precondition failed: ResourceVersion in precondition: %s, ResourceVersion in object meta: %s",
			*want.ResourceVersion, obj.GetResourceVersion())
	}
	return nil
}
