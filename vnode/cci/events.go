package cci

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// PodEvents implements API.
func (c *Client) PodEvents(ctx context.Context, namespace, name string, uid types.UID) ([]corev1.Event, error) {
	call := call{
		operation: "ListEvents", method: http.MethodGet, path: c.paths.namespaces(namespace, "events"),
		namespace: namespace, feature: Events,
		query: url.Values{
			"fieldSelector": {strings.Join([]string{"involvedObject.kind=Pod", "involvedObject.name=" + name}, ",")},
		},
	}
	kept := 0
	list := page[corev1.Event]{keep: func(event *corev1.Event) bool {
		object := event.InvolvedObject // The service may ignore the selector.
		if object.Kind != "Pod" || object.Name != name || object.UID != uid || kept >= maxEvents {
			return false
		}
		kept++
		*event = corev1.Event{
			InvolvedObject: object, Type: policy.Clip(event.Type, maxName), Reason: policy.Clip(event.Reason, maxName),
			Message: policy.Clip(event.Message, policy.MaxMessage), Count: event.Count,
			FirstTimestamp: event.FirstTimestamp, LastTimestamp: event.LastTimestamp, EventTime: event.EventTime,
		}
		return true
	}}
	if err := c.doWithRetry(ctx, call, &list); err != nil {
		return nil, fmt.Errorf("listing events of cloud pod %s: %w", name, err)
	}
	return list.Items, nil
}
