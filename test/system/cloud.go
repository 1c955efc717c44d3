package system

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
)

// List reads all objects of a resource, such as pods, with a signed request to the cloud.
func (c Cloud) List(ctx context.Context, resource string, list any) error {
	unsigned := request.NewHttpRequestBuilder().WithEndpoint(c.Endpoint).WithMethod(http.MethodGet).
		WithPath("/apis/cci/v2/namespaces/"+c.Namespace+"/"+resource).AddHeaderParam("X-Project-Id",
		c.ProjectID).Build()
	headers, err := signer.Sign(unsigned, c.AccessKey, c.SecretKey)
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

// Simulate calls the control API of the simulated cloud, which makes it do what a real cloud does on its own, such as
// POST faults. It sends an object as JSON, and decodes the answer into receive; either may be nil.
func (c Cloud) Simulate(ctx context.Context, method, path string, send, receive any) error {
	var body bytes.Buffer
	if send != nil {
		if err := json.NewEncoder(&body).Encode(send); err != nil {
			return fmt.Errorf("encoding %s for the simulator: %w", path, err)
		}
	}
	call, err := http.NewRequestWithContext(ctx, method, c.Control+"/_sim/"+path, &body)
	if err != nil {
		return fmt.Errorf("creating the request %s: %w", path, err)
	}
	response, err := http.DefaultClient.Do(call)
	if err != nil {
		return fmt.Errorf("calling the simulator at %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode >= 300 {
		message, _ := io.ReadAll(response.Body)
		return fmt.Errorf("calling the simulator at %s: %s: %s", path, response.Status, message)
	}
	if receive == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(receive); err != nil {
		return fmt.Errorf("decoding %s of the simulator: %w", path, err)
	}
	return nil
}

// PodsByUID returns the names of the cloud Pods by the UIDs of their Pods in the cluster. It returns an error if the
// cloud ever created two for one Pod.
func (c Cloud) PodsByUID(ctx context.Context) (map[types.UID]string, error) {
	var ever []ccisim.PodRecord
	if err := c.Simulate(ctx, http.MethodGet, "pods", nil, &ever); err != nil {
		return nil, err
	}
	created, present := map[types.UID]string{}, map[types.UID]string{}
	for _, record := range ever {
		uid := types.UID(record.Annotations[policy.CloudUIDAnnotation])
		if uid == "" {
			continue // A probe of a virtual node stands for no Pod.
		}
		if first, twice := created[uid]; twice {
			return nil, fmt.Errorf("the cloud created %s and %s for the Pod with UID %s: want one", first, record.Name, uid)
		}
		created[uid] = record.Name
		if record.Deleted == nil {
			present[uid] = record.Name
		}
	}
	return present, nil
}
