package cci

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// NamespaceObject is something in a namespace.
type NamespaceObject struct {
	// Kind is its resource, such as pods.
	Kind string
	metav1.ObjectMeta
}

// String is kind and name.
func (o NamespaceObject) String() string { return o.Kind + " " + o.Name }

// occupied are the resources that a namespace may hold and that its deletion takes along, by the groups of the API; but for networks. Source:
// the resource lists of both generations.
var occupied = map[policy.CCIVersion][]struct {
	group string
	kinds []string
	// missing says that a region may not have them.
	missing bool
}{
	policy.CCI2: {
		{group: "/apis/cci/v2", kinds: []string{"pods", "configmaps", "secrets"}},
		{group: "/apis/cci/v2", kinds: []string{"persistentvolumeclaims", "services", "deployments", "horizontalpodautoscalers"}, missing: true},
	},
	policy.CCI1: {
		{group: "/api/v1", kinds: []string{"pods", "configmaps", "secrets"}},
		{group: "/api/v1", kinds: []string{"persistentvolumeclaims", "services"}, missing: true},
		{group: "/apis/apps/v1", kinds: []string{"deployments", "statefulsets"}, missing: true},
		{group: "/apis/batch/v1", kinds: []string{"jobs"}, missing: true},
		{group: "/apis/batch/v1beta1", kinds: []string{"cronjobs"}, missing: true},
	},
}

// NamespaceContents implements API.
func (c *Client) NamespaceContents(ctx context.Context, namespace string) ([]NamespaceObject, error) {
	version := c.config.Version
	if version == "" {
		version = policy.CCI2
	}
	var all []NamespaceObject
	for _, of := range occupied[version] {
		for _, kind := range of.kinds {
			found, err := c.occupants(ctx, of.group, namespace, kind)
			if of.missing && statusOf(err) == http.StatusNotFound {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("listing %s of cloud namespace %s: %w", kind, namespace, err)
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// occupants lists one kind.
func (c *Client) occupants(ctx context.Context, group, namespace, kind string) ([]NamespaceObject, error) {
	type object struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Type     corev1.SecretType `json:"type"`
	}
	objects, err := listPages[object](ctx, c, "ListNamespaceContents", group+"/namespaces/"+namespace+"/"+kind, ListOptions{Limit: occupantsPage})
	if err != nil {
		return nil, err
	}
	var found []NamespaceObject
	for _, o := range objects {
		if o.Type != corev1.SecretTypeServiceAccountToken && !slices.Contains(ownedByService[kind], o.Metadata.Name) {
			found = append(found, NamespaceObject{Kind: kind, ObjectMeta: o.Metadata})
		}
	}
	return found, nil
}

// occupantsPage is how many objects a list takes at once: they come with what they hold.
const occupantsPage = 40

// ownedByService are what the service itself keeps in every namespace.
var ownedByService = map[string][]string{"secrets": {"imagepull-secret"}, "configmaps": {"kube-root-ca.crt"}}
