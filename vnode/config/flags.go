package config

import (
	"fmt"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/spillway-k8s/spillway/internal/leaderelection"
	"github.com/spillway-k8s/spillway/policy"
)

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.AddCleanupFlags(flags)
	c.AddIdentityFlag(flags)
	leaderelection.AddFlags(flags, &c.LeaderElectionNamespace)
	flags.StringVar(&c.ProcessName, "process-name", c.ProcessName,
		"`name` of this process among those that share the virtual nodes; by default the host name")
	flags.StringVar(&c.Listen, "listen", c.Listen,
		"`host:port` of the kubelet port of the first virtual node; the others have the next ports")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile,
		"PEM `file` with the certificate of the kubelet port; read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile,
		"PEM `file` with the private key of the kubelet port; read again when it changes")
	flags.StringVar(&c.CertificateDir, "certificate-dir", c.CertificateDir,
		"`directory` for a certificate that the cluster signs, instead of the files")
	flags.StringVar(&c.ClientCAFile, "client-ca-file", c.ClientCAFile,
		"PEM `file` with the authority of the API server's client certificate; read again when it changes")
	flags.BoolVar(&c.PortForward, "port-forward", c.PortForward, "forward ports to the addresses of the Pods")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics")
	flags.StringVar(&c.Policy.DefaultSize, "default-pod-size", c.Policy.DefaultSize,
		"`size` of a Pod without resource requests, as vCPU_GiB; the extender and admission must use the same")
	c.Node.addFlags(flags)
	c.Pods.addFlags(flags)
}

// AddCleanupFlags binds the fields that "vnode gc" and "vnode uninstall" need as well.
func (c *Config) AddCleanupFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID,
		"`ID` of the cluster, unique in the cloud account, at most 16 characters; it must never change")
	c.AddCloudFlags(flags)
}

// AddCloudFlags binds the fields that every subcommand needs, also "vnode doctor", which knows no cluster.
func (c *Config) AddCloudFlags(flags *pflag.FlagSet) {
	c.Logging.AddFlags(flags)
	addVersionFlag(flags, &c.Policy)
	c.CCI.addFlags(flags)
}

// AddIdentityFlag binds the field that "vnode gc" needs as well.
func (c *Config) AddIdentityFlag(flags *pflag.FlagSet) {
	flags.StringVar((*string)(&c.Identity), "identity", string(c.Identity),
		"`user` that reads Pods and what they refer to: node or serviceAccount")
}

func addVersionFlag(flags *pflag.FlagSet, c *policy.Config) {
	flags.StringVar((*string)(&c.CCIVersion), "cci-version", string(c.CCIVersion),
		"`generation` of CCI, 2.0 or 1.0; the extender and admission must use the same")
}

func (c *NodeConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Name, "node-name", c.Name, "`name` of the only virtual node, if the file has no list of nodes")
	flags.StringVar(&c.IP, "node-ip", c.IP, "`address` at which the API server reaches the kubelet ports")
	flags.Var(&quantity{&c.CPU}, "node-cpu", "CPU capacity of the Node")
	flags.Var(&quantity{&c.Memory}, "node-memory", "memory capacity of the Node")
	flags.Var(&quantity{&c.EphemeralStorage}, "node-ephemeral-storage", "ephemeral storage capacity of the Node")
	flags.Int64Var(&c.Pods, "node-pods", c.Pods, "`number` of Pods that the Node accepts")
}

func (c *CCIConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&c.Endpoint, "cci-endpoint", c.Endpoint, "`URL` of the service; by default that of the region")
	flags.StringVar(&c.IAMEndpoint, "iam-endpoint", c.IAMEndpoint,
		"`URL` of the service that issues tokens; by default that of the region")
	flags.BoolVar(&c.AllowHTTP, "cci-allow-http", c.AllowHTTP,
		"allow URLs of these services that begin with http://, for a simulated cloud")
	flags.StringVar(&c.Region, "cci-region", c.Region, "`region`, such as cn-north-4")
	flags.StringVar(&c.ProjectID, "cci-project-id", c.ProjectID, "`ID` of the project of the region")
	flags.StringVar(&c.DomainID, "cci-domain-id", c.DomainID, "`ID` of the account, if networks require it")
	flags.StringVar(&c.CredentialsFrom, "cci-credentials-from", c.CredentialsFrom,
		"source of the keys: file, machine or podIdentity")
	flags.StringVar(&c.CredentialsFile, "cci-credentials-file", c.CredentialsFile,
		"YAML `file` with accessKey and secretKey, securityToken for temporary keys, and authToken for a given token, "+
			"or a directory with such files; read again when it changes")
	flags.StringVar(&c.Namespace, "cci-namespace", c.Namespace,
		"cloud `namespace` of the Pods; created if it does not exist")
	flags.StringSliceVar(&c.SubnetIDs, "cci-subnet-id", c.SubnetIDs,
		"Neutron `ID` of an IPv4 subnet; can be repeated")
	flags.StringSliceVar(&c.PodCIDRs, "cci-pod-cidr", c.PodCIDRs,
		"`range` of addresses of the subnets, such as 10.0.1.0/24; can be repeated; by default every address of a host")
	flags.StringSliceVar(&c.SecurityGroupIDs, "cci-security-group-id", c.SecurityGroupIDs,
		"`ID` of a security group; can be repeated")
	flags.Float64Var(&c.QPS, "cci-qps", c.QPS, "requests per second to the cloud in the long run")
	flags.IntVar(&c.Burst, "cci-burst", c.Burst, "requests to the cloud at once")
}

func (c *PodConfig) addFlags(flags *pflag.FlagSet) {
	flags.StringSliceVar(&c.ClusterDNS, "cluster-dns", c.ClusterDNS,
		"`address` of the cluster's DNS, reachable from the cloud; can be repeated")
	flags.StringVar(&c.ClusterDomain, "cluster-domain", c.ClusterDomain, "`domain` of the cluster's Services")
	flags.StringVar(&c.APIServer, "api-server", c.APIServer,
		"`host:port` at which Pods in the cloud reach the cluster's API server")
	flags.StringVar(&c.TimeZone, "time-zone", c.TimeZone,
		"`zone` of containers that mount /etc/localtime, such as Asia/Shanghai")
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
