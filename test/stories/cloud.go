package stories

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
)

// cloudPods lists the Pods of the cloud through its API. The keys are the UIDs of the Pods in the cluster.
func (w *World) cloudPods(ctx context.Context) (map[types.UID]corev1.Pod, error) {
	var list corev1.PodList
	if err := w.listInCloud(ctx, "pods", &list); err != nil {
		return nil, err
	}
	pods := make(map[types.UID]corev1.Pod, len(list.Items))
	for _, pod := range list.Items {
		pods[types.UID(pod.Annotations[policy.CloudUIDAnnotation])] = pod
	}
	return pods, nil
}

// listInCloud lists all objects of a resource with a signed request to the cloud.
func (w *World) listInCloud(ctx context.Context, resource string, list any) error {
	cloud := w.cluster.Cloud
	unsigned := request.NewHttpRequestBuilder().WithEndpoint(cloud.Endpoint).WithMethod(http.MethodGet).
		WithPath("/apis/cci/v2/namespaces/"+cloud.Namespace+"/"+resource).AddHeaderParam("X-Project-Id",
		cloud.ProjectID).Build()
	headers, err := signer.Sign(unsigned, cloud.AccessKey, cloud.SecretKey)
	if err != nil {
		return fmt.Errorf("signing the list of cloud %s: %w", resource, err)
	}
	for name, value := range headers {
		unsigned.AddHeaderParam(name, value)
	}
	signed, err := unsigned.ConvertRequest()
	if err != nil {
		return fmt.Errorf("creating the request for cloud %s: %w", resource, err)
	}
	response, err := http.DefaultClient.Do(signed.WithContext(ctx))
	if err != nil {
		return fmt.Errorf("listing cloud %s: %w", resource, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("listing cloud %s: %s", resource, response.Status)
	}
	if err := json.NewDecoder(response.Body).Decode(list); err != nil {
		return fmt.Errorf("decoding cloud %s: %w", resource, err)
	}
	return nil
}
