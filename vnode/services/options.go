package services

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/scheme"
	"k8s.io/apimachinery/pkg/apis/meta/internalversion/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxSelector is how long the selectors of a request may be together, in bytes: every event is compared with them.
const maxSelector = 1024

// query is what a list or watch asks for.
type query struct {
	internalversion.ListOptions
	// version is the resource version, 0 for any.
	version uint64
}

// wantsAll reports whether the answer begins with all objects. Without sendInitialEvents, that of a watch of any
// version does, as in API servers.
func (q query) wantsAll() bool {
	switch {
	case !q.Watch:
		return true
	case q.SendInitialEvents != nil:
		return *q.SendInitialEvents
	}
	return q.version == 0
}

// parse returns what a request for objects of a kind asks for, or an error for what this server does not do.
func parse(values url.Values, k kind) (query, *apierrors.StatusError) {
	var q query
	if length := len(values.Get("labelSelector")) + len(values.Get("fieldSelector")); length > maxSelector {
		return query{}, apierrors.NewBadRequest(fmt.Sprintf(
			"labelSelector and fieldSelector have %d bytes: at most %d are supported", length, maxSelector))
	}
	if err := scheme.ParameterCodec.DecodeParameters(values, metav1.SchemeGroupVersion, &q.ListOptions); err != nil {
		return query{}, apierrors.NewBadRequest(err.Error())
	}
	if errs := validation.ValidateListOptions(&q.ListOptions, true); len(errs) > 0 {
		return query{}, apierrors.NewBadRequest(errs.ToAggregate().Error())
	}
	if q.ResourceVersion != "" {
		var err error
		if q.version, err = strconv.ParseUint(q.ResourceVersion, 10, 64); err != nil {
			return query{}, apierrors.NewBadRequest(
				fmt.Sprintf("resourceVersion: invalid value %q: must be one that this server has sent", q.ResourceVersion))
		}
	}
	switch {
	case q.Continue != "":
		return query{}, apierrors.NewBadRequest("continue: this server sends lists whole: list again without it")
	case q.ResourceVersionMatch == metav1.ResourceVersionMatchExact:
		return query{}, apierrors.NewBadRequest("resourceVersionMatch: Exact is not supported: use NotOlderThan")
	case q.ShardSelector != "":
		return query{}, apierrors.NewBadRequest("shardSelector is not supported")
	}
	if q.FieldSelector != nil {
		for _, r := range q.FieldSelector.Requirements() {
			if !slices.Contains(k.fields(), r.Field) {
				return query{}, apierrors.NewBadRequest(fmt.Sprintf(
					"fieldSelector: field %q of %s objects is not supported: supported are %v", r.Field, k.name, k.fields()))
			}
		}
	}
	return q, nil
}
