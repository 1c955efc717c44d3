package cleanup

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// nodeUser begins the common name of a node's certificate.
const nodeUser = "system:node:"

// removeRequests deletes the CertificateSigningRequests of nodes that are no more. The cluster would do so after a day.
func (c *clusterCleaner) removeRequests(ctx context.Context, nodes []string) error {
	client := c.client.CertificatesV1().CertificateSigningRequests()
	list, err := client.List(ctx, metav1.ListOptions{
		FieldSelector: fields.OneTermEqualSelector("spec.signerName", certificatesv1.KubeletServingSignerName).String(),
	})
	if err != nil {
		return fmt.Errorf("CertificateSigningRequests: listing them: %w", err)
	}
	removed := 0
	var faults []error
	for i := range list.Items {
		if !slices.Contains(nodes, nodeOf(list.Items[i].Spec.Request)) {
			continue
		}
		if err := client.Delete(ctx, list.Items[i].Name, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			faults = append(faults, fmt.Errorf("CertificateSigningRequest %s: %w", list.Items[i].Name, err))
			continue
		}
		removed++
	}
	if removed > 0 {
		c.say("%d CertificateSigningRequests deleted.", removed)
	}
	return errors.Join(faults...)
}

// nodeOf is the node that a request is for, empty where it is for none.
func nodeOf(request []byte) string {
	block, _ := pem.Decode(request)
	if block == nil {
		return ""
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return ""
	}
	name, _ := strings.CutPrefix(parsed.Subject.CommonName, nodeUser)
	return name
}
