package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// caller calls an extender as kube-scheduler does: with the same transport and encoding, and a body that is decoded but
// not read to its end (Kubernetes v1.36, pkg/scheduler/extender.go, makeTransport and send).
type caller struct {
	url    string
	client *http.Client
	// calls counts the calls, and connections the TCP connections that they used.
	calls, connections atomic.Int64
}

func newCaller(url string) *caller {
	a := &caller{url: url}
	dialer := &net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	a.client = &http.Client{
		Timeout: 5 * time.Second,
		Transport: utilnet.SetTransportDefaults(&http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				a.connections.Add(1)
				return dialer.DialContext(ctx, network, address)
			},
		}),
	}
	return a
}

// filter calls filter for the Pod and the nodes. took is how long the scheduler would wait: encoding, sending, waiting
// and decoding.
func (a *caller) filter(ctx context.Context, pod *corev1.Pod, names []string) (left []string, took time.Duration,
	err error) {
	a.calls.Add(1)
	start := time.Now()
	var result extenderv1.ExtenderFilterResult
	if err := a.post(ctx, "/v1/filter", extenderv1.ExtenderArgs{Pod: pod, NodeNames: &names}, &result); err != nil {
		return nil, 0, fmt.Errorf("calling %s for pod %s: %w", a.url, pod.Name, err)
	}
	took = time.Since(start)
	if result.Error != "" {
		return nil, 0, fmt.Errorf("calling %s for pod %s: the answer has the error %q", a.url, pod.Name, result.Error)
	}
	if result.NodeNames == nil {
		return nil, 0, fmt.Errorf("calling %s for pod %s: the answer has no NodeNames", a.url, pod.Name)
	}
	return *result.NodeNames, took, nil
}

func (a *caller) post(ctx context.Context, path string, args, result any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, a.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := a.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", response.Status)
	}
	return json.NewDecoder(response.Body).Decode(result)
}
