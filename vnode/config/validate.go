package config

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/spillway-k8s/spillway/internal/serve"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/services"
)

// maxClusterIDLength is the limit of the systems that Spillway replaces. Source: TKE Resilience, cloud.uniqueID.
const maxClusterIDLength = 16

// maxWarmPool is the largest number of warm addresses. Source: the vendor's Terraform provider,
// huaweicloud_cci_namespace (CCI 1.0). No other number is published.
const maxWarmPool = 500

// maxSnapshots is the largest number of image snapshots of a virtual node.
const maxSnapshots = 200

// Validate returns every error at once.
func (c *Config) Validate() error {
	errs := c.validateShared()
	errs = append(errs, c.Kube.Validate(field.NewPath("kube"))...)
	errs = append(errs, c.validateServing()...)
	if c.LeaderElectionNamespace == "" {
		errs = append(errs, field.Required(field.NewPath("leaderElectionNamespace"),
			"without a Lease, two processes could manage one node"))
	}
	errs = append(errs, c.Node.validate(field.NewPath("node"), len(c.Nodes) > 0)...)
	errs = append(errs, c.validateNodes(field.NewPath("nodes"))...)
	errs = append(errs, c.CCI.validate(field.NewPath("cci"), c.Policy.CCIVersion)...)
	errs = append(errs, c.Pods.validate(field.NewPath("pods"))...)
	errs = append(errs, c.Translation().Validate(field.NewPath("pods"))...)
	errs = append(errs, c.validateClaims()...)
	errs = append(errs, c.Usage.validate(field.NewPath("usage"))...)
	errs = append(errs, c.SoldOut.validate(field.NewPath("soldOut"))...)
	errs = append(errs, c.Prices.Validate(field.NewPath("prices"))...)
	return errs.ToAggregate()
}

// ValidateCleanup validates what "vnode gc" and "vnode uninstall" need. They do not need what only a running node
// needs.
func (c *Config) ValidateCleanup() field.ErrorList {
	errs := append(c.validateShared(), c.CCI.validateNamespace(field.NewPath("cci"))...)
	return append(errs, c.CCI.validateAccess(field.NewPath("cci"))...)
}

// ValidateAccess validates what "vnode doctor" needs: the access to the cloud.
func (c *Config) ValidateAccess() field.ErrorList {
	errs := c.Logging.Validate(field.NewPath("logging"))
	return append(errs, c.CCI.validateAccess(field.NewPath("cci"))...)
}

// validateShared validates what every subcommand needs, except the access to the cloud.
func (c *Config) validateShared() field.ErrorList {
	errs := c.Logging.Validate(field.NewPath("logging"))
	if c.Identity != IdentityNode && c.Identity != IdentityServiceAccount {
		errs = append(errs, field.NotSupported(field.NewPath("identity"), c.Identity,
			[]Identity{IdentityNode, IdentityServiceAccount}))
	}
	errs = append(errs, c.Policy.Validate(field.NewPath("policy"))...)
	if c.ClusterID == "" || len(c.ClusterID) > maxClusterIDLength ||
		len(validation.IsValidLabelValue(c.ClusterID)) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("clusterID"), c.ClusterID,
			"must have 1 to "+strconv.Itoa(maxClusterIDLength)+" letters, digits, dashes, dots or underscores, "+
				"and begin and end with a letter or a digit"))
	}
	return errs
}

// validateServing validates the kubelet port and the health port.
func (c *Config) validateServing() field.ErrorList {
	var errs field.ErrorList
	switch first, last := c.kubeletPorts(); {
	case first == 0:
		errs = append(errs, field.Invalid(field.NewPath("listen"), c.Listen,
			"must be host:port with a number, such as :10250"))
	case last > math.MaxUint16:
		errs = append(errs, field.Invalid(field.NewPath("listen"), c.Listen,
			"must leave a port for each of the nodes: the last one would have "+strconv.Itoa(last)))
	case first <= portOf(c.HealthListen) && portOf(c.HealthListen) <= last:
		errs = append(errs, field.Invalid(field.NewPath("healthListen"), c.HealthListen,
			fmt.Sprintf("must have another port than %d to %d, the kubelet ports of the nodes", first, last)))
	}
	errs = append(errs, serve.ValidateAddress(field.NewPath("healthListen"), c.HealthListen, ":8082")...)
	errs = append(errs, c.validateServicesAddress(field.NewPath("services", "address"))...)
	if c.ClientCAFile == "" {
		errs = append(errs, field.Required(field.NewPath("clientCAFile"),
			"without it every client could read the logs of containers"))
	}
	switch {
	case c.TLSCertFile != "" && c.TLSPrivateKeyFile == "":
		errs = append(errs, field.Required(field.NewPath("tlsPrivateKeyFile"), "must be set together with tlsCertFile"))
	case c.TLSCertFile == "" && c.TLSPrivateKeyFile != "":
		errs = append(errs, field.Required(field.NewPath("tlsCertFile"), "must be set together with tlsPrivateKeyFile"))
	case c.TLSCertFile != "" && c.CertificateDir != "":
		errs = append(errs, field.Invalid(field.NewPath("certificateDir"), c.CertificateDir,
			"must be empty if tlsCertFile is set: the kubelet port has one certificate"))
	}
	return errs
}

// validateServicesAddress validates the port of the server of Services. It matters what else has the port only if it is
// opened.
func (c *Config) validateServicesAddress(path *field.Path) field.ErrorList {
	first, last := c.kubeletPorts()
	detail := ""
	switch port := portOf(c.Services.Address); {
	case port == 0:
		detail = "must be host:port with a number, such as :10260"
	case !c.ServesServices():
	case first <= port && port <= last:
		detail = fmt.Sprintf("must have another port than %d to %d, the kubelet ports of the nodes (listen)", first,
			last)
	case port == portOf(c.HealthListen):
		detail = "must have another port than healthListen, which is " + c.HealthListen
	}
	if detail == "" {
		return nil
	}
	return field.ErrorList{field.Invalid(path, c.Services.Address, detail)}
}

// kubeletPorts returns the ports of the first and of the last node. If Listen is invalid, first is 0.
func (c *Config) kubeletPorts() (first, last int) {
	first = int(c.KubeletPort())
	return first, first + max(len(c.Nodes), 1) - 1
}

// KubeletPort returns the port number of Listen, which the Node object of the first node shows. It returns 0 if Listen
// is invalid.
func (c *Config) KubeletPort() int32 { return int32(portOf(c.Listen)) }

// portOf returns the port number of host:port, 0 if there is none.
func portOf(address string) int {
	_, text, err := net.SplitHostPort(address)
	if err != nil {
		return 0
	}
	port, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return int(port)
}

// validateClaims rejects two settings that contradict each other: the extender would send Pods with claims to a node
// that refuses them.
func (c *Config) validateClaims() field.ErrorList {
	if kinds := c.Policy.VolumeKinds; !c.Pods.Claims && c.Policy.CCIVersion != policy.CCI1 && len(kinds) > 0 {
		return field.ErrorList{field.Invalid(field.NewPath("policy", "volumeKinds"), strings.Join(kinds, ","),
			"must be empty if pods.claims is false, here, in the extender and in admission, "+
				"so that Pods with claims stay on local nodes")}
	}
	return nil
}

func (c CCIConfig) validateNamespace(path *field.Path) field.ErrorList {
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		return field.ErrorList{field.Invalid(path.Child("namespace"), c.Namespace,
			"must be a valid name of a namespace, such as bursting-prod")}
	}
	return nil
}

// validateAccess validates what every request to the cloud needs.
func (c CCIConfig) validateAccess(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Region == "" {
		errs = append(errs, field.Required(path.Child("region"), "must be a region such as cn-north-4"))
	}
	if c.ProjectID == "" {
		errs = append(errs, field.Required(path.Child("projectID"), "the console shows it under My Credentials"))
	}
	for _, url := range []struct{ name, value string }{{"endpoint", c.Endpoint}, {"iamEndpoint", c.IAMEndpoint}} {
		if url.value != "" {
			errs = append(errs, cci.ValidateEndpoint(path.Child(url.name), url.value, c.AllowHTTP)...)
		}
	}
	switch file := path.Child("credentialsFile"); c.CredentialsFrom {
	case fromFile:
		if c.CredentialsFile == "" {
			errs = append(errs, field.Required(file, "requests are signed with the key in it"))
		}
	case fromMachine, fromPodIdentity:
		if c.CredentialsFile != "" {
			errs = append(errs, field.Invalid(file, c.CredentialsFile,
				"must be empty if credentialsFrom is "+c.CredentialsFrom))
		}
	default:
		errs = append(errs, field.NotSupported(path.Child("credentialsFrom"), c.CredentialsFrom,
			[]string{fromFile, fromMachine, fromPodIdentity}))
	}
	if !(c.QPS > 0) { // NaN is not above zero either.
		errs = append(errs, field.Invalid(path.Child("qps"), c.QPS, "must be above zero"))
	}
	if !(c.MaxQPS >= 0) {
		errs = append(errs, field.Invalid(path.Child("maxQPS"), c.MaxQPS, "must not be below zero"))
	}
	if c.Burst <= 0 {
		errs = append(errs, field.Invalid(path.Child("burst"), c.Burst, "must be above zero"))
	}
	return append(errs, atLeast(path.Child("requestTimeout"), c.RequestTimeout.Duration, time.Second)...)
}

func (c CCIConfig) validate(path *field.Path, version policy.CCIVersion) field.ErrorList {
	errs := append(c.validateNamespace(path), c.validateAccess(path)...)
	if len(c.SubnetIDs) == 0 {
		errs = append(errs, field.Required(path.Child("subnetIDs"),
			"must have the Neutron ID of at least one IPv4 subnet, which the VPC console shows next to the "+
				"subnet's ID"))
	}
	if len(c.SecurityGroupIDs) == 0 {
		errs = append(errs, field.Required(path.Child("securityGroupIDs"), "must have at least one ID"))
	}
	for i, cidr := range c.PodCIDRs {
		if prefix, err := netip.ParsePrefix(cidr); err != nil || prefix != prefix.Masked() {
			errs = append(errs, field.Invalid(path.Child("podCIDRs").Index(i), cidr,
				"must be the address range of a subnet, such as 10.0.1.0/24"))
		}
	}
	if version == policy.CCI1 {
		errs = append(errs, c.validateNetwork1(path)...)
	} else if c.Network1 != (Network1Config{}) {
		errs = append(errs, field.Forbidden(path.Child("network1"),
			"must be empty with policy.cciVersion 2.0, which derives it from the subnet"))
	}
	errs = append(errs, c.WarmPool.validate(path.Child("warmPool"), version)...)
	errs = append(errs, c.ImageSnapshots.validate(path.Child("imageSnapshots"), version)...)
	errs = append(errs, atLeast(path.Child("watchTimeout"), c.WatchTimeout.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("relistInterval"), c.RelistInterval.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("orphanInterval"), c.OrphanInterval.Duration, time.Second)...)
	return append(errs, c.Exec.validate(path.Child("exec"))...)
}

func (c ImageSnapshotConfig) validate(path *field.Path, version policy.CCIVersion) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.Keep < 0 || c.Keep > maxSnapshots:
		errs = append(errs, field.Invalid(path.Child("keep"), c.Keep,
			fmt.Sprintf("must be a number of snapshots, from 1 to %d, or 0 for none", maxSnapshots)))
	case c.Keep > 0 && version == policy.CCI1:
		errs = append(errs, field.Forbidden(path.Child("keep"), "must be 0 with policy.cciVersion 1.0"))
	case c.Keep > 0 && !c.AutoMatch:
		errs = append(errs, field.Invalid(path.Child("keep"), c.Keep,
			"must be 0 without autoMatch: no Pod would start from the snapshots"))
	}
	errs = append(errs, atLeast(path.Child("interval"), c.Interval.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("removal"), c.Removal.Duration, time.Hour)...)
	if day := 24 * time.Hour; c.Renewal.Duration < day || c.Renewal.Duration%day != 0 {
		errs = append(errs, field.Invalid(path.Child("renewal"), c.Renewal.Duration.String(),
			"must be whole days, such as 168h"))
	}
	return errs
}

func (c WarmPoolConfig) validate(path *field.Path, version policy.CCIVersion) field.ErrorList {
	interval := c.RecycleInterval.Duration
	switch {
	case c == WarmPoolConfig{}:
		return nil
	case version == policy.CCI1:
		return field.ErrorList{field.Forbidden(path,
			"must be empty with policy.cciVersion 1.0, where a namespace gets them when it is created")}
	case c.Size < 0 || c.Size > maxWarmPool:
		return field.ErrorList{field.Invalid(path.Child("size"), c.Size,
			fmt.Sprintf("must be a number of addresses, from 1 to %d, or 0 for none", maxWarmPool))}
	case interval < 0 || interval%time.Hour != 0:
		return field.ErrorList{field.Invalid(path.Child("recycleInterval"), interval.String(),
			"must be whole hours, such as 2h, or 0 for that of the service")}
	case c.Size == 0:
		return field.ErrorList{field.Invalid(path.Child("recycleInterval"), interval.String(),
			"must be 0 without warmPool.size: no addresses are kept ready")}
	}
	return nil
}

// validateNetwork1 validates what CCI 1.0 requires to create a network.
func (c CCIConfig) validateNetwork1(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if len(c.SubnetIDs) > 1 {
		errs = append(errs, field.Invalid(path.Child("subnetIDs"), strings.Join(c.SubnetIDs, ","),
			"must have one ID: CCI 1.0 takes one subnet"))
	}
	if len(c.SecurityGroupIDs) > 1 {
		errs = append(errs, field.Invalid(path.Child("securityGroupIDs"), strings.Join(c.SecurityGroupIDs, ","),
			"must have one ID: CCI 1.0 takes one security group"))
	}
	network := path.Child("network1")
	if c.Network1.VPCID == "" {
		errs = append(errs, field.Required(network.Child("vpcID"), "CCI 1.0 requires the ID of the subnet's VPC"))
	}
	if c.Network1.NetworkID == "" {
		errs = append(errs, field.Required(network.Child("networkID"),
			"CCI 1.0 requires the subnet's Neutron network, which the VPC console calls network ID"))
	}
	if cidr := c.Network1.CIDR; cidr != "" {
		if _, _, err := net.ParseCIDR(cidr); err != nil {
			errs = append(errs, field.Invalid(network.Child("cidr"), cidr,
				"must be the address range of the subnet, such as 10.0.1.0/24"))
		}
	}
	return errs
}

func (c ExecConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Handshake != cci.HandshakeToken && c.Handshake != cci.HandshakeSignature {
		errs = append(errs, field.NotSupported(path.Child("handshake"), c.Handshake,
			[]cci.Handshake{cci.HandshakeToken, cci.HandshakeSignature}))
	}
	return append(errs, atLeast(path.Child("keepAlive"), c.KeepAlive.Duration, time.Second)...)
}

func (c UsageConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Concurrency <= 0 {
		errs = append(errs, field.Invalid(path.Child("concurrency"), c.Concurrency, "must be above zero"))
	}
	return append(errs, atLeast(path.Child("timeout"), c.Timeout.Duration, 100*time.Millisecond)...)
}

// validate validates what Translation does not pass on.
func (c PodConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.Workers <= 0 {
		errs = append(errs, field.Invalid(path.Child("workers"), c.Workers, "must be above zero"))
	}
	errs = append(errs, c.Proxy.validate(path.Child("proxy"))...)
	errs = append(errs, c.MirrorLimits.validate(path.Child("mirrorLimits"))...)
	errs = append(errs, atLeast(path.Child("mirrorRefresh"), c.MirrorRefresh.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("mirrorRemoval"), c.MirrorRemoval.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("maxRetryInterval"), c.MaxRetryInterval.Duration, time.Second)...)
	return append(errs, atLeast(path.Child("refusalRetry"), c.RefusalRetry.Duration, time.Second)...)
}

func (c ProxyConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i, address := range c.Addresses {
		host, _, err := net.SplitHostPort(address)
		isHost := net.ParseIP(host) != nil || len(validation.IsDNS1123Subdomain(host)) == 0
		if err != nil || !isHost || portOf(address) == 0 {
			errs = append(errs, field.Invalid(path.Child("addresses").Index(i), address,
				"must be the host:port of a load balancer or a node, such as 10.0.0.7:10260"))
		}
	}
	for i, namespace := range c.Namespaces {
		if namespace != services.AllNamespaces && len(validation.IsDNS1123Label(namespace)) > 0 {
			errs = append(errs, field.Invalid(path.Child("namespaces").Index(i), namespace,
				`must be the name of a namespace, or "*" for all`))
		}
	}
	return errs
}

func (c MirrorLimits) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, limit := range []struct {
		name  string
		value int
	}{{"objectsPerPod", c.ObjectsPerPod}, {"objectsPerNamespace", c.ObjectsPerNamespace}} {
		if limit.value <= 0 {
			errs = append(errs, field.Invalid(path.Child(limit.name), limit.value, "must be above zero"))
		}
	}
	if c.BytesPerNamespace.Value() <= 0 {
		errs = append(errs, field.Invalid(path.Child("bytesPerNamespace"), c.BytesPerNamespace.String(),
			"must be above zero, such as 64Mi"))
	}
	return errs
}

func (c SoldOutConfig) validate(path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if _, err := regexp.Compile(c.Signs); err != nil {
		errs = append(errs, field.Invalid(path.Child("signs"), c.Signs, "must be a regular expression: "+err.Error()))
	}
	if c.StrandedPods != policy.SoldOutReschedule && c.StrandedPods != policy.SoldOutWait {
		errs = append(errs, field.NotSupported(path.Child("strandedPods"), c.StrandedPods,
			[]policy.OnSoldOut{policy.SoldOutReschedule, policy.SoldOutWait}))
	}
	errs = append(errs, atLeast(path.Child("timeout"), c.Timeout.Duration, time.Second)...)
	errs = append(errs, atLeast(path.Child("firstLock"), c.FirstLock.Duration, time.Second)...)
	return append(errs, atLeast(path.Child("lock"), c.Lock.Duration, time.Second)...)
}

// SignsPattern returns Signs, compiled, or nil if it is empty. It must be valid.
func (c SoldOutConfig) SignsPattern() *regexp.Regexp {
	if c.Signs == "" {
		return nil
	}
	return regexp.MustCompile(c.Signs)
}

func atLeast(path *field.Path, value, least time.Duration) field.ErrorList {
	if value < least {
		return field.ErrorList{field.Invalid(path, value.String(), "must be "+least.String()+" or more")}
	}
	return nil
}
