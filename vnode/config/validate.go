package config

import (
	"errors"
	"fmt"
	"net"
	"regexp"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// longestClusterID is what a user of the older systems knows. Source: seed 0, cloud.uniqueID.
const longestClusterID = 16

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{
		c.Logging.Validate(field.NewPath("logging")).ToAggregate(), c.Kube.Validate(field.NewPath("kube")).ToAggregate(),
		c.Policy.Validate(field.NewPath("policy")).ToAggregate(), address("health-listen", c.HealthListen), c.validateClusterID(),
	}
	if _, err := c.KubeletPort(); err != nil {
		faults = append(faults, err)
	}
	if c.ClientCAFile == "" {
		faults = append(faults, errors.New("client-ca-file: must not be empty: without it everybody could read logs"))
	}
	if c.LeaderElectionNamespace == "" {
		faults = append(faults, errors.New("leader-election-namespace: must not be empty: two processes could tend one node"))
	}
	faults = append(faults, c.validateCertificate(), c.validateClaims())
	return errors.Join(append(faults, c.Node.validate(), c.CCI.validate(c.Policy.CCIVersion), c.Pods.validate(), c.Usage.validate(), c.SoldOut.validate(), c.Translation().Validate(field.NewPath("pods")).ToAggregate())...)
}

// ValidateCleanup checks what those need who clean up the cloud. What only a running node needs is not asked for.
func (c *Config) ValidateCleanup() error {
	return errors.Join(c.Logging.Validate(field.NewPath("logging")).ToAggregate(), c.Policy.Validate(field.NewPath("policy")).ToAggregate(), c.validateClusterID(), namespaceName(c.CCI.Namespace), c.CCI.validateAccess())
}

// validateCertificate demands at most one certificate of the kubelet port.
func (c *Config) validateCertificate() error {
	half := (c.TLSCertFile == "") != (c.TLSPrivateKeyFile == "")
	if half || (c.TLSCertFile != "" && c.CertificateDir != "") {
		return fmt.Errorf("tls-cert-file, tls-private-key-file, certificate-dir: invalid values %q, %q and %q: must be both files, or the directory of a "+
			"certificate that the cluster signs, or none for a self-signed one", c.TLSCertFile, c.TLSPrivateKeyFile, c.CertificateDir)
	}
	return nil
}

// SelfSigned tells whether the kubelet port has a certificate that nobody vouches for.
func (c *Config) SelfSigned() bool { return c.TLSCertFile == "" && c.CertificateDir == "" }

// validateClaims finds the two settings at odds: Pods with claims would be sent to a node that refuses them.
func (c *Config) validateClaims() error {
	if kinds := c.Policy.VolumeKinds; !c.Pods.Claims && c.Policy.CCIVersion != policy.CCI1 && len(kinds) > 0 {
		return fmt.Errorf("pods.claims, policy.volumeKinds: invalid values false and %v: where claims are not carried, volumeKinds must be empty, here, "+
			"in the extender and in admission, so that Pods with claims stay home", kinds)
	}
	return nil
}

func (c *Config) validateClusterID() error {
	if c.ClusterID == "" || len(c.ClusterID) > longestClusterID || len(validation.IsValidLabelValue(c.ClusterID)) > 0 {
		return fmt.Errorf("cluster-id: invalid value %q: must have 1 to %d letters, digits, dashes, dots or underscores, "+
			"a letter or digit first and last", c.ClusterID, longestClusterID)
	}
	return nil
}

// KubeletPort is the one that the Node shows.
func (c *Config) KubeletPort() (int32, error) {
	_, text, err := net.SplitHostPort(c.Listen)
	if err == nil {
		var port int64
		if port, err = strconv.ParseInt(text, 10, 32); err == nil && port > 0 && port < 1<<16 {
			return int32(port), nil
		}
	}
	return 0, fmt.Errorf("listen: invalid value %q: must be host:port with a number, such as :10250", c.Listen)
}

func address(field, value string) error {
	if _, port, err := net.SplitHostPort(value); err != nil || port == "" {
		return fmt.Errorf("%s: invalid value %q: must be host:port, such as :8082", field, value)
	}
	return nil
}

func (c NodeConfig) validate() error {
	var faults []error
	if len(validation.IsDNS1123Subdomain(c.Name)) > 0 {
		faults = append(faults, fmt.Errorf("node-name: invalid value %q: must be a name that a Node can have, such as virtual-node-cci-0", c.Name))
	}
	if net.ParseIP(c.IP) == nil {
		faults = append(faults, fmt.Errorf("node-ip: invalid value %q: must be an IP address", c.IP))
	}
	for _, field := range []struct {
		name  string
		value resource.Quantity
	}{{"node-cpu", c.CPU}, {"node-memory", c.Memory}, {"node-ephemeral-storage", c.EphemeralStorage}} {
		if field.value.Sign() <= 0 {
			faults = append(faults, fmt.Errorf("%s: invalid value %s: must be above zero", field.name, field.value.String()))
		}
	}
	if c.Pods <= 0 {
		faults = append(faults, fmt.Errorf("node-pods: invalid value %d: must be above zero", c.Pods))
	}
	return errors.Join(faults...)
}

// validateAccess checks what is needed to ask the cloud anything.
func (c CCIConfig) validateAccess() error {
	var faults []error
	for _, field := range []struct{ name, value, why string }{
		{"cci-region", c.Region, "such as cn-north-4"},
		{"cci-project-id", c.ProjectID, "the console shows it under My Credentials"},
	} {
		if field.value == "" {
			faults = append(faults, fmt.Errorf("%s: must not be empty: %s", field.name, field.why))
		}
	}
	switch c.CredentialsFrom {
	case fromFile:
		if c.CredentialsFile == "" {
			faults = append(faults, errors.New("cci-credentials-file: must not be empty: requests are signed with the key in it"))
		}
	case fromMachine, fromPodIdentity:
		if c.CredentialsFile != "" {
			faults = append(faults, fmt.Errorf("cci-credentials-file: invalid value %q: must be empty where the keys come from %s", c.CredentialsFile, c.CredentialsFrom))
		}
	default:
		faults = append(faults, fmt.Errorf("cci-credentials-from: invalid value %q: must be %s, %s or %s", c.CredentialsFrom, fromFile, fromMachine, fromPodIdentity))
	}
	if c.QPS <= 0 || c.Burst <= 0 {
		faults = append(faults, fmt.Errorf("cci-qps, cci-burst: invalid values %g and %d: must be above zero", c.QPS, c.Burst))
	}
	return errors.Join(append(faults, atLeast("cci.requestTimeout", c.RequestTimeout.Duration, time.Second))...)
}

func namespaceName(name string) error {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Errorf("cci-namespace: invalid value %q: must be a name that a namespace can have, such as bursting-prod", name)
	}
	return nil
}

func (c CCIConfig) validate(version policy.CCIVersion) error {
	faults := []error{namespaceName(c.Namespace), c.validateAccess()}
	if version == policy.CCI1 {
		faults = append(faults, c.validateNetwork1())
	} else if c.Network1 != (Network1Config{}) {
		faults = append(faults, errors.New("cci.network1: must be empty with policy.cciVersion 2.0, which finds out by itself what belongs to a subnet"))
	}
	if len(c.SubnetIDs) == 0 {
		faults = append(faults, errors.New("cci-subnet-id: must be given at least once: the Neutron id of an IPv4 subnet, "+
			"which the VPC console shows beside the subnet's id"))
	}
	if len(c.SecurityGroupIDs) == 0 {
		faults = append(faults, errors.New("cci-security-group-id: must be given at least once"))
	}
	return errors.Join(append(faults,
		atLeast("cci.watchTimeout", c.WatchTimeout.Duration, time.Second),
		atLeast("cci.relistInterval", c.RelistInterval.Duration, time.Second),
		atLeast("cci.orphanInterval", c.OrphanInterval.Duration, time.Second),
		c.Exec.validate())...)
}

func (c UsageConfig) validate() error {
	var fault error
	if c.Concurrency <= 0 {
		fault = fmt.Errorf("usage.concurrency: invalid value %d: must be above zero", c.Concurrency)
	}
	return errors.Join(fault, atLeast("usage.timeout", c.Timeout.Duration, 100*time.Millisecond))
}

// validateNetwork1 checks what CCI 1.0 needs to know of a network.
func (c CCIConfig) validateNetwork1() error {
	var faults []error
	if len(c.SubnetIDs) > 1 || len(c.SecurityGroupIDs) > 1 {
		faults = append(faults, fmt.Errorf("cci-subnet-id, cci-security-group-id: invalid values %v and %v: CCI 1.0 takes one of each", c.SubnetIDs, c.SecurityGroupIDs))
	}
	if c.Network1.VPCID == "" {
		faults = append(faults, errors.New("cci.network1.vpcID: must not be empty with CCI 1.0: the id of the subnet's VPC"))
	}
	if c.Network1.NetworkID == "" {
		faults = append(faults, errors.New("cci.network1.networkID: must not be empty with CCI 1.0: the subnet's Neutron network, which the VPC console calls the subnet's id"))
	}
	if cidr := c.Network1.CIDR; cidr != "" {
		if _, _, err := net.ParseCIDR(cidr); err != nil {
			faults = append(faults, fmt.Errorf("cci.network1.cidr: invalid value %q: must be the subnet's, such as 10.0.1.0/24", cidr))
		}
	}
	return errors.Join(faults...)
}

func (c ExecConfig) validate() error {
	var fault error
	if c.Handshake != cci.HandshakeToken && c.Handshake != cci.HandshakeSignature {
		fault = fmt.Errorf("cci.exec.handshake: invalid value %q: must be %s or %s", c.Handshake, cci.HandshakeToken, cci.HandshakeSignature)
	}
	return errors.Join(fault, atLeast("cci.exec.keepAlive", c.KeepAlive.Duration, time.Second))
}

func (c PodConfig) validate() error {
	var fault error
	if c.Workers <= 0 {
		fault = fmt.Errorf("pods.workers: invalid value %d: must be above zero", c.Workers)
	}
	return errors.Join(fault,
		atLeast("pods.mirrorRefresh", c.MirrorRefresh.Duration, time.Second),
		atLeast("pods.mirrorRemoval", c.MirrorRemoval.Duration, time.Second),
		atLeast("pods.longestRetry", c.LongestRetry.Duration, time.Second),
		atLeast("pods.refusalRetry", c.RefusalRetry.Duration, time.Second))
}

func (c SoldOutConfig) validate() error {
	var faults []error
	if _, err := regexp.Compile(c.Signs); err != nil {
		faults = append(faults, fmt.Errorf("soldOut.signs: invalid value %q: must be a regular expression: %w", c.Signs, err))
	}
	if c.StuckPods != policy.SoldOutReschedule && c.StuckPods != policy.SoldOutWait {
		faults = append(faults, fmt.Errorf("soldOut.stuckPods: invalid value %q: must be %s or %s", c.StuckPods, policy.SoldOutReschedule, policy.SoldOutWait))
	}
	return errors.Join(append(faults,
		atLeast("soldOut.patience", c.Patience.Duration, time.Second),
		atLeast("soldOut.lock", c.Lock.Duration, time.Second))...)
}

// SignsPattern is nil where there are none.
func (c SoldOutConfig) SignsPattern() *regexp.Regexp {
	if c.Signs == "" {
		return nil
	}
	return regexp.MustCompile(c.Signs) // It has been validated.
}

func atLeast(field string, value, least time.Duration) error {
	if value < least {
		return fmt.Errorf("%s: invalid value %s: must be %s or more", field, value, least)
	}
	return nil
}
