package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
)

// Config is the configuration of the extender.
type Config struct {
	// Listen is the host:port for the scheduler, /healthz, /readyz and /metrics, over plain HTTP: it must be an address of the loopback
	// interface, since whoever can ask can use up slots. Default 127.0.0.1:10290.
	Listen string `json:"listen"`
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
		Listen:     "127.0.0.1:10290",
		Kube:       kube.Default(),
		Patience:   metav1.Duration{Duration: time.Second},
		WakePeriod: metav1.Duration{Duration: 30 * time.Second},
		Policy:     policy.DefaultConfig(),
		Logging:    logging.Default(),
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Listen, "listen", c.Listen, "loopback `host:port` to serve the scheduler, health and metrics on")
	flags.DurationVar(&c.Patience.Duration, "patience", c.Patience.Duration, "how long an answer may wait for the caches")
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
}

// Validate reports every fault at once.
func (c *Config) Validate() error {
	return errors.Join(
		checkLoopback(c.Listen),
		checkPositive("patience", c.Patience.Duration),
		checkPositive("wakePeriod", c.WakePeriod.Duration),
		c.Kube.Validate(), c.Policy.Validate(), c.Logging.Validate(),
	)
}

func checkLoopback(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen: invalid value %q: must be host:port: %w", address, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return fmt.Errorf("listen: invalid value %q: must be a loopback address such as 127.0.0.1:10290: whoever can ask can use up slots", address)
	}
	return nil
}

func checkPositive(field string, value time.Duration) error {
	if value <= 0 {
		return fmt.Errorf("%s: invalid value %s: must be above zero", field, value)
	}
	return nil
}
