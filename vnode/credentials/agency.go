package credentials

import (
	"fmt"
	"log/slog"

	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth"
	"github.com/huaweicloud/huaweicloud-sdk-go-v3/core/auth/provider"

	"github.com/spillway-k8s/spillway/vnode/cci"
)

// FromMachine gives the temporary keys of the agency that the ECS machine has, from the machine's metadata.
func FromMachine(logger *slog.Logger) (*Source, error) {
	return fromProvider(provider.BasicCredentialMetadataProvider(), "the machine's metadata", logger)
}

// FromPodIdentity gives the temporary keys of the agency that the Pod's service account is bound to. The SDK finds the way there in the
// variables HC_CONTAINER_CREDENTIALS_FULL_URI and HC_CONTAINER_AUTHORIZATION_TOKEN_FILE.
func FromPodIdentity(logger *slog.Logger) (*Source, error) {
	return fromProvider(provider.BasicCredentialPodIdentityProvider(), "the Pod's identity", logger)
}

// fromProvider asks the SDK's provider once; from then on the credentials renew themselves some time before they end.
func fromProvider(from provider.ICredentialProvider, name string, logger *slog.Logger) (*Source, error) {
	given, err := from.GetCredentials()
	if err != nil {
		return nil, fmt.Errorf("getting the cloud credentials from %s: %w", name, err)
	}
	keys, ok := given.(*auth.BasicCredentials)
	if !ok {
		return nil, fmt.Errorf("getting the cloud credentials from %s: they are %T, of no project", name, given)
	}
	return newSource(func() (cci.Credentials, error) {
		if err := keys.ProcessSts(nil); err != nil { // Asks nobody while they hold.
			return cci.Credentials{}, fmt.Errorf("renewing the cloud credentials from %s: %w", name, err)
		}
		c := cci.Credentials{AccessKey: keys.AK, SecretKey: keys.SK, SecurityToken: keys.SecurityToken}
		return c, c.Validate()
	}, logger)
}
