package cci

import (
	"context"
	"fmt"
	"net/http"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// QuotasOperation is the operation of NamespaceQuotas (Config.Outcome). A virtual node runs Pods without it.
const QuotasOperation = "ListResourceQuotas"

// NamespaceQuotas implements API. Source: CCI API (CCI 1.0), "ResourceQuota". CCI 2.0 has no such API.
func (c *Client) NamespaceQuotas(ctx context.Context, namespace string) ([]corev1.ResourceQuota, error) {
	if c.config.Version != policy.CCI1 {
		return nil, &Error{Kind: NotOffered, Feature: Quotas, Message: "CCI 2.0 has no API for quotas"}
	}
	list := page[corev1.ResourceQuota]{}
	err := c.doWithRetry(ctx, call{
		operation: QuotasOperation, method: http.MethodGet, path: c.paths.namespaces(namespace, "resourcequotas"),
		namespace: namespace, feature: Quotas,
	}, &list)
	if err != nil {
		return nil, fmt.Errorf("listing the quotas of cloud namespace %s: %w", namespace, err)
	}
	return list.Items, nil
}

// quotaTexts match a text of the service that says that a quota is used up. How CCI 2.0 says it for Pods is not
// documented. Source: for CCI 1.0, Kubernetes v1.36, staging/src/k8s.io/apiserver/pkg/admission/plugin/resourcequota:
// "exceeded quota: NAME, requested: …, used: …, limited: …".
var quotaTexts = regexp.MustCompile(`(?i)` +
	`\b(exceed\w*|insufficient|not enough|no (more|remaining)|out of|over|exhausted|reached)\b[^.;]*\bquotas?\b|` +
	`\bquotas?\b[^.;]*\b(exceed\w*|insufficient|not (enough|sufficient)|exhausted|used up|reached)\b`)

// quotedNames match what may be a name that a user has chosen.
var quotedNames = regexp.MustCompile("\"[^\"]*\"|'[^']*'|`[^`]*`")

// isQuota reports whether the service refuses a new object because a quota is used up. The status of such a refusal is
// 403 in Kubernetes, and 400 for the quota of namespaces.
func (b *errorBody) isQuota(method string, status int, code string) bool {
	if code == codeQuota {
		return true
	}
	refused := status == http.StatusForbidden || status == http.StatusBadRequest
	return refused && method == http.MethodPost && b.isStatus() && quotaTexts.MatchString(quotedNames.ReplaceAllString(
		b.Message, ""))
}

// isQuotaBusy reports whether Kubernetes could not count a new object, because others were created at the same time.
func (b *errorBody) isQuotaBusy(status int) bool {
	return status == http.StatusConflict && b.Reason != metav1.StatusReasonAlreadyExists &&
		b.Details != nil && b.Details.Kind == "resourcequotas"
}
