package policy

import (
	"errors"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// NamespaceSettings are what an administrator says about the Pods of a namespace, in annotations of the Namespace.
// Tenants cannot write them: they do not own their Namespace object.
type NamespaceSettings struct {
	// CloudLimits say how much the Pods may use in the cloud together.
	CloudLimits CloudLimits
	// AllowOversize reports whether Pods may request a larger size than they need.
	AllowOversize bool
	// CloudAnnotations may go to the cloud besides those that the configuration allows for all namespaces.
	CloudAnnotations CloudAnnotations
}

// NamespaceAnnotations returns the annotations of Namespaces that NamespaceSettings reads.
func NamespaceAnnotations() []string {
	return []string{CloudLimitsAnnotation, AllowOversizeAnnotation, AllowCloudAnnotationsAnnotation}
}

// NamespaceSettings reads the annotations of a Namespace. What they do not say comes from the configuration. The error
// joins a KeyError for each malformed annotation.
func (p *Policy) NamespaceSettings(annotations map[string]string) (NamespaceSettings, error) {
	limits, limitsErr := p.CloudLimits(annotations)
	settings := NamespaceSettings{CloudLimits: limits, AllowOversize: p.config.AllowOversize}
	var oversizeErr, keysErr error
	switch text, ok := annotations[AllowOversizeAnnotation]; {
	case !ok:
	case text == "true" || text == "false":
		settings.AllowOversize = text == "true"
	default:
		oversizeErr = invalidValue(AllowOversizeAnnotation, "", text, "must be \"true\" or \"false\"")
	}
	settings.CloudAnnotations, keysErr = parseCloudAnnotations(annotations[AllowCloudAnnotationsAnnotation])
	return settings, errors.Join(limitsErr, oversizeErr, keysErr)
}

// forbidden returns a decision if the namespace may not use the cloud at all, or if its settings cannot be read.
func (s NamespaceSettings) forbidden(namespace string, err error) (Decision, bool) {
	switch {
	case err != nil:
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonInvalidNamespace, Message: fmt.Sprintf(
			"namespace %s: annotation %s: an administrator of the cluster must correct it", namespace, oneLine(err)),
		}, true
	case s.CloudLimits.Forbid():
		return Decision{Placement: PlacementLocalOnly, Reason: ReasonCloudForbidden, Message: fmt.Sprintf(
			"namespace %s may not use the cloud (%s: %s): ask an administrator of the cluster",
			namespace, CloudLimitsAnnotation, s.CloudLimits)}, true
	}
	return Decision{}, false
}

// CloudAnnotations are the annotations of Pods that may go to the cloud. An entry is a key, which allows every value,
// "key=value", which allows that value only, or "domain/*", which allows every key of a domain.
type CloudAnnotations []string

// Allow reports whether an annotation may go to the cloud.
func (c CloudAnnotations) Allow(key, value string) bool {
	for _, entry := range c {
		if rest, ok := strings.CutPrefix(entry, key); ok && (rest == "" || rest == "="+value) {
			return true
		}
		if domain, ok := strings.CutSuffix(entry, "/*"); ok && strings.HasPrefix(key, domain+"/") {
			return true
		}
	}
	return false
}

// Values returns the values that are allowed for a key which may not have every value.
func (c CloudAnnotations) Values(key string) []string {
	var values []string
	for _, entry := range c {
		if value, ok := strings.CutPrefix(entry, key+"="); ok {
			values = append(values, value)
		}
	}
	return values
}

// CloudAnnotationsRight says what an entry must be.
const CloudAnnotationsRight = "must be the key of an annotation, such as \"yangtse.io/pod-with-eip\", a key and " +
	"the only value that is allowed, such as \"yangtse.io/eip-charge-mode=traffic\", or all keys of a domain, such " +
	"as \"yangtse.io/*\"; not a key of Spillway"

// ValidCloudAnnotation reports whether a text is an entry of CloudAnnotations.
func ValidCloudAnnotation(entry string) bool {
	key, _, _ := strings.Cut(entry, "=")
	if domain, ok := strings.CutSuffix(entry, "/*"); ok {
		key = domain + "/all"
	}
	return len(validation.IsQualifiedName(strings.ToLower(key))) == 0 && !strings.HasPrefix(key, Prefix)
}

// mostCloudAnnotations bounds the annotation of the Namespace in bytes: it is read for every Pod.
const mostCloudAnnotations = 2048

// parseCloudAnnotations reads a list such as "yangtse.io/pod-with-eip,yangtse.io/eip-charge-mode=traffic".
func parseCloudAnnotations(text string) (CloudAnnotations, error) {
	if text == "" {
		return nil, nil
	}
	if len(text) > mostCloudAnnotations {
		return nil, invalidValue(AllowCloudAnnotationsAnnotation, "", text,
			fmt.Sprintf("must have at most %d bytes", mostCloudAnnotations))
	}
	var allowed CloudAnnotations
	for entry := range strings.SplitSeq(text, ",") {
		entry = strings.TrimSpace(entry)
		if !ValidCloudAnnotation(entry) {
			return nil, invalidValue(AllowCloudAnnotationsAnnotation, "", entry, CloudAnnotationsRight)
		}
		allowed = append(allowed, entry)
	}
	return allowed, nil
}
