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
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// maxTokenUse bounds how long a token is used. A token is renewed at four fifths of its lifetime, after maxTokenUse
// at the latest, and up to a tenth earlier. Source: Kubernetes v1.36, pkg/kubelet/token.
const maxTokenUse = 24 * time.Hour

// kubeconfigUse is how long a kubeconfig is used before it is renewed, together with the tokens. The addresses in it
// may have changed.
const kubeconfigUse = time.Hour

// syncToken requests tokens if there are none or if they are due for renewal, and writes them together with the
// kubeconfig of the Pod's sidecar.
func (m *Mirrors) syncToken(ctx context.Context, e *entry, pod *corev1.Pod, ref translate.Reference) error {
	began := m.config.Now()
	if e.copy == nil || !began.Before(e.renew) || !e.hasAll(ref) {
		copy, err := m.renewed(ctx, e, pod, ref)
		if err != nil {
			return err
		}
		if err := m.write(ctx, e, copy); err != nil {
			return err
		}
		e.renew = renewalOf(copy)
	}
	e.found, e.checked = true, began
	return nil
}

// hasAll reports whether the copy has what a reference needs of it.
func (e *entry) hasAll(ref translate.Reference) bool {
	for _, token := range ref.Tokens {
		if !e.keys[identity.TokenKey(token)] {
			return false
		}
	}
	return !ref.Kubeconfig || e.keys[identity.KubeconfigKey]
}

// renewed returns a copy with new tokens for a Pod, and with its kubeconfig.
func (m *Mirrors) renewed(
	ctx context.Context, e *entry, pod *corev1.Pod, ref translate.Reference,
) (*cci.Data, error) {
	copy := &cci.Data{
		Kind: cci.Secret, ObjectMeta: m.config.Owner.MirrorMeta(e.mirror, pod.UID), Type: corev1.SecretTypeOpaque,
		Binary: map[string][]byte{},
	}
	var due time.Time
	for _, token := range ref.Tokens {
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
	// A sidecar that runs keeps its kubeconfig, whatever has become of the annotation.
	if ref.Kubeconfig || e.keys[identity.KubeconfigKey] {
		content, err := m.kubeconfig(ctx, e, pod)
		if err != nil {
			return nil, err
		}
		copy.Binary[identity.KubeconfigKey] = content
		if renew := renewal(m.config.Now(), m.config.Now().Add(kubeconfigUse)); due.IsZero() || renew.Before(due) {
			due = renew
		}
	}
	copy.Annotations[policy.CloudRenewAnnotation] = due.UTC().Format(time.RFC3339)
	return copy, nil
}

// kubeconfig returns the kubeconfig of a Pod. If none can be made now, the copy keeps the one that it has: tokens must
// be renewed in any case.
func (m *Mirrors) kubeconfig(ctx context.Context, e *entry, pod *corev1.Pod) ([]byte, error) {
	err := errors.New("this virtual node does not serve Services")
	if m.config.Kubeconfig != nil {
		var content []byte
		if content, err = m.config.Kubeconfig(pod); err == nil {
			return content, nil
		}
	}
	if !e.keys[identity.KubeconfigKey] {
		return nil, fmt.Errorf("the sidecar for Services: %w", err)
	}
	known, readErr := m.config.API.GetData(ctx, m.config.Namespace, cci.Secret, e.copy.meta.Name)
	if readErr != nil {
		return nil, readErr
	}
	return known.Binary[identity.KubeconfigKey], nil
}

// renewalOf returns when the tokens of a copy are due for renewal: at once if that cannot be read.
func renewalOf(copy *cci.Data) time.Time {
	due, err := time.Parse(time.RFC3339, copy.Annotations[policy.CloudRenewAnnotation])
	if err != nil {
		return time.Time{}
	}
	return due
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
