package config

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/policy"
)

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "`id` of the cluster among those of the account, 16 characters at most; it must never change")
	flags.StringVar(&c.LeaderElectionNamespace, "leader-election-namespace", c.LeaderElectionNamespace, "`namespace` of the Lease that lets one process tend the node")
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the kubelet port")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "PEM `file` with the kubelet port's certificate; read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile, "PEM `file` with the kubelet port's private key")
	flags.StringVar(&c.CertificateDir, "certificate-dir", c.CertificateDir, "`directory` of a certificate that the cluster signs, in place of the files")
	flags.StringVar(&c.ClientCAFile, "client-ca-file", c.ClientCAFile, "PEM `file` with the authority of the API server's client certificate; read again when it changes")
	flags.BoolVar(&c.PortForward, "port-forward", c.PortForward, "forward ports to the addresses of the Pods")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics")
	c.Node.addFlags(flags)
	addVersionFlag(flags, &c.Policy)
	c.CCI.addFlags(flags)
	c.Pods.addFlags(flags)
}

// AddCleanupFlags binds the fields that those need who clean up.
func (c *Config) AddCleanupFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "`id` of the cluster among those of the account")
	addVersionFlag(flags, &c.Policy)
	c.CCI.addFlags(flags)
}

func addVersionFlag(flags *pflag.FlagSet, c *policy.Config) {
	flags.StringVar((*string)(&c.CCIVersion), "cci-version", string(c.CCIVersion), "`generation` of CCI, 2.0 or 1.0; the extender and admission must know the same")
}

func (c *NodeConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Name, "node-name", c.Name, "`name` of the node")
	flags.StringVar(&c.IP, "node-ip", c.IP, "`address` where the API server reaches the kubelet port")
	flags.Var(&quantity{&c.CPU}, "node-cpu", "CPU capacity of the node")
	flags.Var(&quantity{&c.Memory}, "node-memory", "memory capacity of the node")
	flags.Var(&quantity{&c.EphemeralStorage}, "node-ephemeral-storage", "ephemeral storage capacity of the node")
	flags.Int64Var(&c.Pods, "node-pods", c.Pods, "`number` of Pods that the node takes")
}

func (c *CCIConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Endpoint, "cci-endpoint", c.Endpoint, "`URL` of the service; by default that of the region")
	flags.StringVar(&c.IAMEndpoint, "iam-endpoint", c.IAMEndpoint, "`URL` of the service that gives tokens; by default that of the region")
	flags.StringVar(&c.Region, "cci-region", c.Region, "`region`, such as cn-north-4")
	flags.StringVar(&c.ProjectID, "cci-project-id", c.ProjectID, "`id` of the region's project")
	flags.StringVar(&c.DomainID, "cci-domain-id", c.DomainID, "`id` of the account, where networks need it")
	flags.StringVar(&c.CredentialsFrom, "cci-credentials-from", c.CredentialsFrom, "where the keys come from: file, machine or podIdentity")
	flags.StringVar(&c.CredentialsFile, "cci-credentials-file", c.CredentialsFile,
		"YAML `file` with accessKey, secretKey, securityToken for temporary keys, authToken for a given token, or a directory with such files; read again when it changes")
	flags.StringVar(&c.Namespace, "cci-namespace", c.Namespace, "CCI `namespace` of the Pods, made where it is missing")
	flags.StringSliceVar(&c.SubnetIDs, "cci-subnet-id", c.SubnetIDs, "Neutron `id` of an IPv4 subnet; may be given several times")
	flags.StringSliceVar(&c.SecurityGroupIDs, "cci-security-group-id", c.SecurityGroupIDs, "`id` of a security group; may be given several times")
	flags.Float64Var(&c.QPS, "cci-qps", c.QPS, "requests a second to the cloud in the long run")
	flags.IntVar(&c.Burst, "cci-burst", c.Burst, "requests to the cloud at once")
}

func (c *PodConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.DefaultSize, "default-pod-size", c.DefaultSize, "`size` of a Pod that asks for nothing, as vCPU_GiB")
	flags.StringSliceVar(&c.ClusterDNS, "cluster-dns", c.ClusterDNS, "`address` of the cluster's DNS, reachable from the cloud; may be given several times")
	flags.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "`domain` of the cluster's Services")
	flags.StringVar(&c.APIServer, "api-server", c.APIServer, "`host:port` of the cluster's API server as the cloud reaches it, for Pods that use it")
	flags.StringVar(&c.TimeZone, "time-zone", c.TimeZone, "`zone` of containers that mount /etc/localtime, such as Asia/Shanghai")
}

// quantity is a flag for a resource.Quantity.
type quantity struct{ value *resource.Quantity }

// String implements pflag.Value.
func (q *quantity) String() string { return q.value.String() }

// Set implements pflag.Value.
func (q *quantity) Set(text string) error {
	value, err := resource.ParseQuantity(text)
	if err != nil {
		return fmt.Errorf("must be a quantity such as 100 or 4000Gi: %w", err)
	}
	*q.value = value
	return nil
}

// Type implements pflag.Value.
func (q *quantity) Type() string { return "quantity" }
