package kubelet

import (
	"context"
	"fmt"

	"github.com/virtual-kubelet/virtual-kubelet/node/nodeutil"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// Auth decides who may ask: by the cluster's TokenReview and SubjectAccessReview, and by client certificates of one authority. It never
// lets anybody in unknown.
type Auth struct {
	nodeutil.Auth
	authority *dynamiccertificates.DynamicFileCAContent
}

// NewAuth reads the file of the authority; a missing or unusable one is an error: without it everybody could read logs.
func NewAuth(client kubernetes.Interface, nodeName, clientCAFile string) (*Auth, error) {
	authority, err := dynamiccertificates.NewDynamicCAContentFromFile("client-ca", clientCAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the authority of client certificates: %w", err)
	}
	auth, err := nodeutil.WebhookAuth(client, nodeName, func(c *nodeutil.WebhookAuthConfig) error {
		c.AuthnConfig.ClientCertificateCAContentProvider = authority
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("setting up authentication and authorization: %w", err)
	}
	return &Auth{Auth: auth, authority: authority}, nil
}

// Run reads the authority's file again when it changes, until ctx ends. It blocks.
func (a *Auth) Run(ctx context.Context) error {
	a.authority.Run(ctx, 1)
	return nil
}
