package cci

import (
	"context"
	"fmt"
	"net/http"
)

const (
	namespacesPath = "/apis/cci/v2/namespaces"
	networksPath   = "/apis/yangtse/v2/namespaces/%s/networks"
)

// GetNamespace implements API.
func (c *Client) GetNamespace(ctx context.Context, name string) (*Namespace, error) {
	var found Namespace
	call := call{operation: "GetNamespace", method: http.MethodGet, path: namespacesPath + "/" + name}
	if err := c.repeat(ctx, call, &found); err != nil {
		return nil, fmt.Errorf("getting cloud namespace %s: %w", name, err)
	}
	return &found, nil
}

// CreateNamespace implements API.
func (c *Client) CreateNamespace(ctx context.Context, namespace *Namespace) (*Namespace, error) {
	sent := *namespace
	sent.APIVersion, sent.Kind = podAPIVersion, "Namespace"
	var created Namespace
	if err := c.create(ctx, "CreateNamespace", namespacesPath, &sent, &created); err != nil {
		return nil, fmt.Errorf("creating cloud namespace %s: %w", namespace.Name, err)
	}
	return &created, nil
}

// ListNetworks implements API.
func (c *Client) ListNetworks(ctx context.Context, namespace string) ([]Network, error) {
	var list struct {
		Items []Network `json:"items"`
	}
	call := call{operation: "ListNetworks", method: http.MethodGet, path: fmt.Sprintf(networksPath, namespace)}
	if err := c.repeat(ctx, call, &list); err != nil {
		return nil, fmt.Errorf("listing networks of cloud namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

// GetNetwork implements API.
func (c *Client) GetNetwork(ctx context.Context, namespace, name string) (*Network, error) {
	var found Network
	call := call{operation: "GetNetwork", method: http.MethodGet, path: fmt.Sprintf(networksPath, namespace) + "/" + name}
	if err := c.repeat(ctx, call, &found); err != nil {
		return nil, fmt.Errorf("getting network %s of cloud namespace %s: %w", name, namespace, err)
	}
	return &found, nil
}

// CreateNetwork implements API.
func (c *Client) CreateNetwork(ctx context.Context, namespace string, network *Network) (*Network, error) {
	sent := *network
	sent.APIVersion, sent.Kind = networkAPIVersion, "Network"
	var created Network
	if err := c.create(ctx, "CreateNetwork", fmt.Sprintf(networksPath, namespace), &sent, &created); err != nil {
		return nil, fmt.Errorf("creating network %s in cloud namespace %s: %w", network.Name, namespace, err)
	}
	return &created, nil
}

// create posts an object, once.
func (c *Client) create(ctx context.Context, operation, path string, object, created any) error {
	body, err := encode(object)
	if err != nil {
		return err
	}
	return c.do(ctx, call{operation: operation, method: http.MethodPost, path: path, body: body}, created)
}
