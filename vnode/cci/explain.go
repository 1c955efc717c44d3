package cci

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"

	"github.com/spillway-k8s/spillway/policy"
)

// asUnexplained returns the error of a 404 that does not say what was not found.
func asUnexplained(err error) (*Error, bool) {
	answer, ok := errors.AsType[*Error](err)
	return answer, ok && answer.unexplained
}

// notOffered returns the error of a call whose API does not exist at its endpoint.
func (c *Client) notOffered(asked call, answer Error) *Error {
	answer.Kind, answer.Feature, answer.unexplained = NotOffered, asked.feature, false
	answer.api = fmt.Sprintf("the API of CCI %s at %s", cmp.Or(c.config.Version, policy.CCI2), c.config.Endpoint)
	if asked.endpoint != "" {
		answer.api = "the API at " + asked.endpoint
	}
	return &answer
}

// explained returns the error of a call after it has found out what a 404 means that does not say it.
func (c *Client) explained(ctx context.Context, asked call, err error) error {
	if answer, unexplained := asUnexplained(err); unexplained {
		return c.explain(ctx, asked, answer)
	}
	return err
}

// explain finds out what a 404 means that does not say it. The service may answer so for an object that does not exist,
// but proxies and gateways do too, for one that runs. The proof is a list of the same objects that was requested after
// the 404: the object does not exist if the list is complete and does not contain it. For a call about a whole
// collection it is the list of namespaces. If that one contains the namespace, and the region may lack the collection,
// the collection is NotOffered. In all other cases explain returns the error as it is: it may pass.
func (c *Client) explain(ctx context.Context, asked call, answer *Error) error {
	list := call{operation: "ConfirmNotFound", method: http.MethodGet, namespace: asked.namespace, feature: asked.feature}
	name, subresource, _ := strings.Cut(strings.TrimPrefix(asked.path, asked.list+"/"), "/")
	if subresource != "" {
		list.feature = "" // The feature is the subresource.
	}
	list.path = asked.list
	if asked.list == "" {
		if asked.namespace == "" && asked.feature == "" {
			return answer // No list says more.
		}
		list = call{operation: list.operation, method: list.method, path: c.paths.namespaces()}
		name = asked.namespace
	}
	names, err := c.names.read(ctx, list.path, func() (map[string]bool, error) { return c.listNames(ctx, list) })
	switch {
	case IsNotFound(err), err == nil && name != "" && !names[name]:
		explained := *answer
		explained.Kind, explained.unexplained = NotFound, false
		return &explained
	case IsNotOffered(err), err == nil && asked.list == "" && asked.feature != "":
		explained := c.notOffered(asked, *answer)
		explained.Inferred = !IsProvenNotOffered(err)
		return explained
	}
	return answer
}

// listNames returns the names of all objects of a list. It sends one request for each page, without retries.
func (c *Client) listNames(ctx context.Context, list call) (map[string]bool, error) {
	type object struct {
		Metadata struct {
			Name string `json:"name"`
		} `json:"metadata"`
	}
	names := map[string]bool{}
	err := EachPage(ListOptions{Limit: namesPageSize}, func(options ListOptions) (string, int, error) {
		found := page[object]{keep: func(o *object) bool {
			names[o.Metadata.Name] = true
			return false
		}}
		list.query = options.query()
		if err := c.do(ctx, list, &found); err != nil {
			return "", 0, err
		}
		if found.skipped {
			return "", 0, errSkipped
		}
		return found.Metadata.Continue, found.objects, nil
	})
	return names, err
}

// namesPageSize is the number of objects in one page of a list of which only names are needed.
const namesPageSize = 500

// nameLists reads lists of names, of each path one at a time: callers that wait for the same path share the next list.
// After a restart, thousands of Pods may have to be confirmed as gone, each by a list of all Pods. The zero value is
// ready.
type nameLists struct {
	mu     sync.Mutex
	byPath map[string]*nameList
}

// nameList is the list of one path. It exists as long as a caller needs it.
type nameList struct {
	// turn is held by the caller that reads the list.
	turn chan struct{}
	// waiting, started, names and err are guarded by nameLists.mu. started counts the lists that were begun. names and err
	// are the result of the last one that is complete.
	waiting, started, ended int
	names                   map[string]bool
	err                     error
}

// read returns the names of a list that was begun after read was called. It blocks until then, or until ctx ends.
func (l *nameLists) read(
	ctx context.Context, path string, list func() (map[string]bool, error),
) (map[string]bool, error) {
	l.mu.Lock()
	if l.byPath == nil {
		l.byPath = map[string]*nameList{}
	}
	n := l.byPath[path]
	if n == nil {
		n = &nameList{turn: make(chan struct{}, 1)}
		l.byPath[path] = n
	}
	n.waiting++
	needed := n.started + 1
	l.mu.Unlock()
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.waiting--; n.waiting == 0 {
			delete(l.byPath, path)
		}
	}()
	select {
	case n.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-n.turn }()
	l.mu.Lock()
	if n.ended >= needed {
		defer l.mu.Unlock()
		return n.names, n.err
	}
	n.started++
	l.mu.Unlock()
	names, err := list()
	if err != nil && KindOf(err) == "" { // The caller has canceled its own request.
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	n.ended, n.names, n.err = n.started, names, err
	return names, err
}
