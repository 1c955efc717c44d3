package mirror

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// maxTokenUse bounds how long a token is used. A token is renewed at four fifths of its lifetime, after maxTokenUse
// at the latest, and up to a tenth earlier. Source: Kubernetes v1.36, pkg/kubelet/token.
const maxTokenUse = 24 * time.Hour

// syncToken requests tokens if there are none or if they are due for renewal.
func (m *Mirrors) syncToken(
	ctx context.Context, e *entry, pod *corev1.Pod, tokens []corev1.ServiceAccountTokenProjection,
) error {
	began := m.config.Now()
	if e.copy == nil || !began.Before(e.renew) || !e.hasTokens(tokens) {
		copy, err := m.requestTokens(ctx, e.mirror, pod, tokens)
		if err != nil {
			return err
		}
		if err := m.write(ctx, e, copy); err != nil {
			return err
		}
	}
	e.found, e.checked = true, began
	return nil
}

func (e *entry) hasTokens(tokens []corev1.ServiceAccountTokenProjection) bool {
	for _, token := range tokens {
		if !e.keys[identity.TokenKey(token)] {
			return false
		}
	}
	return true
}

// requestTokens returns a copy with new tokens for a Pod.
func (m *Mirrors) requestTokens(
	ctx context.Context, mirror identity.Mirror, pod *corev1.Pod, tokens []corev1.ServiceAccountTokenProjection,
) (*cci.Data, error) {
	copy := &cci.Data{
		Kind: cci.Secret, ObjectMeta: m.config.Owner.MirrorMeta(mirror, pod.UID), Type: corev1.SecretTypeOpaque,
		Binary: map[string][]byte{},
	}
	var due time.Time
	for _, token := range tokens {
		key := identity.TokenKey(token)
		if copy.Binary[key] != nil {
			continue
		}
		issued, err := m.requestToken(ctx, pod, token)
		if err != nil {
			return nil, err
		}
		copy.Binary[key] = []byte(issued.Token)
		if renew := renewal(m.config.Now(), issued.ExpirationTimestamp.Time); due.IsZero() || renew.Before(due) {
			due = renew
		}
	}
	copy.Annotations[policy.CloudRenewAnnotation] = due.UTC().Format(time.RFC3339)
	return copy, nil
}

// requestToken requests a token that is bound to the Pod: it is invalid after the Pod is gone.
func (m *Mirrors) requestToken(
	ctx context.Context, pod *corev1.Pod, token corev1.ServiceAccountTokenProjection,
) (*authenticationv1.TokenRequestStatus, error) {
	seconds := identity.TokenSeconds(token)
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{
			Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID,
		},
	}}
	if token.Audience != "" {
		request.Spec.Audiences = []string{token.Audience}
	}
	account := pod.Spec.ServiceAccountName
	accounts := m.config.Sources.ServiceAccounts(pod.Namespace)
	response, err := accounts.CreateToken(ctx, account, request, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) && !isAboutPods(err) {
		return nil, &Missing{fmt.Sprintf("serviceaccount %q not found", account)}
	}
	if err != nil {
		return nil, fmt.Errorf("requesting a token of serviceaccount %s/%s: %w", pod.Namespace, account, err)
	}
	return &response.Status, nil
}

// isAboutPods reports whether an error of the API server names a Pod. A moment after a Pod is bound, the admission
// plugin NodeRestriction may not know it yet.
func isAboutPods(err error) bool {
	status, ok := errors.AsType[*apierrors.StatusError](err)
	return ok && status.ErrStatus.Details != nil && status.ErrStatus.Details.Kind == "pods"
}

// renewal returns when a token that was issued now is due for renewal.
func renewal(now, expires time.Time) time.Time {
	use := max(min(expires.Sub(now)*4/5, maxTokenUse), 0)
	return now.Add(use - rand.N(use/10+1))
}
