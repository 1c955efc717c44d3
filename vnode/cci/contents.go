package cci

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// NamespaceObject is the metadata of an object in a cloud namespace.
type NamespaceObject struct {
	// Resource is the plural name of the object's resource, such as pods.
	Resource string
	metav1.ObjectMeta
}

// String returns the resource and the name.
func (o NamespaceObject) String() string { return o.Resource + " " + o.Name }

// namespaced lists the resources that a namespace can contain and that are deleted with it, by API group. Networks are
// left out. Source: CCI API, "API groups"; the discovery documents (/apis) of both generations.
var namespaced = map[policy.CCIVersion][]struct {
	group     string
	resources []string
	// optional resources do not exist in every region.
	optional bool
}{
	policy.CCI2: {
		{group: "/apis/cci/v2", resources: []string{"pods", "configmaps", "secrets"}},
		{
			group:     "/apis/cci/v2",
			resources: []string{"persistentvolumeclaims", "services", "deployments", "horizontalpodautoscalers"},
			optional:  true,
		},
	},
	policy.CCI1: {
		{group: "/api/v1", resources: []string{"pods", "configmaps", "secrets"}},
		{group: "/api/v1", resources: []string{"persistentvolumeclaims", "services"}, optional: true},
		{group: "/apis/apps/v1", resources: []string{"deployments", "statefulsets"}, optional: true},
		{group: "/apis/batch/v1", resources: []string{"jobs"}, optional: true},
		{group: "/apis/batch/v1beta1", resources: []string{"cronjobs"}, optional: true},
	},
}

// NamespaceContents implements API.
func (c *Client) NamespaceContents(ctx context.Context, namespace string) ([]NamespaceObject, error) {
	var all []NamespaceObject
	for _, group := range namespaced[cmp.Or(c.config.Version, policy.CCI2)] {
		for _, resource := range group.resources {
			list := call{
				operation: "ListNamespaceContents", method: http.MethodGet, namespace: namespace,
				path: group.group + "/namespaces/" + namespace + "/" + resource,
			}
			if group.optional {
				list.feature = Feature(resource)
			}
			found, err := c.listObjects(ctx, list, resource)
			if group.optional && IsProvenNotOffered(err) {
				continue
			}
			if err != nil {
				return nil, fmt.Errorf("listing %s of cloud namespace %s: %w", resource, namespace, err)
			}
			all = append(all, found...)
		}
	}
	return all, nil
}

// listObjects lists the objects of one resource, without those that CCI itself keeps in every namespace.
func (c *Client) listObjects(ctx context.Context, list call, resource string) ([]NamespaceObject, error) {
	type object struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
		Type     corev1.SecretType `json:"type"`
	}
	objects, err := listPages[object](ctx, c, list, ListOptions{Limit: contentsPageSize}, true)
	if err != nil {
		return nil, err
	}
	var found []NamespaceObject
	for _, o := range objects {
		if o.Type != corev1.SecretTypeServiceAccountToken && !slices.Contains(ownedByService[resource], o.Metadata.Name) {
			found = append(found, NamespaceObject{Resource: resource, ObjectMeta: o.Metadata})
		}
	}
	return found, nil
}

// contentsPageSize is the number of objects in one page. It is small because a page contains the objects' data.
const contentsPageSize = 40

// ownedByService lists the objects that CCI itself creates in every namespace, by resource.
var ownedByService = map[string][]string{"secrets": {"imagepull-secret"}, "configmaps": {"kube-root-ca.crt"}}
