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

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
)

const (
	// lookInterval is how often the time that is left is looked at.
	lookInterval = time.Hour
	// retryInterval is how soon what failed is tried again.
	retryInterval = time.Second
)

// Config says where the certificate lives and whom it is for.
type Config struct {
	// Namespace and Secret are where it is kept.
	Namespace, Secret string
	// Names are the DNS names and IP addresses by which the API server reaches the webhook; one at least.
	Names []string
	// Registration is the name of the webhook configurations that are to know the authority.
	Registration string
}

// Source serves the certificate of the Secret, and keeps Secret and registrations right.
type Source struct {
	client    kubernetes.Interface
	config    Config
	now       func() time.Time
	logger    *slog.Logger
	factories []informers.SharedInformerFactory

	secrets, mutating, validating cache.SharedIndexInformer

	wake   chan struct{}
	served atomic.Pointer[tls.Certificate]
}

// New makes a Source. It starts nothing.
func New(client kubernetes.Interface, config Config, now func() time.Time, logger *slog.Logger) (*Source, error) {
	s := &Source{client: client, config: config, now: now, logger: logger, wake: make(chan struct{}, 1)}
	secrets := s.factory(config.Secret, informers.WithNamespace(config.Namespace))
	registrations := s.factory(config.Registration)
	s.secrets = secrets.Core().V1().Secrets().Informer()
	s.mutating = registrations.Admissionregistration().V1().MutatingWebhookConfigurations().Informer()
	s.validating = registrations.Admissionregistration().V1().ValidatingWebhookConfigurations().Informer()
	for _, informer := range []cache.SharedIndexInformer{s.secrets, s.mutating, s.validating} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: func(any) { s.look() }, UpdateFunc: func(_, _ any) { s.look() }, DeleteFunc: func(any) { s.look() },
		}); err != nil {
			return nil, fmt.Errorf("watching the certificate: %w", err)
		}
	}
	return s, nil
}

// factory watches objects of one name: a right to more is not needed.
func (s *Source) factory(name string, options ...informers.SharedInformerOption) informers.SharedInformerFactory {
	options = append(options, informers.WithTweakListOptions(func(o *metav1.ListOptions) {
		o.FieldSelector = fields.OneTermEqualSelector(metav1.ObjectNameField, name).String()
	}))
	factory := informers.NewSharedInformerFactoryWithOptions(s.client, 0, options...)
	s.factories = append(s.factories, factory)
	return factory
}

func (s *Source) look() {
	select {
	case s.wake <- struct{}{}:
	default: // The next look is due already.
	}
}

// Ready tells whether there is a certificate to serve.
func (s *Source) Ready() bool { return s.served.Load() != nil }

// GetCertificate is for tls.Config. It does not block.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if served := s.served.Load(); served != nil {
		return served, nil
	}
	return nil, errors.New("the webhook has no certificate yet")
}

// Run keeps everything right until ctx ends. It blocks. Several processes may run it.
func (s *Source) Run(ctx context.Context) error {
	for _, factory := range s.factories {
		factory.StartWithContext(ctx)
		defer factory.Shutdown()
	}
	if !cache.WaitForCacheSync(ctx.Done(), s.secrets.HasSynced, s.mutating.HasSynced, s.validating.HasSynced) {
		return nil
	}
	for {
		pause := lookInterval
		if err := s.reconcile(ctx); err != nil && ctx.Err() == nil {
			pause = retryInterval
			if !apierrors.IsConflict(err) && !apierrors.IsAlreadyExists(err) { // Another process was faster.
				s.logger.Warn("trying again", "certificate", s.config.Namespace+"/"+s.config.Secret, "err", err)
			}
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-s.wake:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// reconcile makes one step: a write of the Secret is seen by the watch, and the next step starts from what is there then. The API server is
// told the authority of a certificate before the certificate is served.
func (s *Source) reconcile(ctx context.Context) error {
	secret := s.secret()
	data, changed, err := renew(secret.Data, s.config.Names, s.now())
	if err != nil {
		return err
	}
	if changed {
		return s.write(ctx, secret, data)
	}
	if err := s.announce(ctx, data[authoritiesKey]); err != nil {
		return err
	}
	return s.load(secret)
}

// secret is the Secret as the watch knows it, an empty one where there is none.
func (s *Source) secret() *corev1.Secret {
	for _, object := range s.secrets.GetStore().List() {
		if secret, ok := object.(*corev1.Secret); ok {
			return secret
		}
	}
	return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: s.config.Namespace, Name: s.config.Secret}}
}

// load serves what the Secret holds.
func (s *Source) load(secret *corev1.Secret) error {
	pair, err := readCertificate(secret.Data)
	if err != nil {
		return err
	}
	if before := s.served.Swap(pair); before == nil || !bytes.Equal(before.Certificate[0], pair.Certificate[0]) {
		s.logger.Info("serving a certificate", "notAfter", pair.Leaf.NotAfter, "dnsNames", pair.Leaf.DNSNames)
	}
	return nil
}

// write stores data in the Secret as it was seen: another process that has written since makes it a conflict.
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
	s.logger.Info("made a new certificate", "secret", s.config.Namespace+"/"+s.config.Secret)
	return nil
}

// announce tells the API server which authorities to trust. A registration that is not there is told when it comes.
func (s *Source) announce(ctx context.Context, bundle []byte) error {
	var faults []error
	client := s.client.AdmissionregistrationV1()
	for _, object := range s.mutating.GetStore().List() {
		if r, ok := object.(*admissionregistrationv1.MutatingWebhookConfiguration); ok {
			var entries []entry
			for _, w := range r.Webhooks {
				entries = append(entries, entry{w.Name, w.ClientConfig.CABundle})
			}
			if patch := bundlePatch(r.ObjectMeta, entries, bundle); patch != nil {
				_, err := client.MutatingWebhookConfigurations().Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
				faults = append(faults, announcing("MutatingWebhookConfiguration", r.Name, err))
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
				_, err := client.ValidatingWebhookConfigurations().Patch(ctx, r.Name, types.StrategicMergePatchType, patch, metav1.PatchOptions{})
				faults = append(faults, announcing("ValidatingWebhookConfiguration", r.Name, err))
			}
		}
	}
	return errors.Join(faults...)
}

func announcing(kind, name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("telling %s %s the authority: %w", kind, name, err)
}

// entry is a webhook of a registration.
type entry struct {
	name   string
	bundle []byte
}

// bundlePatch sets the bundle of those entries that have another one; nil where none has. It holds for the registration as it was
// seen only.
func bundlePatch(meta metav1.ObjectMeta, entries []entry, bundle []byte) []byte {
	var webhooks []map[string]any
	for _, e := range entries {
		if !bytes.Equal(e.bundle, bundle) {
			webhooks = append(webhooks, map[string]any{"name": e.name, "clientConfig": map[string]any{"caBundle": bundle}})
		}
	}
	if len(webhooks) == 0 {
		return nil
	}
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": meta.UID, "resourceVersion": meta.ResourceVersion}, "webhooks": webhooks,
	})
	if err != nil { // Strings and bytes can always be encoded.
		return nil
	}
	return patch
}
