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

// cloudPods asks the cloud itself, with a signed request, for its Pods, by the UID of the Pod of the cluster that each one is.
func (w *World) cloudPods(ctx context.Context) (map[types.UID]corev1.Pod, error) {
	cloud := w.system.Cloud()
	unsigned := request.NewHttpRequestBuilder().WithEndpoint(cloud.Endpoint).WithMethod(http.MethodGet).
		WithPath("/apis/cci/v2/namespaces/"+cloud.Namespace+"/pods").AddHeaderParam("X-Project-Id", cloud.ProjectID).Build()
	headers, err := signer.Sign(unsigned, cloud.AccessKey, cloud.SecretKey)
	if err != nil {
		return nil, fmt.Errorf("signing the list of cloud pods: %w", err)
	}
	for name, value := range headers {
		unsigned.AddHeaderParam(name, value)
	}
	signed, err := unsigned.ConvertRequest()
	if err != nil {
		return nil, fmt.Errorf("making the list of cloud pods: %w", err)
	}
	response, err := http.DefaultClient.Do(signed.WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("listing cloud pods: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("listing cloud pods: %s", response.Status)
	}
	var list corev1.PodList
	if err := json.NewDecoder(response.Body).Decode(&list); err != nil {
		return nil, fmt.Errorf("decoding cloud pods: %w", err)
	}
	pods := make(map[types.UID]corev1.Pod, len(list.Items))
	for _, pod := range list.Items {
		pods[types.UID(pod.Annotations[policy.CloudUIDAnnotation])] = pod
	}
	return pods, nil
}
