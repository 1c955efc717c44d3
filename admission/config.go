package main

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// Config is the configuration of the admission program.
type Config struct {
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
	// Kube is the connection to the cluster. Its limits hold for each of three clients: what tends Pods, what looks up owners for
	// reviews, and what holds the Lease.
	Kube kube.Config `json:"kube"`
	// Listen is host:port of the webhook. Default ":8443".
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the webhook's certificate, PEM. They are read again when they change. Default none: the
	// program makes and renews its own.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// TLSSecret is where a certificate of its own is kept, in LeaderElectionNamespace. Default spillway-admission-tls.
	TLSSecret string `json:"tlsSecret"`
	// TLSNames are the DNS names and IP addresses that it is for: those by which the registrations reach the webhook. Default
	// spillway-admission.spillway-system.svc.
	TLSNames []string `json:"tlsNames"`
	// HealthListen is host:port of /healthz, /readyz and /metrics, without TLS. Default ":8081".
	HealthListen string `json:"healthListen"`
	// LeaderElectionNamespace is where the Lease is that makes one process of several run the controllers. Default spillway-system.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// LookupTimeout is how long a review may ask the API server for a Pod's owner, its namespace or its claims, each, that the watch
	// has not brought yet. Default 500ms.
	// With more, fewer Pods are left to the controllers while the API server is slow; the webhook's registration gives up after 2s.
	LookupTimeout metav1.Duration `json:"lookupTimeout"`
	// Resync is how often every waiting Pod and every cloud Pod is looked at again though nothing was seen to change. Default 1m.
	// Less repairs sooner what was missed, and asks more of the API server while many Pods wait.
	Resync metav1.Duration `json:"resync"`
	// SchedulerName is the scheduler that asks the extender, for a cluster that runs it beside its own: keyed Pods of the default
	// scheduler get it. Default empty: every Pod keeps its scheduler.
	SchedulerName string `json:"schedulerName"`
	// Policy is what the cluster changes about the rules. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
}

func defaultConfig() *Config {
	return &Config{
		Logging:                 logging.Default(),
		Kube:                    kube.Default(),
		Listen:                  ":8443",
		TLSSecret:               "spillway-admission-tls",
		TLSNames:                []string{"spillway-admission.spillway-system.svc"},
		HealthListen:            ":8081",
		LeaderElectionNamespace: "spillway-system",
		LookupTimeout:           metav1.Duration{Duration: 500 * time.Millisecond},
		Resync:                  metav1.Duration{Duration: time.Minute},
		Policy:                  policy.DefaultConfig(),
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the webhook")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "PEM `file` with the webhook's certificate; read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile, "PEM `file` with the webhook's private key")
	flags.StringVar(&c.TLSSecret, "tls-secret", c.TLSSecret, "`Secret` in the namespace of the Lease with a certificate of the program's own making, where no files are given")
	flags.StringSliceVar(&c.TLSNames, "tls-names", c.TLSNames, "DNS `names` and IP addresses that a certificate of its own is for")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace, "namespace of the Lease of the controllers")
	flags.DurationVar(&c.LookupTimeout.Duration, "lookup-timeout", c.LookupTimeout.Duration, "how long a review may ask the API server for a Pod's owner or claims")
	flags.StringVar(&c.SchedulerName, "scheduler-name", c.SchedulerName, "`scheduler` that keyed Pods of the default scheduler get; empty leaves them theirs")
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
	flags.DurationVar(&c.Resync.Duration, "resync", c.Resync.Duration, "how often Pods are looked at again though nothing was seen to change")
}

// maxLookup leaves the webhook's answer time to arrive: its registration gives up after 2 s.
const maxLookup = 1500 * time.Millisecond

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Logging.Validate(field.NewPath("logging")).ToAggregate(), c.Kube.Validate(field.NewPath("kube")).ToAggregate(), address("listen", c.Listen), address("health-listen", c.HealthListen)}
	faults = append(faults, c.validateTLS()...)
	if c.LeaderElectionNamespace == "" {
		faults = append(faults, errors.New("leader-election-namespace: must not be empty"))
	}
	if words := validation.IsDNS1123Subdomain(c.SchedulerName); c.SchedulerName != "" && len(words) > 0 {
		faults = append(faults, fmt.Errorf("scheduler-name: invalid value %q: must be the name of a scheduler or profile: %s", c.SchedulerName, strings.Join(words, "; ")))
	}
	if c.LookupTimeout.Duration <= 0 || c.LookupTimeout.Duration > maxLookup {
		faults = append(faults, fmt.Errorf("lookup-timeout: invalid value %s: must be above 0s and at most %s", c.LookupTimeout.Duration, maxLookup))
	}
	if c.Resync.Duration < time.Second {
		faults = append(faults, fmt.Errorf("resync: invalid value %s: must be 1s or more", c.Resync.Duration))
	}
	if err := c.Policy.Validate(field.NewPath("policy")).ToAggregate(); err != nil {
		faults = append(faults, err)
	}
	return errors.Join(faults...)
}

func address(field, value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return fmt.Errorf("%s: invalid value %q: must be host:port, such as :8443", field, value)
	}
	return nil
}

// ownCertificate tells whether the program makes its certificate.
func (c *Config) ownCertificate() bool { return c.TLSCertFile == "" && c.TLSPrivateKeyFile == "" }

func (c *Config) validateTLS() []error {
	if !c.ownCertificate() {
		if c.TLSCertFile == "" {
			return []error{errors.New("tls-cert-file: must name a file, as tls-private-key-file does, or both must be empty")}
		}
		if c.TLSPrivateKeyFile == "" {
			return []error{errors.New("tls-private-key-file: must name a file, as tls-cert-file does, or both must be empty")}
		}
		return nil
	}
	var faults []error
	if words := validation.IsDNS1123Subdomain(c.TLSSecret); len(words) > 0 {
		faults = append(faults, fmt.Errorf("tls-secret: invalid value %q: must be the name of a Secret where no certificate files are given: %s", c.TLSSecret, strings.Join(words, "; ")))
	}
	if len(c.TLSNames) == 0 {
		faults = append(faults, errors.New("tls-names: must have one name at least where no certificate files are given"))
	}
	for _, name := range c.TLSNames {
		if words := validation.IsDNS1123Subdomain(name); net.ParseIP(name) == nil && len(words) > 0 {
			faults = append(faults, fmt.Errorf("tls-names: invalid value %q: must be a DNS name or an IP address: %s", name, strings.Join(words, "; ")))
		}
	}
	return faults
}
