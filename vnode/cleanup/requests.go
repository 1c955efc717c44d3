package cleanup

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"

	"github.com/spillway-k8s/spillway/vnode/nodeuser"
)

// deleteRequests deletes the CertificateSigningRequests of nodes that no longer exist. The cluster would delete them
// after a day.
func (c *clusterCleaner) deleteRequests(ctx context.Context, nodes []string) error {
	client := c.client.CertificatesV1().CertificateSigningRequests()
	list, err := client.List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.signerName", certificatesv1.KubeletServingSignerName).String(),
	})
	if err != nil {
		return fmt.Errorf("CertificateSigningRequests: listing them: %w", err)
	}
	deleted := 0
	var errs []error
	for i := range list.Items {
		name := list.Items[i].Name
		if !slices.Contains(nodes, nodeOf(list.Items[i].Spec.Request)) {
			continue
		}
		if err := client.Delete(ctx, name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("CertificateSigningRequest %s: %w", name, err))
			continue
		}
		deleted++
	}
	if deleted > 0 {
		c.printf("%d CertificateSigningRequests deleted.", deleted)
	}
	return errors.Join(errs...)
}

// nodeOf returns the node that a request is for, or "" if it is not for a node.
func nodeOf(request []byte) string {
	block, _ := pem.Decode(request)
	if block == nil {
		return ""
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return ""
	}
	name, _ := nodeuser.NodeOf(parsed.Subject.CommonName)
	return name
}
