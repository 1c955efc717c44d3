// Package kube configures the connection of a program to its cluster, and follows objects of it.
package kube

import (
	"fmt"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// Config selects the cluster and limits the requests to it.
type Config struct {
	// Kubeconfig is the path of a kubeconfig file. Default empty: the program uses the service account of its Pod.
	Kubeconfig string `json:"kubeconfig"`
	// QPS is how many requests per second the program may send in the long run. Less spares the API server, more shortens
	// the delays of large bursts. Default 200: with the 5 of client-go, a burst of 300 Pods takes minutes.
	QPS float32 `json:"qps"`
	// Burst is how many requests the program may send at once. Default 400.
	Burst int `json:"burst"`
}

// Default returns the default configuration.
func Default() Config { return Config{QPS: 200, Burst: 400} }

// AddFlags binds the fields.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(
		&c.Kubeconfig,
		"kubeconfig",
		c.Kubeconfig,
		"kubeconfig `file`; by default the service account of the Pod",
	)
	flags.Float32Var(&c.QPS, "kube-api-qps", c.QPS, "requests per second to the API server in the long run")
	flags.IntVar(&c.Burst, "kube-api-burst", c.Burst, "requests to the API server at once")
}

// Validate returns every error at once. path is the field that holds this part of the configuration.
func (c Config) Validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if !(c.QPS > 0) { // NaN is not above zero either.
		errs = append(errs, field.Invalid(path.Child("qps"), c.QPS, "must be above zero"))
	}
	if c.Burst <= 0 {
		errs = append(errs, field.Invalid(path.Child("burst"), c.Burst, "must be above zero"))
	}
	return errs
}

// REST returns the client configuration. userAgent is the program's name. REST reads files and does not connect.
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

// StripManagedFields is a transform of informers. It halves the memory of a cached object.
func StripManagedFields(obj any) (any, error) {
	if object, ok := obj.(metav1.Object); ok {
		object.SetManagedFields(nil)
	}
	return obj, nil
}
