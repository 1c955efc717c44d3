package certificate

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/internal/logging"
)

const (
	// checkInterval is how often the remaining lifetime of the certificate is checked.
	checkInterval = time.Hour
	// retryInterval is the delay before a retry.
	retryInterval = time.Second
)

// Config describes the certificate.
type Config struct {
	// Namespace and Secret identify the Secret that holds the certificate.
	Namespace, Secret string
	// Names are the DNS names and IP addresses by which the API server reaches the webhook. There is at least one.
	Names []string
	// Registration is the name of the webhook configurations whose CA bundles hold the authority.
	Registration string
}

// Source serves the certificate in the Secret, and keeps the Secret and the CA bundles of the registrations up to date.
type Source struct {
	client    kubernetes.Interface
	config    Config
	now       func() time.Time
	logger    *slog.Logger
	factories []informers.SharedInformerFactory

	secrets, mutating, validating cache.SharedIndexInformer

	// pending requests a reconciliation.
	pending  chan struct{}
	failures prometheus.Counter
	served   atomic.Pointer[tls.Certificate]
}

// New returns a Source that uses the clock now. It starts nothing.
func New(
	client kubernetes.Interface, config Config, now func() time.Time, registerer prometheus.Registerer,
	logger *slog.Logger,
) (*Source, error) {
	s := &Source{client: client, config: config, now: now, logger: logger, pending: make(chan struct{}, 1)}
	if err := s.register(registerer); err != nil {
		return nil, err
	}
	secrets := s.factory(config.Secret, informers.WithNamespace(config.Namespace))
	registrations := s.factory(config.Registration)
	s.secrets = secrets.Core().V1().Secrets().Informer()
	s.mutating = registrations.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()
	s.validating = registrations.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer()
	for _, informer := range []cache.SharedIndexInformer{s.secrets, s.mutating, s.validating} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc:    func(any) { s.requeue() },
			UpdateFunc: func(_, _ any) { s.requeue() },
			DeleteFunc: func(any) { s.requeue() },
		}); err != nil {
			return nil, fmt.Errorf("watching the certificate: %w", err)
		}
	}
	return s, nil
}

// factory watches the objects with one name, so the program needs no permission for others.
func (s *Source) factory(
	name string, options ...informers.SharedInformerOption,
) informers.SharedInformerFactory {
	options = append(options, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}))
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, options...)
	s.factories = append(s.factories, factory)
	return factory
}

// requeue requests a reconciliation. It does not block.
func (s *Source) requeue() {
	select {
	case s.pending <- struct{}{}:
	default: // A request is pending already.
	}
}

// Ready reports whether there is a certificate to serve.
func (s *Source) Ready() bool { return s.served.Load() != nil }

// GetCertificate returns the certificate for a handshake (tls.Config). It does not block.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if served := s.served.Load(); served != nil {
		return served, nil
	}
	return nil, errors.New("the webhook has no certificate yet")
}

// Run reconciles the Secret and the registrations until ctx ends. It blocks. Several processes may run it.
func (s *Source) Run(ctx context.Context) error {
	for _, factory := range s.factories {
		factory.StartWithContext(ctx)
		defer factory.Shutdown()
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.secrets.HasSynced, s.mutating.HasSynced, s.validating.HasSynced) {
		return nil
	}
	for {
		delay := checkInterval
		if err := s.reconcile(ctx); err != nil && ctx.Err() == nil {
			delay = retryInterval
			// A conflict only means that another process was faster.
			if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) {
				s.failures.Inc()
				s.logger.Warn("reconciling the certificate failed and is retried",
					logging.Object("secret", s.config.Namespace, s.config.Secret), "err", err)
			}
		}
		timer := time.NewTimer(delay)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.pending:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reconcile performs one step. A write of the Secret comes back as a watch event, which starts the next step. The
// registrations get the authority of a certificate before the webhook serves the certificate.
func (s *Source) reconcile(ctx context.Context) error {
	secret := s.secret()
	data, changed, err := renew(secret.Data, s.config.Names, s.now())
	if err != nil {
		return err
	}
	if changed {
		return s.write(ctx, secret, data)
	}
	if err := s.updateBundles(ctx, data[authoritiesKey]); err != nil {
		return err
	}
	return s.load(secret)
}

// secret returns the Secret from the cache, or an empty one if there is none.
func (s *Source) secret() *corev1.Secret {
	for _, object := range s.secrets.GetStore().List() {
		if secret, ok := object.(*corev1.Secret); ok {
			return secret
		}
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.config.Namespace, Name: s.config.Secret}}
}

// load makes the webhook serve the certificate in the Secret.
func (s *Source) load(secret *corev1.Secret) error {
	pair, err := readCertificate(secret.Data)
	if err != nil {
		return err
	}
	if before := s.served.Swap(pair); before == nil || !bytes.Equal(before.Certificate[0], pair.Certificate[0]) {
		s.logger.Info("serving a certificate", "until", pair.Leaf.NotAfter, "dnsNames", pair.Leaf.DNSNames)
	}
	return nil
}

// write stores data in the version of the Secret that was read. If another process has written since, it fails with a
// conflict.
func (s *Source) write(ctx context.Context, secret *corev1.Secret, data map[string][]byte) error {
	client := s.client.CoreV1().Secrets(s.config.Namespace)
	out := secret.DeepCopy()
	out.Data = data
	var err error
	if secret.UID == "" {
		_, err = client.Create(ctx, out, metav1.CreateOptions{})
	} else {
		_, err = client.Update(ctx, out, metav1.UpdateOptions{})
	}
	if err != nil {
		return fmt.Errorf("storing a new certificate in Secret %s/%s: %w", s.config.Namespace, s.config.Secret, err)
	}
	s.logger.Info("created a new certificate", logging.Object("secret", s.config.Namespace, s.config.Secret))
	return nil
}

// updateBundles sets the CA bundles of the registrations. A registration that does not exist gets its bundle when it is
// created.
func (s *Source) updateBundles(ctx context.Context, bundle []byte) error {
	var errs []error
	client := s.client.AdmissionregistrationV1()
	for _, object := range s.mutating.GetStore().List() {
		if r, ok := object.(*admissionregistrationv1.MutatingWebhookConfiguration); ok {
			var entries []entry
			for _, w := range r.Webhooks {
				entries = append(entries, entry{w.Name, w.ClientConfig.CABundle})
			}
			if patch := bundlePatch(r.ObjectMeta, entries, bundle); patch != nil {
				_, err := client.MutatingWebhookConfigurations().
					Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
				errs = append(errs, updating("MutatingWebhookConfiguration", r.Name, err))
			}
		}
	}
	for _, object := range s.validating.GetStore().List() {
		if r, ok := object.(*admissionregistrationv1.ValidatingWebhookConfiguration); ok {
			var entries []entry
			for _, w := range r.Webhooks {
				entries = append(entries, entry{w.Name, w.ClientConfig.CABundle})
			}
			if patch := bundlePatch(r.ObjectMeta, entries, bundle); patch != nil {
				_, err := client.ValidatingWebhookConfigurations().
					Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
				errs = append(errs, updating("ValidatingWebhookConfiguration", r.Name, err))
			}
		}
	}
	return errors.Join(errs...)
}

func updating(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("updating the CA bundle of %s %s: %w", kind, name, err)
}

// entry is a webhook of a registration.
type entry struct {
	name   string
	bundle []byte
}

// bundlePatch sets the bundle of the entries that have a different one, nil if there are none. It applies only to the
// version of the registration that was read.
func bundlePatch(meta metav1.ObjectMeta, entries []entry, bundle []byte) []byte {
	var webhooks []map[string]any
	for _, e := range entries {
		if !bytes.Equal(e.bundle, bundle) {
			client := map[string]any{"caBundle": bundle}
			webhooks = append(webhooks, map[string]any{"name": e.name, "clientConfig": client})
		}
	}
	if len(webhooks) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": meta.UID, "resourceVersion": meta.ResourceVersion}, "webhooks": webhooks,
	})
	if err != nil { // Strings and bytes always have an encoding.
		return nil
	}
	return patch
}
