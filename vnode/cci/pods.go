package cci

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// CreatePod implements API.
func (c *Client) CreatePod(ctx context.Context, namespace string, pod *Pod) (*Pod, error) {
	sent := *pod
	sent.APIVersion, sent.Kind = c.paths.apiVersion(), "Pod"
	var created Pod
	if err := c.create(ctx, call{operation: "CreatePod", path: c.paths.pods(namespace)}, &sent, &created); err != nil {
		return nil, fmt.Errorf("creating cloud pod %s: %w", pod.Name, err)
	}
	return &created, nil
}

// GetPod implements API.
func (c *Client) GetPod(ctx context.Context, namespace, name string) (*Pod, error) {
	var found Pod
	call := call{
		operation: "GetPod", method: http.MethodGet, path: c.paths.pods(namespace, name), namespace: namespace,
		list: c.paths.pods(namespace),
	}
	if err := c.doWithRetry(ctx, call, &found); err != nil {
		return nil, fmt.Errorf("getting cloud pod %s: %w", name, err)
	}
	return &found, nil
}

// ListPods implements API.
func (c *Client) ListPods(ctx context.Context, namespace string, options ListOptions) (*PodList, error) {
	list := page[Pod]{keep: func(pod *Pod) bool {
		c.receive(pod)
		return options.Keep == nil || options.Keep(pod)
	}}
	call := call{
		operation: "ListPods", method: http.MethodGet, path: c.paths.pods(namespace), query: options.query(),
		namespace: namespace,
	}
	if err := c.doWithRetry(ctx, call, &list); err != nil {
		return nil, fmt.Errorf("listing cloud pods of %s: %w", namespace, err)
	}
	return &PodList{
		ResourceVersion: list.Metadata.ResourceVersion, Continue: list.Metadata.Continue, Items: list.Items,
		Objects: list.objects,
	}, nil
}

// query returns the query parameters of a list.
func (o ListOptions) query() url.Values {
	query := url.Values{}
	setText(query, "labelSelector", o.LabelSelector)
	setText(query, "continue", o.Continue)
	if o.Limit > 0 {
		query.Set("limit", strconv.FormatInt(o.Limit, 10))
	}
	return query
}

// DeletePod implements API.
func (c *Client) DeletePod(ctx context.Context, namespace, name string, options DeleteOptions) error {
	body, err := options.encode()
	if err != nil {
		return fmt.Errorf("deleting cloud pod %s: %w", name, err)
	}
	call := call{
		operation: "DeletePod", method: http.MethodDelete, path: c.paths.pods(namespace, name), body: body,
		namespace: namespace, list: c.paths.pods(namespace),
	}
	if err := c.doWithRetry(ctx, call, nil); err != nil {
		return fmt.Errorf("deleting cloud pod %s: %w", name, err)
	}
	return nil
}

// encode returns the JSON body of a deletion.
func (o DeleteOptions) encode() ([]byte, error) {
	sent := metav1.DeleteOptions{
		TypeMeta:           metav1.TypeMeta{APIVersion: "v1", Kind: "DeleteOptions"},
		GracePeriodSeconds: o.GraceSeconds,
	}
	if o.UID != "" {
		sent.Preconditions = metav1.NewUIDPreconditions(string(o.UID))
	}
	return encode(&sent)
}

// PodLog implements API.
func (c *Client) PodLog(
	ctx context.Context, namespace, name string, options LogOptions,
) (io.ReadCloser, error) {
	query := url.Values{"container": {options.Container}}
	setTrue(query, "follow", options.Follow)
	setTrue(query, "previous", options.Previous)
	setTrue(query, "timestamps", options.Timestamps)
	setNumber(query, "sinceSeconds", options.SinceSeconds)
	setNumber(query, "tailLines", options.TailLines)
	setNumber(query, "limitBytes", options.LimitBytes)
	call := call{
		operation: "PodLog", method: http.MethodGet, path: c.paths.pods(namespace, name, "log"), query: query,
		feature: Logs, namespace: namespace, list: c.paths.pods(namespace),
	}
	if err := c.limiter.Wait(ctx); err != nil {
		return nil, err
	}
	response, err := c.send(ctx, ctx, call)
	if err := c.explained(ctx, call, err); err != nil {
		return nil, fmt.Errorf("reading the log of container %s of cloud pod %s: %w", options.Container, name, err)
	}
	return response.Body, nil
}

func setText(query url.Values, key, value string) {
	if value != "" {
		query.Set(key, value)
	}
}

func setTrue(query url.Values, key string, value bool) {
	if value {
		query.Set(key, "true")
	}
}

func setNumber(query url.Values, key string, value *int64) {
	if value != nil {
		query.Set(key, strconv.FormatInt(*value, 10))
	}
}
