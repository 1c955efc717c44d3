package cci

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodEvents implements API.
func (c *Client) PodEvents(ctx context.Context, namespace, name string, uid types.UID) ([]corev1.Event, error) {
	call := call{
		operation: "ListEvents", method: http.MethodGet, path: c.paths.namespaces(namespace, "events"),
		query: url.Values{
			"fieldSelector": {strings.Join([]string{"involvedObject.kind=Pod", "involvedObject.name=" + name}, ",")},
		},
	}
	var list struct {
		Items []corev1.Event `json:"items"`
	}
	if err := c.doWithRetry(ctx, call, &list); err != nil {
		return nil, fmt.Errorf("listing events of cloud pod %s: %w", name, err)
	}
	var events []corev1.Event
	for _, event := range list.Items { // The service may ignore the selector.
		object := event.InvolvedObject
		if object.Kind == "Pod" && object.Name == name && object.UID == uid {
			events = append(events, event)
		}
	}
	return events, nil
}
