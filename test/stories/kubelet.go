package stories

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// kubeletStatus sends a request without credentials to the kubelet port of a virtual node and returns the HTTP status.
func (w *World) kubeletStatus(ctx context.Context, path string) (int, error) {
	virtual := metav1.ListOptions{LabelSelector: policy.NodeTypeLabel + "=" + policy.NodeTypeVirtual}
	nodes, err := w.client.CoreV1().Nodes().List(ctx, virtual)
	if err != nil || len(nodes.Items) == 0 {
		return 0, fmt.Errorf("listing virtual nodes: found %d: %w", len(nodes.Items), err)
	}
	node := &nodes.Items[0]
	url := fmt.Sprintf("https://%s:%d%s", internalIP(node), node.Status.DaemonEndpoints.KubeletEndpoint.Port, path)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, fmt.Errorf("creating the request %s: %w", url, err)
	}
	// The identity of the server does not matter here, only what it returns to an anonymous client.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	response, err := client.Do(request)
	if err != nil {
		return 0, fmt.Errorf("calling the kubelet port: %w", err)
	}
	return response.StatusCode, response.Body.Close()
}

func internalIP(node *corev1.Node) string {
	for _, address := range node.Status.Addresses {
		if address.Type == corev1.NodeInternalIP {
			return address.Address
		}
	}
	return ""
}
