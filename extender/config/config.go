// Package config is the configuration of the extender: its fields, defaults, flags and validation.
package config

import (
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/extender/wayhome"
	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// Config is the configuration of the extender.
type Config struct {
	// Listen is the host:port that serves the scheduler. Without TLS it must be an address of the loopback interface: a
	// client that can send requests can use up slots. Default 127.0.0.1:10290.
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the certificate and the key of the listener, in PEM. They are read again
	// when they change. Default none: plain HTTP, on loopback only.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// ClientCAFile is the authority that signs the scheduler's client certificate, in PEM. TLS requires it. It is read
	// again when it changes. Default none.
	ClientCAFile string `json:"clientCAFile"`
	// ClientNames are the clients that may send requests over TLS: a common name, DNS name or URI of the client's
	// certificate. Every client that has one of the names can use up slots. Default system:kube-scheduler, the name
	// with which the scheduler of kubeadm authenticates to the API server.
	ClientNames []string `json:"clientNames"`
	// HealthListen is the host:port that serves /healthz, /readyz and /metrics, without TLS. If it is empty, the
	// address for the scheduler serves them. TLS requires it, because the kubelet's probes have no client certificate.
	// Default empty.
	HealthListen string `json:"healthListen"`
	// LeaderElectionNamespace is the namespace of the Lease with which several extenders elect the one that answers. It
	// is required if the extender listens beyond loopback, because then clients may reach several extenders. Default
	// empty: this extender always answers, as it does next to a scheduler.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// SchedulerLease is the Lease, as namespace/name, with which several schedulers elect their leader, if each has an
	// extender of its own. The extender then gives slots only while its scheduler leads, and once it knows which slots
	// the other extenders have given. The scheduler and this extender must see the same host name, as they do in one
	// Pod. Default empty: there is one scheduler, which does not elect a leader.
	SchedulerLease string `json:"schedulerLease"`
	// Kube is the connection to the cluster.
	Kube kube.Config `json:"kube"`
	// AnswerTimeout is how long an answer waits until the caches have seen what the scheduler has seen, and until a
	// slot is written. A longer timeout delays all scheduling while a watch is stalled. A shorter one turns load into
	// errors, after which the scheduler retries the Pod a second later. It must be well below the httpTimeout of the
	// extender entry of the scheduler. Default 1s.
	AnswerTimeout metav1.Duration `json:"answerTimeout"`
	// RequeueInterval is how often Pods that wait although a slot is free are requeued again. It is a safety net: Pods
	// are requeued at once when a slot becomes free. Default 30s.
	RequeueInterval metav1.Duration `json:"requeueInterval"`
	// WayHome is how Pods return from the cloud to local nodes.
	WayHome wayhome.Config `json:"wayHome"`
	// Policy is what the cluster changes about the rules. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
	// Logging is the configuration of the log.
	Logging logging.Config `json:"logging"`
}

// Default returns the default configuration.
func Default() *Config {
	return &Config{
		Listen:          "127.0.0.1:10290",
		ClientNames:     []string{"system:kube-scheduler"},
		Kube:            kube.Default(),
		AnswerTimeout:   metav1.Duration{Duration: time.Second},
		RequeueInterval: metav1.Duration{Duration: 30 * time.Second},
		WayHome:         wayhome.DefaultConfig(),
		Policy:          policy.DefaultConfig(),
		Logging:         logging.Default(),
	}
}

// AddFlags adds a flag for each field that has one.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	text := func(value *string, name, usage string) { flags.StringVar(value, name, *value, usage) }
	text(&c.Listen, "listen", "`host:port` that serves the scheduler; without TLS a loopback address")
	text(&c.TLSCertFile, "tls-cert-file", "PEM `file` with the certificate of the listener; read again when it changes")
	text(&c.TLSPrivateKeyFile, "tls-private-key-file",
		"PEM `file` with the private key of the listener; read again when it changes")
	text(&c.ClientCAFile, "client-ca-file",
		"PEM `file` with the authority that signs the scheduler's client certificate; read again when it changes")
	flags.StringSliceVar(&c.ClientNames, "client-names", c.ClientNames,
		"`names` in client certificates whose owners may send requests")
	text(&c.HealthListen, "health-listen",
		"`host:port` that serves /healthz, /readyz and /metrics, without TLS; if empty, --listen serves them")
	leaderelection.AddFlags(flags, &c.LeaderElectionNamespace)
	text(&c.SchedulerLease, "scheduler-lease",
		"`namespace/name` of the Lease with which the schedulers elect their leader; empty if there is one scheduler")
	flags.DurationVar(&c.AnswerTimeout.Duration, "patience", c.AnswerTimeout.Duration,
		"how long an answer waits for the caches and for the write of a slot (answerTimeout)")
	c.Logging.AddFlags(flags)
}

// Aliases implements config.Renamed.
func (c *Config) Aliases() map[string]string {
	return map[string]string{"patience": "answerTimeout", "wakePeriod": "requeueInterval"}
}

// Validate reports all errors at once.
func (c *Config) Validate() error {
	errs := append(c.validateListeners(), c.validateSchedulerLease()...)
	errs = append(errs, validatePositive(field.NewPath("answerTimeout"), c.AnswerTimeout)...)
	errs = append(errs, validatePositive(field.NewPath("requeueInterval"), c.RequeueInterval)...)
	errs = append(errs, c.Kube.Validate(field.NewPath("kube"))...)
	errs = append(errs, c.WayHome.Validate(field.NewPath("wayHome"))...)
	errs = append(errs, c.Policy.Validate(field.NewPath("policy"))...)
	return append(errs, c.Logging.Validate(field.NewPath("logging"))...).ToAggregate()
}

func (c *Config) validateSchedulerLease() field.ErrorList {
	path := field.NewPath("schedulerLease")
	if c.SchedulerLease == "" {
		return nil
	}
	if parts := strings.Split(c.SchedulerLease, "/"); len(parts) != 2 || slices.Contains(parts, "") {
		return field.ErrorList{field.Invalid(path, c.SchedulerLease,
			"must be namespace/name, such as kube-system/kube-scheduler")}
	}
	if c.LeaderElectionNamespace != "" {
		return field.ErrorList{field.Invalid(path, c.SchedulerLease,
			"must be empty with leaderElectionNamespace: either the extenders or their schedulers elect a leader")}
	}
	return nil
}

func validatePositive(path *field.Path, value metav1.Duration) field.ErrorList {
	if value.Duration <= 0 {
		return field.ErrorList{field.Invalid(path, value.Duration.String(), "must be greater than zero")}
	}
	return nil
}
