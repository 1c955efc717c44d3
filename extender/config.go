package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// Config is the configuration of the extender.
type Config struct {
	// Listen is the host:port for the scheduler. Without TLS it must be an address of the loopback interface, since whoever can ask can use
	// up slots. Default 127.0.0.1:10290.
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the certificate and key of the listener, PEM. They are read again when they change. Default
	// none: plain HTTP, on loopback only.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// ClientCAFile is the authority of the scheduler's client certificate, PEM, needed with TLS. It is read again when it changes.
	ClientCAFile string `json:"clientCAFile"`
	// ClientNames are who may ask over TLS: a common name, DNS name or URI of the client's certificate. More names let in more who can
	// use up slots. Default system:kube-scheduler, as which kubeadm's scheduler is known to the API server.
	ClientNames []string `json:"clientNames"`
	// HealthListen is the host:port of /healthz, /readyz and /metrics, without TLS. Empty serves them on Listen; with TLS it is needed, for
	// the kubelet's probes have no client certificate. Default empty.
	HealthListen string `json:"healthListen"`
	// LeaderElectionNamespace is where the Lease is that makes one extender of several the one that answers. It is needed beyond loopback, where
	// several may be reached. Default empty: this one answers whenever it is asked, as beside a scheduler.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// SchedulerLease is the Lease, as namespace/name, by which the scheduler beside this extender is elected from several that have one each. A slot is then given only
	// while that scheduler leads, and once this extender knows what those beside the others have given. The scheduler's host must have this one's
	// name, as in a Pod that they share. Default empty: there is one scheduler, and it does not elect.
	SchedulerLease string `json:"schedulerLease"`
	// Kube is the connection to the cluster.
	Kube kube.Config `json:"kube"`
	// Patience is how long an answer may wait until the caches have seen what the scheduler has seen, and a slot is written down. More
	// holds up all scheduling while a watch stalls; less turns load into errors, which the scheduler tries again after a second. Must be
	// well below the httpTimeout of the extender entry. Default 1s.
	Patience metav1.Duration `json:"patience"`
	// WakePeriod is how often waiting Pods that find a free slot are woken once more. It is a net only: they are woken at once when the slot
	// frees. Default 30s.
	WakePeriod metav1.Duration `json:"wakePeriod"`
	// Policy is what the cluster changes about the rules. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
}

func defaultConfig() *Config {
	return &Config{
		Listen:      "127.0.0.1:10290",
		ClientNames: []string{"system:kube-scheduler"},
		Kube:        kube.Default(),
		Patience:    metav1.Duration{Duration: time.Second},
		WakePeriod:  metav1.Duration{Duration: 30 * time.Second},
		Policy:      policy.DefaultConfig(),
		Logging:     logging.Default(),
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` to serve the scheduler on; without TLS a loopback address")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "PEM `file` with the certificate of the listener; read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile, "PEM `file` with the private key of the listener")
	flags.StringVar(&c.ClientCAFile, "client-ca-file", c.ClientCAFile, "PEM `file` with the authority of the scheduler's client certificate; read again when it changes")
	flags.StringSliceVar(&c.ClientNames, "client-names", c.ClientNames, "`names` in client certificates that may ask")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics, without TLS; empty for the one of --listen")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace, "`namespace` of the Lease that makes one extender of several answer; needed beyond loopback")
	flags.StringVar(&c.SchedulerLease, "scheduler-lease", c.SchedulerLease, "`namespace/name` of the Lease that elects the scheduler beside this extender; empty where it has no others")
	flags.DurationVar(&c.Patience.Duration, "patience", c.Patience.Duration, "how long an answer may wait for the caches")
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	return errors.Join(
		c.validateListeners(),
		c.validateSchedulerLease(),
		checkPositive("patience", c.Patience.Duration),
		checkPositive("wakePeriod", c.WakePeriod.Duration),
		c.Kube.Validate(field.NewPath("kube")).ToAggregate(), c.Policy.Validate(field.NewPath("policy")).ToAggregate(),
		c.Logging.Validate(field.NewPath("logging")).ToAggregate(),
	)
}

func (c *Config) validateSchedulerLease() error {
	if c.SchedulerLease == "" {
		return nil
	}
	if parts := strings.Split(c.SchedulerLease, "/"); len(parts) != 2 || slices.Contains(parts, "") {
		return fmt.Errorf("schedulerLease: invalid value %q: must be namespace/name, such as kube-system/kube-scheduler", c.SchedulerLease)
	}
	if c.LeaderElectionNamespace != "" {
		return fmt.Errorf("schedulerLease: invalid value %q: must be empty with leaderElectionNamespace: the extenders elect a leader, or their schedulers do", c.SchedulerLease)
	}
	return nil
}

func checkPositive(field string, value time.Duration) error {
	if value <= 0 {
		return fmt.Errorf("%s: invalid value %s: must be above zero", field, value)
	}
	return nil
}
