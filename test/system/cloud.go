package system

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/signer"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/request"
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

// Simulate makes the simulated cloud do something that a real cloud does on its own, such as POST faults.
func (c Cloud) Simulate(ctx context.Context, method, path, body string) error {
	call, err := http.NewRequestWithContext(ctx, method, c.Control+"/_sim/"+path,
		strings.NewReader(body))
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
	return nil
}
