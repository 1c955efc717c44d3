package cci

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DataKind is the kind of Data: ConfigMap or Secret.
type DataKind string

// The kinds of Data. Source: CCI API, "ConfigMap" and "Secret".
const (
	ConfigMap DataKind = "ConfigMap"
	Secret    DataKind = "Secret"
)

// Data is a ConfigMap or a Secret. The service treats both in the same way.
type Data struct {
	Kind DataKind
	metav1.ObjectMeta
	// Text is the data of a ConfigMap. It is empty for a Secret.
	Text map[string]string
	// Binary is the binaryData of a ConfigMap or the data of a Secret.
	Binary map[string][]byte
	// Type is the type of a Secret. Empty means Opaque. It is immutable.
	Type corev1.SecretType
}

// DataList is one page of Data.
type DataList struct {
	// Continue is the continue token of the next page. It is empty on the last page.
	Continue string
	Items    []Data
	// Objects is the number of objects of the page.
	Objects int
}

// encode returns the JSON body of a request.
func (d *Data) encode(apiVersion string) ([]byte, error) {
	kind := metav1.TypeMeta{APIVersion: apiVersion, Kind: string(d.Kind)}
	if d.Kind == Secret {
		return encode(&corev1.Secret{TypeMeta: kind, ObjectMeta: d.ObjectMeta, Data: d.Binary, Type: d.Type})
	}
	return encode(&corev1.ConfigMap{TypeMeta: kind, ObjectMeta: d.ObjectMeta, Data: d.Text, BinaryData: d.Binary})
}

// wireData decodes both kinds. They differ only in the type of data.
type wireData struct {
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Data       json.RawMessage   `json:"data"`
	BinaryData map[string][]byte `json:"binaryData"`
	Type       corev1.SecretType `json:"type"`
}

// decode returns the Data of a response. Its errors never contain what a Secret holds.
func (k DataKind) decode(wire *wireData) (*Data, error) {
	data := &Data{Kind: k, ObjectMeta: wire.Metadata, Binary: wire.BinaryData, Type: wire.Type}
	if len(wire.Data) == 0 {
		return data, nil
	}
	var target any = &data.Text
	if k == Secret {
		target = &data.Binary
	}
	if err := json.Unmarshal(wire.Data, target); err != nil {
		return nil, &Error{Kind: Transient, Message: fmt.Sprintf("decoding the data of %s %s", k, wire.Metadata.Name)}
	}
	return data, nil
}

// CreateData implements API.
func (c *Client) CreateData(ctx context.Context, namespace string, data *Data) (*Data, error) {
	body, err := data.encode(c.paths.apiVersion())
	if err != nil {
		return nil, err
	}
	call := call{
		operation: "Create" + string(data.Kind), method: http.MethodPost, path: c.paths.data(data.Kind, namespace),
		body: body,
	}
	var wire wireData
	if err := c.do(ctx, call, &wire); err != nil {
		return nil, fmt.Errorf("creating cloud %s %s: %w", data.Kind, data.Name, err)
	}
	return data.Kind.decode(&wire)
}

// GetData implements API.
func (c *Client) GetData(ctx context.Context, namespace string, kind DataKind, name string) (*Data, error) {
	call := call{
		operation: "Get" + string(kind), method: http.MethodGet, path: c.paths.data(kind, namespace, name),
		namespace: namespace, list: c.paths.data(kind, namespace),
	}
	var wire wireData
	if err := c.doWithRetry(ctx, call, &wire); err != nil {
		return nil, fmt.Errorf("getting cloud %s %s: %w", kind, name, err)
	}
	return kind.decode(&wire)
}

// ListData implements API.
func (c *Client) ListData(
	ctx context.Context, namespace string, kind DataKind, options ListOptions,
) (*DataList, error) {
	var found page[wireData]
	call := call{
		operation: "List" + string(kind) + "s", method: http.MethodGet, path: c.paths.data(kind, namespace),
		query: options.query(), namespace: namespace,
	}
	if err := c.doWithRetry(ctx, call, &found); err != nil {
		return nil, fmt.Errorf("listing cloud %ss of %s: %w", kind, namespace, err)
	}
	list := &DataList{Continue: found.Metadata.Continue, Objects: found.objects}
	for i := range found.Items {
		data, err := kind.decode(&found.Items[i])
		if err != nil {
			return nil, err
		}
		list.Items = append(list.Items, *data)
	}
	return list, nil
}

// UpdateData implements API.
func (c *Client) UpdateData(ctx context.Context, namespace string, data *Data) (*Data, error) {
	body, err := data.encode(c.paths.apiVersion())
	if err != nil {
		return nil, err
	}
	call := call{
		operation: "Update" + string(data.Kind), method: http.MethodPut, path: c.paths.data(data.Kind, namespace, data.Name),
		body: body, namespace: namespace, list: c.paths.data(data.Kind, namespace),
	}
	var wire wireData
	if err := c.do(ctx, call, &wire); err != nil {
		return nil, fmt.Errorf("updating cloud %s %s: %w", data.Kind, data.Name, err)
	}
	return data.Kind.decode(&wire)
}

// DeleteData implements API.
func (c *Client) DeleteData(
	ctx context.Context, namespace string, kind DataKind, name string, options DeleteOptions,
) error {
	on := call{
		operation: "Delete" + string(kind), path: c.paths.data(kind, namespace, name),
		namespace: namespace, list: c.paths.data(kind, namespace),
	}
	if err := c.delete(ctx, on, options); err != nil {
		return fmt.Errorf("deleting cloud %s %s: %w", kind, name, err)
	}
	return nil
}
