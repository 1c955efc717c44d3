package cci

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// delete deletes an object whose name others may use again. If there is a UID, it reads the object first: it is not
// known whether the service checks the UID of a deletion, and a newer object of the name must stay. What is created
// between the two requests is safe only if the service does.
func (c *Client) delete(ctx context.Context, on call, options DeleteOptions) error {
	if options.UID != "" {
		if err := c.checkUID(ctx, on, options.UID); err != nil {
			return err
		}
	}
	body, err := options.encode()
	if err != nil {
		return err
	}
	on.method, on.body = http.MethodDelete, body
	return c.doWithRetry(ctx, on, nil)
}

// checkUID returns Conflict if the object of a call has another UID.
func (c *Client) checkUID(ctx context.Context, on call, uid types.UID) error {
	on.method, on.operation = http.MethodGet, "Get"+strings.TrimPrefix(on.operation, "Delete")
	var found struct {
		Metadata struct {
			UID types.UID `json:"uid"`
		} `json:"metadata"`
	}
	if err := c.doWithRetry(ctx, on, &found); err != nil {
		return err
	}
	if found.Metadata.UID != uid {
		return &Error{Kind: Conflict, Message: fmt.Sprintf("the object has the UID %s by now, not %s",
			found.Metadata.UID, uid)}
	}
	return nil
}
