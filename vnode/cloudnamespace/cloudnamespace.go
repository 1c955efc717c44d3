// Package cloudnamespace makes sure that the place in the cloud where Pods go is there and usable: the CCI namespace, Active, and in it a network,
// Ready. What is missing is made once; what is there is taken as it is, and never changed. Remove takes a namespace away again that nobody uses
// any more.
package cloudnamespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// networkName is that of a network of our making.
const networkName = "spillway"

// longestDelay is between two looks at most.
const longestDelay = 10 * time.Second

// Config says which place.
type Config struct {
	// Namespace is the CCI namespace.
	Namespace string
	// Subnets are ids of Neutron IPv4 subnets, SecurityGroups of security groups: for a network that must be made.
	Subnets, SecurityGroups []string
	// VPCID, NetworkID, AvailabilityZone and CIDR describe the subnet where the service is CCI 1.0: see cci.NetworkSpec.
	VPCID, NetworkID, AvailabilityZone, CIDR string
	// ProjectID and DomainID are written onto a new network; the domain may be empty.
	ProjectID, DomainID string
	// ClusterID is written onto a new namespace.
	ClusterID string
	// Insist has also tried again, for ever, what only an operator can mend: where Pods run, nobody may give up.
	Insist bool
	// Report is told after every look what stands against the place, nil once nothing does; nil for nobody.
	Report func(error)
	// Poll is how often to look, the first time; it doubles up to 10 s.
	Poll time.Duration
}

// ErrUnusable is wrapped by errors that only an operator can mend: trying again is of no use.
var ErrUnusable = errors.New("the place in the cloud is not usable")

// Ensure blocks until the place is usable, until ctx ends, or until it is clear that it will not become so (ErrUnusable, with what would
// mend it), unless Config.Insist. Errors that may pass, a missing permission among them, are logged and tried again. It may be called again.
func Ensure(ctx context.Context, api cci.API, config Config, logger *slog.Logger) error {
	backoff := wait.Backoff{Duration: config.Poll, Factor: 2, Jitter: 0.2, Steps: 20, Cap: longestDelay}
	said := ""
	for {
		missing, err := ensure(ctx, api, config)
		if cci.IsPermanent(err) {
			err = fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		config.report(missing, err)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("preparing cloud namespace %s: %w", config.Namespace, ctx.Err())
		case errors.Is(err, ErrUnusable) && !config.Insist:
			return err
		case err == nil && missing == "":
			if said != "" {
				logger.Info("the place in the cloud is usable", "namespace", config.Namespace)
			}
			return nil
		case err != nil && err.Error() != said:
			said = err.Error()
			logger.Error("the place in the cloud cannot be prepared and will be tried again", "namespace", config.Namespace, "err", err)
		case err == nil && missing != said:
			said = missing
			logger.Info("waiting for the place in the cloud", "namespace", config.Namespace, "for", missing)
		}
		timer := time.NewTimer(max(backoff.Step(), cci.RetryAfter(err)))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (c Config) report(missing string, err error) {
	if err == nil && missing != "" {
		err = fmt.Errorf("waiting for the place in the cloud: %s", missing)
	}
	if c.Report != nil {
		c.Report(err)
	}
}

// ensure looks once, makes what is missing, and says what has still to be waited for.
func ensure(ctx context.Context, api cci.API, config Config) (missing string, err error) {
	if missing, err := ensureNamespace(ctx, api, config); err != nil || missing != "" {
		return missing, err
	}
	return ensureNetwork(ctx, api, config)
}

func ensureNamespace(ctx context.Context, api cci.API, config Config) (missing string, err error) {
	namespace, err := api.GetNamespace(ctx, config.Namespace)
	if cci.IsNotFound(err) {
		namespace, err = api.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: config.Namespace, Annotations: map[string]string{policy.CloudClusterKey: config.ClusterID},
		}})
	}
	switch {
	case cci.IsTaken(err):
		return "the namespace", nil // It has been made meanwhile, by another virtual node: look again.
	case err != nil:
		return "", err
	case namespace.Status.Phase == corev1.NamespaceActive:
		return "", nil
	}
	return fmt.Sprintf("namespace %s to be Active: it is %q", config.Namespace, namespace.Status.Phase), nil
}

func ensureNetwork(ctx context.Context, api cci.API, config Config) (missing string, err error) {
	networks, err := api.ListNetworks(ctx, config.Namespace)
	if err != nil {
		return "", err
	}
	if len(networks) == 0 {
		return createNetwork(ctx, api, config)
	}
	// Whatever is Ready carries Pods: the console makes a network of its own with a namespace. One without free addresses is set up all the
	// same, and the Pods that run in it must be tended.
	for _, network := range networks {
		if network.Status.Status == cci.NetworkReady || network.Status.Status == cci.NetworkIPInsufficient {
			return "", checkSubnets(network, config)
		}
	}
	network := networks[0]
	if network.Status.Status == cci.NetworkFailed {
		return "", fmt.Errorf("%w: network %s of cloud namespace %s has failed: %s; %s, and delete the network",
			ErrUnusable, network.Name, config.Namespace, conditionWords(network.Status.Conditions), commonFaults)
	}
	return fmt.Sprintf("network %s to be Ready: it is %q (%s); if it stays so, %s",
		network.Name, network.Status.Status, conditionWords(network.Status.Conditions), commonFaults), nil
}

// commonFaults are what is behind most networks that never become Ready: the service takes any id.
const commonFaults = "check that the subnets are given by their Neutron ids, not the VPC's, and are of this region, and that the security groups exist"

// checkSubnets refuses a network that puts Pods elsewhere than configured: they would be unreachable, and nobody would see why.
func checkSubnets(network cci.Network, config Config) error {
	var has []string
	for _, subnet := range network.Spec.Subnets {
		has = append(has, subnet.SubnetID)
	}
	for _, wanted := range config.Subnets {
		if !slices.Contains(has, wanted) {
			return fmt.Errorf("%w: network %s of cloud namespace %s is in subnets %s, not in the configured %s; "+
				"configure its subnets, or another namespace",
				ErrUnusable, network.Name, config.Namespace, strings.Join(has, ", "), wanted)
		}
	}
	return nil
}

func createNetwork(ctx context.Context, api cci.API, config Config) (missing string, err error) {
	network := &cci.Network{
		ObjectMeta: metav1.ObjectMeta{Name: networkName, Annotations: map[string]string{cci.NetworkProjectAnnotation: config.ProjectID}},
		Spec: cci.NetworkSpec{
			NetworkType: cci.NetworkTypeNeutron, SecurityGroups: config.SecurityGroups, IPFamilies: []string{"IPv4"}, DefaultNetwork: true,
			VPCID: config.VPCID, NetworkID: config.NetworkID, AvailabilityZone: config.AvailabilityZone, CIDR: config.CIDR,
		},
	}
	if config.DomainID != "" {
		network.Annotations[cci.NetworkDomainAnnotation] = config.DomainID
	}
	for _, id := range config.Subnets {
		network.Spec.Subnets = append(network.Spec.Subnets, cci.Subnet{SubnetID: id})
	}
	if _, err := api.CreateNetwork(ctx, config.Namespace, network); err != nil && !cci.IsTaken(err) {
		return "", err
	}
	return "the new network", nil
}

func conditionWords(conditions []metav1.Condition) string {
	var words []string
	for _, c := range conditions {
		if c.Status != metav1.ConditionTrue {
			words = append(words, strings.TrimSpace(c.Type+" "+c.Reason+" "+c.Message))
		}
	}
	if len(words) == 0 {
		return "without saying why"
	}
	return strings.Join(words, "; ")
}
