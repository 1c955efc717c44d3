package faults

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// FieldPolicy says what happens to a field of a request body that CCI's published schema does not list. What the real
// service does is not documented, so a client must work under both policies.
type FieldPolicy string

const (
	// DropFields removes the field, continues, and records it as a dropped field.
	DropFields FieldPolicy = "drop"
	// RefuseFields responds with 400 and names every such field.
	RefuseFields FieldPolicy = "refuse"
)

// EventAccess says which verbs the events resource has. The definitions have list and read, the live discovery neither.
type EventAccess string

const (
	// EventsListed serves get and list, as the vendor's definitions promise.
	EventsListed EventAccess = "list"
	// EventsWatched also serves watch.
	EventsWatched EventAccess = "watch"
	// EventsAbsent responds with 404, as a region does whose discovery has no events.
	EventsAbsent EventAccess = "none"
)

// LimitPolicy says which limit of a value the service enforces, where the vendor documents a tighter one than
// Kubernetes.
type LimitPolicy string

const (
	// KubernetesLimits accepts what Kubernetes accepts.
	KubernetesLimits LimitPolicy = "kubernetes"
	// DocumentedLimits accepts what the vendor documents.
	DocumentedLimits LimitPolicy = "documented"
)

// QuotaErrors says how the service refuses a Pod beyond a quota.
type QuotaErrors string

const (
	// KubernetesQuota responds as the API server of Kubernetes: 403 Forbidden, "exceeded quota".
	KubernetesQuota QuotaErrors = "kubernetes"
	// PlainQuota responds with 400 and a text without a reason, as the service does for the quota of namespaces.
	PlainQuota QuotaErrors = "plain"
)

// Policies are behaviors of CCI that are not documented. Each is a switch, so that a client can be tested against both.
type Policies struct {
	// Fields is the treatment of unlisted fields. Default drop.
	Fields FieldPolicy `json:"fields"`
	// Events is which verbs the events resource has. Default list.
	Events EventAccess `json:"events"`
	// EqualRequests refuses containers whose requests differ from their limits. Default off.
	EqualRequests bool `json:"equalRequests"`
	// IgnoreLimit returns every list whole, as if limit and continue had not been sent. Default off.
	IgnoreLimit bool `json:"ignoreLimit"`
	// IgnorePreconditions deletes without checking preconditions. Default off.
	IgnorePreconditions bool `json:"ignorePreconditions"`
	// GoneAsStatus responds with HTTP 410 to a watch from a version that is too old, instead of an ERROR event in a 200
	// stream. Default off.
	GoneAsStatus bool `json:"goneAsStatus"`
	// NoVolumes responds with 404 to persistentvolumes and persistentvolumeclaims, as regions do that do not have them
	// yet. Default off.
	NoVolumes bool `json:"noVolumes"`
	// NoSnapshots responds with 404 to imagesnapshots, as regions do that do not have them. Default off.
	NoSnapshots bool `json:"noSnapshots"`
	// Unpublished are resources that the gateway does not know, as in regions that do not offer them: it responds with
	// 404 APIG.0101. They are named by their plural, such as events, or with the subresource, such as pods/exec.
	Unpublished []string `json:"unpublished,omitempty"`
	// BareErrors leaves the reason and the details out of every Status of 403, 404 and 409. Default off.
	BareErrors bool `json:"bareErrors"`
	// RequireNetworkAnnotations refuses networks without the yangtse.io/project-id and domain-id annotations. Default off.
	RequireNetworkAnnotations bool `json:"requireNetworkAnnotations"`
	// SilentConditions reports only in Events why a Pod has no node, and not in its condition. Default off.
	SilentConditions bool `json:"silentConditions"`
	// SecretTypes is which types of Secrets CCI 2.0 accepts. The documented ones are Opaque, kubernetes.io/dockercfg,
	// kubernetes.io/dockerconfigjson and kubernetes.io/tls. Default documented.
	SecretTypes LimitPolicy `json:"secretTypes"`
	// Searches is how many DNS search domains a Pod may have: 32 in Kubernetes; documented are 3 in CCI 2.0 and 6 in 1.0.
	// Default documented.
	Searches LimitPolicy `json:"searches"`
	// MaxContainers is how many containers a Pod may have, not counting init containers. OTC documents 5, and the vendor
	// nothing for CCI 2.0. Default 0: any number.
	MaxContainers int `json:"maxContainers"`
	// RefuseLite refuses the instance type general-computing-lite, as the service did for one account. Default off.
	RefuseLite bool `json:"refuseLite"`
	// IgnoreSecurityContext accepts and shows securityContext without effect: processes run as the user of their image.
	// Default off.
	IgnoreSecurityContext bool `json:"ignoreSecurityContext"`
	// RefuseNetAdmin refuses containers that add the capability NET_ADMIN. Default off.
	RefuseNetAdmin bool `json:"refuseNetAdmin"`
	// QuotaErrors is how a Pod beyond a quota is refused. Default kubernetes.
	QuotaErrors QuotaErrors `json:"quotaErrors"`
	// SignedExec accepts a signature instead of X-Auth-Token for pods/exec. Default off.
	SignedExec bool `json:"signedExec"`
}

// resources are those that the gateway may not know.
var resources = []string{
	"namespaces", "networks", "pods", "pods/log", "pods/exec", "configmaps", "secrets", "events", "persistentvolumes",
	"persistentvolumeclaims", "imagesnapshots", "resourcequotas",
}

// WithDefaults returns the policies with every unset field filled in.
func (p Policies) WithDefaults() Policies {
	p.Fields = cmp.Or(p.Fields, DropFields)
	p.Events = cmp.Or(p.Events, EventsListed)
	p.SecretTypes = cmp.Or(p.SecretTypes, DocumentedLimits)
	p.QuotaErrors = cmp.Or(p.QuotaErrors, KubernetesQuota)
	p.Searches = cmp.Or(p.Searches, DocumentedLimits)
	return p
}

// Validate returns every error of the policies. An unset field is valid.
func (p Policies) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch p.Fields {
	case "", DropFields, RefuseFields:
	default:
		errs = append(errs, field.NotSupported(path.Child("fields"), p.Fields, []FieldPolicy{DropFields, RefuseFields}))
	}
	switch p.Events {
	case "", EventsListed, EventsWatched, EventsAbsent:
	default:
		errs = append(errs, field.NotSupported(path.Child("events"), p.Events,
			[]EventAccess{EventsListed, EventsWatched, EventsAbsent}))
	}
	switch p.QuotaErrors {
	case "", KubernetesQuota, PlainQuota:
	default:
		errs = append(errs, field.NotSupported(path.Child("quotaErrors"), p.QuotaErrors,
			[]QuotaErrors{KubernetesQuota, PlainQuota}))
	}
	for i, resource := range p.Unpublished {
		if !slices.Contains(resources, resource) {
			errs = append(errs, field.NotSupported(path.Child("unpublished").Index(i), resource, resources))
		}
	}
	for name, limit := range map[string]LimitPolicy{"secretTypes": p.SecretTypes, "searches": p.Searches} {
		switch limit {
		case "", KubernetesLimits, DocumentedLimits:
		default:
			errs = append(errs, field.NotSupported(path.Child(name), limit,
				[]LimitPolicy{KubernetesLimits, DocumentedLimits}))
		}
	}
	if p.MaxContainers < 0 {
		errs = append(errs, field.Invalid(path.Child("maxContainers"), p.MaxContainers, "must be zero or more"))
	}
	return errs
}
