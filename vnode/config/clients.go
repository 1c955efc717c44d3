package config

import (
	"fmt"
	"log/slog"
	"time"

	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/credentials"
)

const (
	// requestTries and requestDelay are for requests that may be repeated.
	requestTries = 4
	requestDelay = 200 * time.Millisecond
)

// KubeClient makes a client of the cluster, with a rate limit of its own. program is who it says it is.
func (c *Config) KubeClient(program string) (*kubernetes.Clientset, error) {
	rest, err := c.Kube.REST(program)
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(rest)
	if err != nil {
		return nil, fmt.Errorf("making the client of the cluster: %w", err)
	}
	return client, nil
}

// CloudClient makes a client of the cloud; watched is who hears of its requests.
func (c *Config) CloudClient(watched cci.Config) (*cci.Client, error) {
	watched.Version = c.Policy.CCIVersion
	return c.CCI.client(watched)
}

func (c CCIConfig) client(watched cci.Config) (*cci.Client, error) {
	keys, err := c.credentials(watched.Logger)
	if err != nil {
		return nil, err
	}
	watched.Endpoint, watched.ProjectID, watched.Credentials = c.endpoint(), c.ProjectID, keys
	watched.QPS, watched.Burst, watched.RequestTimeout = c.QPS, c.Burst, c.RequestTimeout.Duration
	watched.Tries, watched.RetryDelay = requestTries, requestDelay
	watched.Exec = cci.ExecConfig{Handshake: c.Exec.Handshake, IAMEndpoint: c.iamEndpoint(), KeepAlive: c.Exec.KeepAlive.Duration}
	return cci.New(watched)
}

// credentials are what requests to the cloud are signed with. They follow their source.
func (c CCIConfig) credentials(logger *slog.Logger) (*credentials.Source, error) {
	switch c.CredentialsFrom {
	case fromMachine:
		return credentials.FromMachine(logger)
	case fromPodIdentity:
		return credentials.FromPodIdentity(logger)
	}
	return credentials.FromFile(c.CredentialsFile, logger)
}
