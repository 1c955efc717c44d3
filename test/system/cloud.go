package system

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

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
