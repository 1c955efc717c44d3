package cci

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"

	"github.com/spillway-k8s/spillway/policy"
)

// GetNamespace implements API.
func (c *Client) GetNamespace(ctx context.Context, name string) (*Namespace, error) {
	var found Namespace
	call := call{
		operation: "GetNamespace", method: http.MethodGet, path: c.paths.namespaces(name), list: c.paths.namespaces(),
	}
	if err := c.doWithRetry(ctx, call, &found); err != nil {
		return nil, fmt.Errorf("getting cloud namespace %s: %w", name, err)
	}
	return &found, nil
}

// CreateNamespace implements API.
func (c *Client) CreateNamespace(ctx context.Context, namespace *Namespace) (*Namespace, error) {
	sent := *namespace
	sent.APIVersion, sent.Kind = c.paths.apiVersion(), "Namespace"
	if c.config.Version == policy.CCI1 {
		sent.Annotations = maps.Clone(sent.Annotations)
		if sent.Annotations == nil {
			sent.Annotations = map[string]string{}
		}
		sent.Annotations[flavorAnnotation1] = generalComputing
	}
	var created Namespace
	post := call{operation: "CreateNamespace", path: c.paths.namespaces()}
	if err := c.create(ctx, post, &sent, &created); err != nil {
		return nil, fmt.Errorf("creating cloud namespace %s: %w", namespace.Name, err)
	}
	return &created, nil
}

// DeleteNamespace implements API.
func (c *Client) DeleteNamespace(ctx context.Context, name string, options DeleteOptions) error {
	on := call{operation: "DeleteNamespace", path: c.paths.namespaces(name), list: c.paths.namespaces()}
	if err := c.delete(ctx, on, options); err != nil {
		return fmt.Errorf("deleting cloud namespace %s: %w", name, err)
	}
	return nil
}

// ListNetworks implements API.
func (c *Client) ListNetworks(ctx context.Context, namespace string) ([]Network, error) {
	call := call{
		operation: "ListNetworks", method: http.MethodGet, path: c.paths.networks(namespace), namespace: namespace,
	}
	var list page[Network]
	var list1 page[network1]
	var result any = &list
	if c.config.Version == policy.CCI1 {
		result = &list1
	}
	if err := c.doWithRetry(ctx, call, result); err != nil {
		return nil, fmt.Errorf("listing networks of cloud namespace %s: %w", namespace, err)
	}
	for i := range list1.Items {
		list.Items = append(list.Items, *list1.Items[i].network())
	}
	return list.Items, nil
}

// GetNetwork implements API.
func (c *Client) GetNetwork(ctx context.Context, namespace, name string) (*Network, error) {
	call := call{
		operation: "GetNetwork", method: http.MethodGet, path: c.paths.networks(namespace, name), namespace: namespace,
		list: c.paths.networks(namespace),
	}
	found, err := c.network(func(result any) error { return c.doWithRetry(ctx, call, result) })
	if err != nil {
		return nil, fmt.Errorf("getting network %s of cloud namespace %s: %w", name, namespace, err)
	}
	return found, nil
}

// CreateNetwork implements API.
func (c *Client) CreateNetwork(ctx context.Context, namespace string, network *Network) (*Network, error) {
	sent := *network
	sent.APIVersion, sent.Kind = networkAPIVersion, "Network"
	var body any = &sent
	if c.config.Version == policy.CCI1 {
		body = newNetwork1(network)
	}
	created, err := c.network(func(result any) error {
		return c.create(ctx, call{operation: "CreateNetwork", path: c.paths.networks(namespace)}, body, result)
	})
	if err != nil {
		return nil, fmt.Errorf("creating network %s in cloud namespace %s: %w", network.Name, namespace, err)
	}
	return created, nil
}

// UpdateNetwork implements API. It sends the network back as it has received it, with fields that Network does not
// have: an update replaces the whole object. Source: CCI API, "Updating a network": annotations, subnets and
// securityGroups may change.
func (c *Client) UpdateNetwork(ctx context.Context, namespace, name string, change NetworkChange) error {
	if err := c.updateNetwork(ctx, namespace, name, change); err != nil {
		return fmt.Errorf("updating network %s of cloud namespace %s: %w", name, namespace, err)
	}
	return nil
}

func (c *Client) updateNetwork(ctx context.Context, namespace, name string, change NetworkChange) error {
	if c.config.Version == policy.CCI1 {
		return &Error{Kind: Permanent, Message: "a network of CCI 1.0 has one subnet and does not change"}
	}
	on := call{
		operation: "GetNetwork", method: http.MethodGet, path: c.paths.networks(namespace, name), namespace: namespace,
		list: c.paths.networks(namespace),
	}
	var object map[string]json.RawMessage
	if err := c.doWithRetry(ctx, on, &object); err != nil {
		return err
	}
	changed, err := change.apply(object)
	if err != nil {
		return noAnswer(ctx, "decoding the answer of the cloud", err)
	}
	if !changed {
		return nil // Another virtual node has made the change meanwhile.
	}
	delete(object, "status")
	on.operation, on.method = "UpdateNetwork", http.MethodPut
	if on.body, err = encode(object); err != nil {
		return err
	}
	return c.do(ctx, on, nil)
}

// network calls send with a result of the type of the generation, and converts the result.
func (c *Client) network(send func(result any) error) (*Network, error) {
	if c.config.Version == policy.CCI1 {
		var found network1
		err := send(&found)
		return found.network(), err
	}
	var found Network
	err := send(&found)
	return &found, err
}

// create posts an object without retries.
func (c *Client) create(ctx context.Context, post call, object, created any) (err error) {
	post.method = http.MethodPost
	if post.body, err = encode(object); err != nil {
		return err
	}
	return c.do(ctx, post, created)
}
