// Package kube makes the connection of a program to its cluster.
package kube

import (
	"errors"
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config says which cluster, and how hard it may be asked.
type Config struct {
	// Kubeconfig is a file; empty for the service account of the Pod that the program runs in.
	Kubeconfig string `json:"kubeconfig"`
	// QPS is how many requests a second the program may send in the long run. Default 200; client-go's own 5 would make
	// each of 300 Pods wait for minutes.
	QPS float32 `json:"qps"`
	// Burst is how many may be sent at once. Default 400.
	Burst int `json:"burst"`
}

// Default returns the default configuration.
func Default() Config { return Config{QPS: 200, Burst: 400} }

// AddFlags binds the fields.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Kubeconfig, "kubeconfig", c.Kubeconfig, "kubeconfig `file`; without one the service account of the Pod")
	flags.Float32Var(&c.QPS, "kube-api-qps", c.QPS, "requests a second to the API server in the long run")
	flags.IntVar(&c.Burst, "kube-api-burst", c.Burst, "requests to the API server at once")
}

// Validate reports every fault at once.
func (c Config) Validate() error {
	var faults []error
	if !(c.QPS > 0) { // NaN is not above zero either.
		faults = append(faults, fmt.Errorf("kube-api-qps: invalid value %g: must be above zero", c.QPS))
	}
	if c.Burst <= 0 {
		faults = append(faults, fmt.Errorf("kube-api-burst: invalid value %d: must be above zero", c.Burst))
	}
	return errors.Join(faults...)
}

// REST is the client configuration. userAgent is the program's name. It reads files and does not connect.
func (c Config) REST(userAgent string) (*rest.Config, error) {
	config, err := c.connection()
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst, config.UserAgent = c.QPS, c.Burst, "spillway-"+userAgent
	return config, nil
}

func (c Config) connection() (*rest.Config, error) {
	if c.Kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("reading the service account of the Pod (outside a Pod set --kubeconfig): %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", c.Kubeconfig, err)
	}
	return config, nil
}
