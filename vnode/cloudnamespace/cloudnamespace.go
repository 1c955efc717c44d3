// Package cloudnamespace ensures that the cloud namespace exists and is ready for Pods: the CCI namespace is Active
// and has a network that is Ready. It creates what does not exist, once. Of what exists it changes two things: it adds
// subnets to a network, and it sets how many addresses the network keeps ready. Remove deletes a cloud namespace that
// is no longer used.
package cloudnamespace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// networkName is the name of a network that this package creates.
const networkName = "spillway"

// maxInterval is the longest interval between two checks.
const maxInterval = 10 * time.Second

// Config describes the cloud namespace.
type Config struct {
	// Namespace is the name of the CCI namespace.
	Namespace string
	// Subnets are the IDs of Neutron IPv4 subnets. Those that the network does not have are added to it.
	Subnets []string
	// SecurityGroups are the IDs of security groups for a new network.
	SecurityGroups []string
	// WarmPool is how many addresses the network keeps ready.
	WarmPool WarmPool
	// VPCID, NetworkID, AvailabilityZone and CIDR describe the subnet to CCI 1.0: see cci.NetworkSpec.
	VPCID, NetworkID, AvailabilityZone, CIDR string
	// ProjectID and DomainID are written onto a new network. DomainID may be empty.
	ProjectID, DomainID string
	// ClusterID is written onto a new namespace.
	ClusterID string
	// RetryForever retries even what only an administrator can correct. It is set if Pods already run.
	RetryForever bool
	// Report is called after each check with the reason why the cloud namespace is not ready, or nil if it is. Optional.
	Report func(error)
	// Poll is the first interval between two checks. It doubles up to 10s.
	Poll time.Duration
}

// ErrUnusable is wrapped by errors that only an administrator can correct: a retry does not help.
var ErrUnusable = errors.New("the cloud namespace cannot be used")

// Ensure blocks until the cloud namespace is ready or ctx ends. Unless Config.RetryForever is set, it also returns
// when the cloud namespace cannot become ready, with ErrUnusable and a message that says what to correct. It logs and
// retries errors that may be temporary, such as a missing permission. It may be called again.
func Ensure(ctx context.Context, api cci.API, config Config, logger *slog.Logger) error {
	backoff := wait.Backoff{Duration: config.Poll, Factor: 2, Jitter: 0.2, Steps: 20, Cap: maxInterval}
	logged := ""
	for {
		pending, err := ensure(ctx, api, config, logger)
		if cci.IsRefused(err) {
			err = fmt.Errorf("%w: %w", ErrUnusable, err)
		}
		config.report(pending, err)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("preparing cloud namespace %s: %w", config.Namespace, ctx.Err())
		case errors.Is(err, ErrUnusable) && !config.RetryForever:
			return err
		case err == nil && pending == "":
			if logged != "" {
				logger.Info("the cloud namespace is ready", "cloudNamespace", config.Namespace)
			}
			return nil
		case err != nil && err.Error() != logged:
			logged = err.Error()
			logger.Error("failed to prepare the cloud namespace, will retry", "cloudNamespace", config.Namespace, "err", err)
		case err == nil && pending != logged:
			logged = pending
			logger.Info("waiting for the cloud namespace", "cloudNamespace", config.Namespace, "cause", pending)
		}
		timer := time.NewTimer(max(backoff.Step(), cci.RetryAfter(err)))
		select {
		case <-ctx.Done():
			timer.Stop()
		case <-timer.C:
		}
	}
}

func (c Config) report(pending string, err error) {
	if err == nil && pending != "" {
		err = fmt.Errorf("waiting for the cloud namespace: %s", pending)
	}
	if c.Report != nil {
		c.Report(err)
	}
}

// ensure checks once, creates what does not exist, and returns what is not ready yet.
func ensure(ctx context.Context, api cci.API, config Config, logger *slog.Logger) (pending string, err error) {
	if pending, err := ensureNamespace(ctx, api, config); err != nil || pending != "" {
		return pending, err
	}
	return ensureNetwork(ctx, api, config, logger)
}

func ensureNamespace(ctx context.Context, api cci.API, config Config) (pending string, err error) {
	namespace, err := api.GetNamespace(ctx, config.Namespace)
	if cci.IsNotFound(err) {
		namespace, err = api.CreateNamespace(ctx, &cci.Namespace{ObjectMeta: metav1.ObjectMeta{
			Name: config.Namespace, Annotations: map[string]string{policy.CloudClusterKey: config.ClusterID},
		}})
	}
	switch {
	case cci.IsTaken(err):
		return "the namespace", nil // Another virtual node has created it meanwhile. Check again.
	case err != nil:
		return "", err
	case namespace.Status.Phase == corev1.NamespaceActive:
		return "", nil
	}
	return fmt.Sprintf("namespace %s to be Active: it is %q", config.Namespace, namespace.Status.Phase), nil
}

func ensureNetwork(ctx context.Context, api cci.API, config Config, logger *slog.Logger) (pending string, err error) {
	networks, err := api.ListNetworks(ctx, config.Namespace)
	if err != nil {
		return "", err
	}
	if len(networks) == 0 {
		return createNetwork(ctx, api, config)
	}
	// Any Ready network serves: the console creates one together with a namespace. A network without free addresses is
	// set up too, and the Pods that run in it must be managed.
	for _, network := range networks {
		if network.Status.Status == cci.NetworkReady || network.Status.Status == cci.NetworkIPInsufficient {
			return updateNetwork(ctx, api, network, config, logger)
		}
	}
	network := networks[0]
	conditions := network.Status.Reasons()
	if network.Status.Status == cci.NetworkFailed {
		return "", fmt.Errorf("%w: network %s of cloud namespace %s has failed: %s; %s, and delete the network",
			ErrUnusable, network.Name, config.Namespace, conditions, networkHint)
	}
	return fmt.Sprintf("network %s to be Ready: it is %q (%s); if it stays so, %s",
		network.Name, network.Status.Status, conditions, networkHint), nil
}

// networkHint names the causes of most networks that never become Ready. The service accepts any ID.
const networkHint = "check that the subnets are given by their Neutron IDs, not the VPC's, and are in this region, " +
	"and that the security groups exist"

// updateNetwork changes a network of this package, or of others, to what is configured. It warns about subnets that
// others have added.
func updateNetwork(
	ctx context.Context, api cci.API, network cci.Network, config Config, logger *slog.Logger,
) (pending string, err error) {
	missing, others, err := compareSubnets(network, config)
	if err != nil {
		return "", err
	}
	change := cci.NetworkChange{Annotations: config.WarmPool.changes(network)}
	for _, id := range missing {
		change.Subnets = append(change.Subnets, cci.Subnet{SubnetID: id})
	}
	if len(missing) == 0 && len(others) > 0 {
		logger.Warn("the network of the cloud namespace is also in subnets that are not configured: Pods may get addresses "+
			"in them, which routes, firewalls and cci.podCIDRs must allow",
			"cloudNamespace", config.Namespace, "network", network.Name, "subnets", others)
	}
	if change.IsEmpty() {
		return "", nil
	}
	err = api.UpdateNetwork(ctx, config.Namespace, network.Name, change)
	switch {
	case cci.IsConflict(err): // Another virtual node has made the change, or does so next.
		return "network " + network.Name + ", which is being changed", nil
	case err != nil:
		return "", err
	case len(missing) > 0:
		return fmt.Sprintf("subnets %s to be added to network %s", strings.Join(missing, ", "), network.Name), nil
	}
	// Whether the service keeps the annotations as they were sent is not known. Pods run without them.
	return "", nil
}

// compareSubnets returns the configured subnets that the network does not have, and those of the network that are not
// configured. The first are added, so that a namespace whose addresses run out can get more. The second are kept: Pods
// may have addresses there, and another cluster that shares the namespace, or another process with newer values, may
// have added them. It rejects a network that has none of the configured subnets: its Pods would be unreachable without
// a visible reason.
func compareSubnets(network cci.Network, config Config) (missing, others []string, err error) {
	var actual []string
	for _, subnet := range network.Spec.Subnets {
		actual = append(actual, subnet.SubnetID)
	}
	without := func(list, unwanted []string) []string {
		return slices.DeleteFunc(slices.Clone(list), func(id string) bool { return slices.Contains(unwanted, id) })
	}
	missing, others = without(config.Subnets, actual), without(actual, config.Subnets)
	if len(others) > 0 && len(missing) == len(config.Subnets) {
		return nil, nil, fmt.Errorf("%w: network %s of cloud namespace %s is in subnets %s, not in the configured %s; "+
			"configure one of its subnets, to which others can be added, or another namespace",
			ErrUnusable, network.Name, config.Namespace, strings.Join(actual, ", "), strings.Join(missing, ", "))
	}
	return missing, others, nil
}

func createNetwork(ctx context.Context, api cci.API, config Config) (pending string, err error) {
	network := &cci.Network{
		ObjectMeta: metav1.ObjectMeta{
			Name: networkName, Annotations: map[string]string{cci.NetworkProjectAnnotation: config.ProjectID},
		},
		Spec: cci.NetworkSpec{
			NetworkType: cci.NetworkTypeNeutron, SecurityGroups: config.SecurityGroups,
			IPFamilies: []string{"IPv4"}, DefaultNetwork: true, VPCID: config.VPCID, NetworkID: config.NetworkID,
			AvailabilityZone: config.AvailabilityZone, CIDR: config.CIDR,
		},
	}
	if config.DomainID != "" {
		network.Annotations[cci.NetworkDomainAnnotation] = config.DomainID
	}
	maps.Copy(network.Annotations, config.WarmPool.annotations())
	for _, id := range config.Subnets {
		network.Spec.Subnets = append(network.Spec.Subnets, cci.Subnet{SubnetID: id})
	}
	if _, err := api.CreateNetwork(ctx, config.Namespace, network); err != nil && !cci.IsTaken(err) {
		return "", err
	}
	return "the new network", nil
}
