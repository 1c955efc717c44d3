package credentials

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/provider"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// FromMachine returns the temporary keys of the agency of the ECS machine, which it reads from the machine's metadata
// service. It blocks for the first keys and fails if there are none. Source: huaweicloud-sdk-go-v3,
// core/auth/provider/metadata_provider.go.
func FromMachine(logger *slog.Logger) (*Source, error) {
	return fromProvider(provider.BasicCredentialMetadataProvider(), "the metadata service of the machine", logger)
}

// FromPodIdentity returns the temporary keys of the agency that is bound to the Pod's ServiceAccount. The environment
// variables HC_CONTAINER_CREDENTIALS_FULL_URI and HC_CONTAINER_AUTHORIZATION_TOKEN_FILE tell the SDK how to request
// them. It blocks for the first keys and fails if there are none. Source: huaweicloud-sdk-go-v3,
// core/auth/provider/pod_identity_provider.go.
func FromPodIdentity(logger *slog.Logger) (*Source, error) {
	return fromProvider(provider.BasicCredentialPodIdentityProvider(), "the identity of the Pod", logger)
}

// fromProvider calls the provider of the SDK once. Afterwards the credentials renew themselves before they expire.
func fromProvider(from provider.ICredentialProvider, name string, logger *slog.Logger) (*Source, error) {
	given, err := from.GetCredentials()
	if err != nil {
		return nil, fmt.Errorf("reading the cloud credentials from %s: %w", name, err)
	}
	keys, ok := given.(*auth.BasicCredentials)
	if !ok {
		return nil, fmt.Errorf("reading the cloud credentials from %s: type %T has no project", name, given)
	}
	return newSource(func() (cci.Credentials, error) {
		if err := keys.ProcessSts(nil); err != nil { // It sends no request while the keys are valid.
			return cci.Credentials{}, fmt.Errorf("renewing the cloud credentials from %s: %w", name, err)
		}
		c := cci.Credentials{AccessKey: keys.AK, SecretKey: keys.SK, SecurityToken: keys.SecurityToken}
		return c, c.Validate(nil).ToAggregate()
	}, time.Now, logger)
}
