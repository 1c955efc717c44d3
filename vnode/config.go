package main

import (
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Config is the configuration of a virtual node.
type Config struct {
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
	// Kube is the connection to the cluster. Its limits hold for each of three clients: what tends Pods, what keeps the Node and its
	// Lease, and what writes events.
	Kube kube.Config `json:"kube"`
	// ClusterID tells the clusters of one account apart. It is written onto every cloud Pod and must never change while there are
	// any. At most 16 characters that a label may have. No default.
	ClusterID string `json:"clusterID"`
	// Node is the node.
	Node NodeConfig `json:"node"`
	// Listen is host:port of the kubelet port, over TLS; its port is what the Node shows. Default ":10250".
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the kubelet port's certificate, PEM. They are read again when they change. No default.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// ClientCAFile is the authority of the API server's client certificate, PEM. No default: without it logs would be open to all.
	ClientCAFile string `json:"clientCAFile"`
	// HealthListen is host:port of /healthz, /readyz and /metrics, without TLS. Default ":8082".
	HealthListen string `json:"healthListen"`
	// CCI is the cloud.
	CCI CCIConfig `json:"cci"`
	// Pods is how Pods are translated and tended.
	Pods PodConfig `json:"pods"`
	// Policy is what the cluster changes about the rules. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
}

// NodeConfig is what the Node shows.
type NodeConfig struct {
	// Name of the Node. No default.
	Name string `json:"name"`
	// IP is where the API server reaches the kubelet port, and the hostIP of the Pods. No default.
	IP string `json:"ip"`
	// CPU, Memory, EphemeralStorage and Pods are the capacity. The cloud sets aside nothing for it. More lets more Pods burst, and distorts
	// graphs of the cluster's use and scores of the scheduler; less bounds the bill. Defaults 1000, 4000Gi, 90Ti and 3000: the
	// number of Pods that one virtual node should have at most, and room for each of average size.
	CPU              resource.Quantity `json:"cpu"`
	Memory           resource.Quantity `json:"memory"`
	EphemeralStorage resource.Quantity `json:"ephemeralStorage"`
	Pods             int64             `json:"pods"`
}

// CCIConfig is how the cloud is reached and where Pods go.
type CCIConfig struct {
	// Endpoint is scheme and host of the service. Default https://cci.REGION.myhuaweicloud.com.
	Endpoint string `json:"endpoint"`
	// Region such as cn-north-4. No default.
	Region string `json:"region"`
	// ProjectID is the id of the region's project. No default.
	ProjectID string `json:"projectID"`
	// DomainID is the account's id, for a network that must be made; empty where the service does not ask for it. Default empty.
	DomainID string `json:"domainID"`
	// CredentialsFile is YAML with accessKey, secretKey and, for temporary keys, securityToken. No default.
	CredentialsFile string `json:"credentialsFile"`
	// Namespace is the CCI namespace of the Pods; it is made where it is missing. Virtual nodes of several clusters may share one.
	// No default.
	Namespace string `json:"namespace"`
	// SubnetIDs are Neutron ids (not VPC subnet ids) of IPv4 subnets. At least one.
	SubnetIDs []string `json:"subnetIDs"`
	// SecurityGroupIDs are those of the Pods. At least one.
	SecurityGroupIDs []string `json:"securityGroupIDs"`
	// QPS and Burst pace requests: so many a second in the long run, so many at once. More makes large bursts quicker until the service
	// throttles; its limits are not published. Defaults 20 and 40.
	QPS   float64 `json:"qps"`
	Burst int     `json:"burst"`
	// RequestTimeout is for one try of a request. Less gives up on a slow cloud, more keeps workers waiting. Default 30s.
	RequestTimeout metav1.Duration `json:"requestTimeout"`
	// WatchTimeout is how long one watch lasts: a dead connection is noticed by then. Default 2m.
	WatchTimeout metav1.Duration `json:"watchTimeout"`
	// RelistInterval is how often all Pods are listed although the watch goes on. Default 10m.
	RelistInterval metav1.Duration `json:"relistInterval"`
}

// PodConfig is how Pods are translated and tended.
type PodConfig struct {
	// DefaultSize is what a Pod gets that asks for nothing, as vCPU_GiB. Default 0.50_1.0.
	DefaultSize string `json:"defaultSize"`
	// ClusterDNS are addresses of the cluster's DNS that are reachable from the cloud's subnets (a ClusterIP is not). Default none: Pods
	// then have the DNS of the cloud, which does not know the cluster's Services.
	ClusterDNS []string `json:"clusterDNS"`
	// ClusterDomain is the domain of the cluster's Services. Default cluster.local.
	ClusterDomain string `json:"clusterDomain"`
	// TimeZone such as Asia/Shanghai is what containers that mount /etc/localtime get as TZ. Default none: UTC.
	TimeZone string `json:"timeZone"`
	// PullSecret is the secret of the CCI namespace that images are pulled with. Default imagepull-secret, which the service keeps
	// itself for its own registry.
	PullSecret string `json:"pullSecret"`
	// Workers is how many Pods are worked on at once. Default 50.
	Workers int `json:"workers"`
	// LongestRetry is between two tries at most, while the cloud has trouble. Default 1m.
	LongestRetry metav1.Duration `json:"longestRetry"`
	// RefusalRetry is after how long a Pod is tried again that the cloud has refused for good: quotas grow. Default 5m.
	RefusalRetry metav1.Duration `json:"refusalRetry"`
}

func defaultConfig() *Config {
	return &Config{
		Logging: logging.Default(),
		Kube:    kube.Default(),
		Node: NodeConfig{
			CPU: resource.MustParse("1000"), Memory: resource.MustParse("4000Gi"), EphemeralStorage: resource.MustParse("90Ti"), Pods: 3000,
		},
		Listen:       ":10250",
		HealthListen: ":8082",
		CCI: CCIConfig{
			QPS: 20, Burst: 40,
			RequestTimeout: metav1.Duration{Duration: 30 * time.Second},
			WatchTimeout:   metav1.Duration{Duration: 2 * time.Minute},
			RelistInterval: metav1.Duration{Duration: 10 * time.Minute},
		},
		Pods: PodConfig{
			DefaultSize: "0.50_1.0", ClusterDomain: "cluster.local", PullSecret: "imagepull-secret", Workers: 50,
			LongestRetry: metav1.Duration{Duration: time.Minute}, RefusalRetry: metav1.Duration{Duration: 5 * time.Minute},
		},
		Policy: policy.DefaultConfig(),
	}
}

// endpoint is the configured one, or the region's.
func (c CCIConfig) endpoint() string {
	if c.Endpoint != "" {
		return c.Endpoint
	}
	return "https://cci." + c.Region + ".myhuaweicloud.com"
}

// translation is what the translation of Pods depends on.
func (c *Config) translation() translate.Config {
	return translate.Config{
		Owner: translate.Owner{ClusterID: c.ClusterID, Node: c.Node.Name}, NodeIP: c.Node.IP, DefaultSize: c.Pods.DefaultSize,
		ClusterDNS: c.Pods.ClusterDNS, ClusterDomain: c.Pods.ClusterDomain, TimeZone: c.Pods.TimeZone, PullSecret: c.Pods.PullSecret,
	}
}

// AddFlags binds the fields that have flags.
func (c *Config) AddFlags(flags *pflag.FlagSet) {
	c.Kube.AddFlags(flags)
	flags.StringVar(&c.Logging.Level, "log-level", c.Logging.Level, "debug, info, warn or error")
	flags.StringVar(&c.Logging.Format, "log-format", c.Logging.Format, "text or json")
	flags.StringVar(&c.ClusterID, "cluster-id", c.ClusterID, "`id` of the cluster among those of the account, 16 characters at most; it must never change")
	flags.StringVar(&c.Listen, "listen", c.Listen, "`host:port` of the kubelet port")
	flags.StringVar(&c.TLSCertFile, "tls-cert-file", c.TLSCertFile, "PEM `file` with the kubelet port's certificate; read again when it changes")
	flags.StringVar(&c.TLSPrivateKeyFile, "tls-private-key-file", c.TLSPrivateKeyFile, "PEM `file` with the kubelet port's private key")
	flags.StringVar(&c.ClientCAFile, "client-ca-file", c.ClientCAFile, "PEM `file` with the authority of the API server's client certificate; read again when it changes")
	flags.StringVar(&c.HealthListen, "health-listen", c.HealthListen, "`host:port` of /healthz, /readyz and /metrics")
	c.Node.addFlags(flags)
	c.CCI.addFlags(flags)
	c.Pods.addFlags(flags)
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
	flags.StringVar(&c.Region, "cci-region", c.Region, "`region`, such as cn-north-4")
	flags.StringVar(&c.ProjectID, "cci-project-id", c.ProjectID, "`id` of the region's project")
	flags.StringVar(&c.DomainID, "cci-domain-id", c.DomainID, "`id` of the account, where networks need it")
	flags.StringVar(&c.CredentialsFile, "cci-credentials-file", c.CredentialsFile, "YAML `file` with accessKey, secretKey and, for temporary keys, securityToken")
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

// longestClusterID is what a user of the older systems knows. Source: seed 0, cloud.uniqueID.
const longestClusterID = 16

// Validate reports every fault at once.
func (c *Config) Validate() error {
	faults := []error{c.Logging.Validate(), c.Kube.Validate(), c.Policy.Validate(), address("health-listen", c.HealthListen)}
	if c.ClusterID == "" || len(c.ClusterID) > longestClusterID || len(validation.IsValidLabelValue(c.ClusterID)) > 0 {
		faults = append(faults, fmt.Errorf("cluster-id: invalid value %q: must have 1 to %d letters, digits, dashes, dots or underscores, a letter or digit first and last", c.ClusterID, longestClusterID))
	}
	if _, err := c.port(); err != nil {
		faults = append(faults, err)
	}
	for _, field := range []struct{ name, value, why string }{
		{"tls-cert-file", c.TLSCertFile, "logs are served over TLS only"},
		{"tls-private-key-file", c.TLSPrivateKeyFile, "logs are served over TLS only"},
		{"client-ca-file", c.ClientCAFile, "without it everybody could read logs"},
		{"cci-region", c.CCI.Region, "such as cn-north-4"},
		{"cci-project-id", c.CCI.ProjectID, "the console shows it under My Credentials"},
		{"cci-credentials-file", c.CCI.CredentialsFile, "requests are signed with the key in it"},
	} {
		if field.value == "" {
			faults = append(faults, fmt.Errorf("%s: must not be empty: %s", field.name, field.why))
		}
	}
	return errors.Join(append(faults, c.Node.validate(), c.CCI.validate(), c.Pods.validate(), c.translation().Validate())...)
}

// port is the one that the Node shows.
func (c *Config) port() (int32, error) {
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

func (c CCIConfig) validate() error {
	var faults []error
	if len(validation.IsDNS1123Label(c.Namespace)) > 0 {
		faults = append(faults, fmt.Errorf("cci-namespace: invalid value %q: must be a name that a namespace can have, such as bursting-prod", c.Namespace))
	}
	if len(c.SubnetIDs) == 0 {
		faults = append(faults, errors.New("cci-subnet-id: must be given at least once: the Neutron id of an IPv4 subnet, which the VPC console shows beside the subnet's id"))
	}
	if len(c.SecurityGroupIDs) == 0 {
		faults = append(faults, errors.New("cci-security-group-id: must be given at least once"))
	}
	if c.QPS <= 0 || c.Burst <= 0 {
		faults = append(faults, fmt.Errorf("cci-qps, cci-burst: invalid values %g and %d: must be above zero", c.QPS, c.Burst))
	}
	return errors.Join(append(faults,
		atLeast("cci.requestTimeout", c.RequestTimeout.Duration, time.Second),
		atLeast("cci.watchTimeout", c.WatchTimeout.Duration, time.Second),
		atLeast("cci.relistInterval", c.RelistInterval.Duration, time.Second))...)
}

func (c PodConfig) validate() error {
	var fault error
	if c.Workers <= 0 {
		fault = fmt.Errorf("pods.workers: invalid value %d: must be above zero", c.Workers)
	}
	return errors.Join(fault,
		atLeast("pods.longestRetry", c.LongestRetry.Duration, time.Second),
		atLeast("pods.refusalRetry", c.RefusalRetry.Duration, time.Second))
}

func atLeast(field string, value, least time.Duration) error {
	if value < least {
		return fmt.Errorf("%s: invalid value %s: must be %s or more", field, value, least)
	}
	return nil
}
