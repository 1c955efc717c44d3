// Package config holds the configuration of the admission program: its fields, defaults, flags and validation.
package config

import (
	"net"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
)

// Config is the configuration of the admission program.
type Config struct {
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
	// Kube is the connection to the cluster. Its rate limits apply to each of three clients: one for Pods, one for the
	// owners of Pods, and one for the Lease.
	Kube kube.Config `json:"kube"`
	// Listen is host:port of the webhook. Default ":8443".
	Listen string `json:"listen"`
	// TLSCertFile is a PEM file with the certificate of the webhook. The program reads it again when it changes.
	// Default none: the program creates and renews a certificate. Set both TLSCertFile and TLSPrivateKeyFile or none.
	TLSCertFile string `json:"tlsCertFile"`
	// TLSPrivateKeyFile is a PEM file with the private key of the webhook. The program reads it again when it changes.
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// TLSSecret is the Secret in LeaderElectionNamespace that holds the certificate that the program creates. Default
	// spillway-admission-tls.
	TLSSecret string `json:"tlsSecret"`
	// TLSNames are the DNS names and IP addresses of that certificate: those by which the API server reaches the
	// webhook. Default spillway-admission.spillway-system.svc.
	TLSNames []string `json:"tlsNames"`
	// HealthListen is host:port of /healthz, /readyz and /metrics, without TLS. Default ":8081".
	HealthListen string `json:"healthListen"`
	// LeaderElectionNamespace is the namespace of the Lease that elects the process that runs the controllers. Default
	// spillway-system.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// LookupTimeout limits how long a review may read the owner of a Pod, its namespace or its claims from the API
	// server, each, if the cache lacks it. Default 500ms. With a longer timeout, fewer Pods are left to the controllers
	// while the API server is slow. The API server gives up on a review after 2s.
	LookupTimeout metav1.Duration `json:"lookupTimeout"`
	// Resync is how often the controllers reconcile every waiting Pod and every cloud Pod although nothing is known to
	// have changed. Default 1m. A shorter interval repairs missed changes sooner, and sends more requests to the API
	// server while many Pods wait.
	Resync metav1.Duration `json:"resync"`
	// OwnerKinds are further kinds whose burst labels apply to Pods, and kinds between them and the Pods: admission
	// follows the references of Pods to their controllers, five at most. It needs the rights to get, list and watch
	// their metadata. Default none: ReplicaSets, Deployments, StatefulSets, Jobs, CronJobs, ReplicationControllers and
	// Pods are always followed. Each kind costs a watch, and memory for the names and labels of its objects.
	OwnerKinds []OwnerKind `json:"ownerKinds"`
	// DeletionCost is the value of controller.kubernetes.io/pod-deletion-cost that cloud Pods without a value get, so
	// that scaling in removes them before local Pods. Default -1000000: below the ranks that Karpenter writes to Pods
	// on its nodes (PodDeletionCostManagement), at most one for each node. Pods of nodes that Karpenter drains go
	// first, with the lowest value there is. A higher value lets more of what other controllers write come first. 0
	// writes none.
	DeletionCost int32 `json:"deletionCost"`
	// SchedulerName is the scheduler, or the profile of one, that managed Pods of the default scheduler are assigned
	// to. It must call the extender. Default empty: they keep the default scheduler, which must call it then.
	SchedulerName string `json:"schedulerName"`
	// OtherSchedulerNames are further schedulers that call the extender. Pods name them themselves. A Pod that names
	// any other scheduler keeps it, does not get the marker resource, and has no quota. Default none.
	OtherSchedulerNames []string `json:"otherSchedulerNames"`
	// MarkerResource adds the marker resource spillway.io/placement to managed Pods. A scheduler with managedResources
	// in its entry of the extender needs it. A scheduler that calls the extender for every Pod that names it does not,
	// and without it node autoscalers add and remove nodes for managed Pods. Default true.
	MarkerResource bool `json:"markerResource"`
	// Policy changes the rules of the policy. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
}

// OwnerKind is a kind of objects that lead to Pods, such as a Rollout.
type OwnerKind struct {
	// Group is the API group, such as argoproj.io, of a further kind whose burst labels apply to Pods, or of a kind
	// between it and the Pods. The fields below are those of the same kind.
	Group string `json:"group"`
	// Version is a version that the API server serves, such as v1alpha1.
	Version string `json:"version"`
	// Resource is the plural name, such as rollouts.
	Resource string `json:"resource"`
	// Kind is the name in owner references, such as Rollout.
	Kind string `json:"kind"`
}

// Owners returns OwnerKinds as the client needs them.
func (c *Config) Owners() map[schema.GroupKind]schema.GroupVersionResource {
	kinds := map[schema.GroupKind]schema.GroupVersionResource{}
	for _, k := range c.OwnerKinds {
		kinds[schema.GroupKind{Group: k.Group, Kind: k.Kind}] = schema.GroupVersionResource{
			Group: k.Group, Version: k.Version, Resource: k.Resource,
		}
	}
	return kinds
}

// maxOwnerKinds limits the watches of one process.
const maxOwnerKinds = 32

// groupsOfKubernetes are those of the kinds that are always followed.
var groupsOfKubernetes = []string{"", "apps", "batch"}

// validateOwnerKinds returns what is wrong with OwnerKinds.
func (c *Config) validateOwnerKinds(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(c.OwnerKinds) > maxOwnerKinds {
		errs = append(errs, field.TooMany(path, len(c.OwnerKinds), maxOwnerKinds))
	}
	seen := map[schema.GroupKind]bool{}
	for i, k := range c.OwnerKinds {
		at, kind := path.Index(i), schema.GroupKind{Group: k.Group, Kind: k.Kind}
		if seen[kind] {
			errs = append(errs, field.Duplicate(at, kind.String()))
		}
		seen[kind] = true
		switch problems := validation.IsDNS1123Subdomain(k.Group); {
		case slices.Contains(groupsOfKubernetes, k.Group):
			errs = append(errs, field.Invalid(at.Child("group"), k.Group,
				"must be another group than those of Kubernetes' workloads, whose kinds are always followed"))
		case len(problems) > 0:
			errs = append(errs, field.Invalid(at.Child("group"), k.Group,
				"must be an API group, such as argoproj.io: "+strings.Join(problems, "; ")))
		}
		for _, part := range []struct{ name, value, example string }{
			{"version", k.Version, "v1alpha1"}, {"resource", k.Resource, "rollouts"},
		} {
			if problems := validation.IsDNS1123Label(part.value); len(problems) > 0 {
				errs = append(errs, field.Invalid(at.Child(part.name), part.value,
					"must be as in the API, such as "+part.example+": "+strings.Join(problems, "; ")))
			}
		}
		if problems := validation.IsDNS1035Label(strings.ToLower(k.Kind)); len(problems) > 0 {
			errs = append(errs, field.Invalid(at.Child("kind"), k.Kind,
				"must be as in owner references, such as Rollout: "+strings.Join(problems, "; ")))
		}
	}
	return errs
}

// Default returns the default configuration.
func Default() *Config {
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
		DeletionCost:            -1_000_000,
		MarkerResource:          true,
		Policy:                  policy.DefaultConfig(),
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the webhook")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile,
		"PEM `file` with the certificate of the webhook; it is read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile,
		"PEM `file` with the private key of the webhook; it is read again when it changes")
	flags.StringVar(&c.TLSSecret, "tls-secret", c.TLSSecret,
		"`Secret` in the namespace of the Lease that holds the certificate that the program creates without "+
			"--tls-cert-file")
	flags.StringSliceVar(&c.TLSNames, "tls-names", c.TLSNames,
		"DNS `names` and IP addresses of the certificate that the program creates")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics")
	leaderelection.AddFlags(flags, &c.LeaderElectionNamespace)
	flags.DurationVar(&c.LookupTimeout.Duration, "lookup-timeout", c.LookupTimeout.Duration,
		"how long a review may read the owner or the claims of a Pod from the API server")
	flags.StringVar(&c.SchedulerName, "scheduler-name", c.SchedulerName,
		"`scheduler` to assign to managed Pods of the default scheduler; empty to keep theirs")
	flags.StringSliceVar(&c.OtherSchedulerNames, "other-scheduler-names", c.OtherSchedulerNames,
		"further `schedulers` that call the extender, which Pods name themselves")
	flags.BoolVar(&c.MarkerResource, "marker-resource", c.MarkerResource,
		"add the marker resource to managed Pods, for schedulers with managedResources in their entry of the extender")
	c.Logging.AddFlags(flags)
	flags.DurationVar(&c.Resync.Duration, "resync", c.Resync.Duration,
		"how often Pods are reconciled although nothing is known to have changed")
}

// maxLookupTimeout leaves time for the response of the webhook: the API server gives up on a review after 2 s.
const maxLookupTimeout = 1500 * time.Millisecond

// minResync keeps the controllers from sending the same requests all the time.
const minResync = time.Second

// Schedulers returns the schedulers that call the extender.
func (c *Config) Schedulers() schedulers.Schedulers {
	return schedulers.Schedulers{
		Assigned: c.SchedulerName, Others: c.OtherSchedulerNames, EveryPod: !c.MarkerResource,
	}
}

// OwnCertificate reports whether the program creates its certificate.
func (c *Config) OwnCertificate() bool { return c.TLSCertFile == "" && c.TLSPrivateKeyFile == "" }

// Validate returns every error at once.
func (c *Config) Validate() error {
	errs := c.Logging.Validate(field.NewPath("logging"))
	errs = append(errs, c.Kube.Validate(field.NewPath("kube"))...)
	errs = append(errs, serve.ValidateAddress(field.NewPath("listen"), c.Listen, ":8443")...)
	errs = append(errs, serve.ValidateAddress(field.NewPath("healthListen"), c.HealthListen, ":8443")...)
	errs = append(errs, c.validateTLS()...)
	if c.LeaderElectionNamespace == "" {
		errs = append(errs, field.Required(field.NewPath("leaderElectionNamespace"), "must be the name of a namespace"))
	}
	if c.SchedulerName != "" {
		errs = append(errs, validateScheduler(field.NewPath("schedulerName"), c.SchedulerName)...)
	}
	for i, name := range c.OtherSchedulerNames {
		errs = append(errs, validateScheduler(field.NewPath("otherSchedulerNames").Index(i), name)...)
	}
	if c.LookupTimeout.Duration <= 0 || c.LookupTimeout.Duration > maxLookupTimeout {
		errs = append(errs, field.Invalid(field.NewPath("lookupTimeout"), c.LookupTimeout.Duration.String(),
			"must be above 0s and at most "+maxLookupTimeout.String()))
	}
	if c.Resync.Duration < minResync {
		errs = append(errs, field.Invalid(field.NewPath("resync"), c.Resync.Duration.String(),
			"must be at least "+minResync.String()))
	}
	errs = append(errs, c.validateOwnerKinds(field.NewPath("ownerKinds"))...)
	if c.DeletionCost > 0 {
		errs = append(errs, field.Invalid(field.NewPath("deletionCost"), c.DeletionCost,
			"must be from -2147483648 to -1, or 0 to write none"))
	}
	return append(errs, c.Policy.Validate(field.NewPath("policy"))...).ToAggregate()
}

func validateScheduler(path *field.Path, name string) field.ErrorList {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return field.ErrorList{field.Invalid(path, name,
			"must be the name of a scheduler or profile: "+strings.Join(problems, "; "))}
	}
	return nil
}

func (c *Config) validateTLS() field.ErrorList {
	if !c.OwnCertificate() {
		return c.validateFiles()
	}
	var errs field.ErrorList
	if problems := validation.IsDNS1123Subdomain(c.TLSSecret); len(problems) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("tlsSecret"), c.TLSSecret,
			"must be the name of a Secret if no certificate files are given: "+strings.Join(problems, "; ")))
	}
	names := field.NewPath("tlsNames")
	if len(c.TLSNames) == 0 {
		errs = append(errs, field.Required(names, "must have at least one name if no certificate files are given"))
	}
	for i, name := range c.TLSNames {
		if problems := validation.IsDNS1123Subdomain(name); net.ParseIP(name) == nil && len(problems) > 0 {
			errs = append(errs, field.Invalid(names.Index(i), name,
				"must be a DNS name or an IP address: "+strings.Join(problems, "; ")))
		}
	}
	return errs
}

// validateFiles rejects a certificate without a key and a key without a certificate.
func (c *Config) validateFiles() field.ErrorList {
	switch {
	case c.TLSCertFile == "":
		return field.ErrorList{field.Required(field.NewPath("tlsCertFile"),
			"must be a file if tlsPrivateKeyFile is set; set both or none")}
	case c.TLSPrivateKeyFile == "":
		return field.ErrorList{field.Required(field.NewPath("tlsPrivateKeyFile"),
			"must be a file if tlsCertFile is set; set both or none")}
	}
	return nil
}
