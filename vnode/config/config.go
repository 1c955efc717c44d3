package config

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
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
	// LeaderElectionNamespace is where the Lease is that lets one process tend the node, also where several were started for it by
	// mistake, or a machine that was cut off comes back. Default spillway-system.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// Listen is host:port of the kubelet port, over TLS; its port is what the Node shows. Default ":10250".
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the kubelet port's certificate, PEM. They are read again when they change. Default none:
	// without CertificateDir too it is self-signed and new at each start, as a kubelet's by default. API servers take that unless they
	// have --kubelet-certificate-authority.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// CertificateDir keeps the kubelet port's certificate where the cluster signs it, in place of the files: the virtual node asks by a
	// CertificateSigningRequest (kubernetes.io/kubelet-serving), which somebody must approve. On a disk that outlives a restart nobody has
	// to approve again until it is renewed. Default none.
	CertificateDir string `json:"certificateDir"`
	// ClientCAFile is the authority of the API server's client certificate, PEM. No default: without it logs would be open to all.
	ClientCAFile string `json:"clientCAFile"`
	// PortForward lets kubectl port-forward reach Pods by their addresses, as far as the virtual node reaches the cloud's subnets. Whoever may
	// forward ports of a Pod then reaches each of them, from the virtual node: security groups see no other caller. Default true.
	PortForward bool `json:"portForward"`
	// Usage is how the CPU and memory of Pods are found out.
	Usage UsageConfig `json:"usage"`
	// HealthListen is host:port of /healthz, /readyz and /metrics, without TLS. Default ":8082".
	HealthListen string `json:"healthListen"`
	// CCI is the cloud.
	CCI CCIConfig `json:"cci"`
	// Pods is how Pods are translated and tended.
	Pods PodConfig `json:"pods"`
	// SoldOut is what happens when the cloud has no room.
	SoldOut SoldOutConfig `json:"soldOut"`
	// Policy is what the cluster changes about the rules. It must be the same for all three programs.
	Policy policy.Config `json:"policy"`
}

// UsageConfig is how the exporters of cloud Pods are asked, when somebody wants to know: metrics-server, each 15 s. None is asked twice in 10 s.
type UsageConfig struct {
	// Concurrency is how many are asked at once. More takes less time for many Pods. Default 64.
	Concurrency int `json:"concurrency"`
	// Timeout is how long one may take: a Pod that does not answer is left out. Default 2s.
	Timeout metav1.Duration `json:"timeout"`
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
	// CredentialsFrom says where the keys come from. file: CredentialsFile. machine: temporary keys of the agency of the ECS machine.
	// podIdentity: temporary keys of the agency that the Pod's service account is bound to. Temporary keys renew themselves. Default file.
	CredentialsFrom string `json:"credentialsFrom"`
	// CredentialsFile is YAML with accessKey, secretKey, for temporary keys securityToken, and authToken where an IAM token is given rather
	// than got by the keys; or the directory of a mounted Secret with files of these names. It is read again when it changes. No default.
	CredentialsFile string `json:"credentialsFile"`
	// Namespace is the CCI namespace of the Pods; it is made where it is missing. Virtual nodes of several clusters may share one.
	// No default.
	Namespace string `json:"namespace"`
	// SubnetIDs are Neutron ids (not VPC subnet ids) of IPv4 subnets. At least one.
	SubnetIDs []string `json:"subnetIDs"`
	// SecurityGroupIDs are those of the Pods. At least one.
	SecurityGroupIDs []string `json:"securityGroupIDs"`
	// Network1 is what CCI 1.0 needs to know beside. There is one subnet and one security group then.
	Network1 Network1Config `json:"network1"`
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
	// OrphanInterval is how often the cloud is compared with the cluster, Pods of nodes that are no more included. What two looks in a
	// row find to stand for no Pod is ended. Less ends it sooner and costs lists of both. Default 10m.
	OrphanInterval metav1.Duration `json:"orphanInterval"`
	// IAMEndpoint is scheme and host of the service that gives tokens. Default https://iam.REGION.myhuaweicloud.com.
	IAMEndpoint string `json:"iamEndpoint"`
	// Exec is how commands are run in containers.
	Exec ExecConfig `json:"exec"`
}

// Network1Config describes the subnet to CCI 1.0, which finds nothing out by itself. For CCI 2.0 all of it is empty.
type Network1Config struct {
	// VPCID and NetworkID are the ids of the subnet's VPC and of its Neutron network, which the VPC console calls the subnet's id. No default.
	VPCID     string `json:"vpcID"`
	NetworkID string `json:"networkID"`
	// AvailabilityZone such as cn-north-4a holds the Pods there. Default empty: any.
	AvailabilityZone string `json:"availabilityZone"`
	// CIDR is the subnet's. Default empty: the service finds it.
	CIDR string `json:"cidr"`
}

// ExecConfig is how commands are run in containers.
type ExecConfig struct {
	// Handshake is how the caller is made known: "token", by an IAM token, which is known to work, or "signature", by the access key, of
	// which that is not known, and which needs no IAM. Default token. The token is authToken of the credentials, or else got by the keys.
	Handshake cci.Handshake `json:"handshake"`
	// KeepAlive is how often a stream is kept from looking idle: the service cuts it after five minutes. Default 1m.
	KeepAlive metav1.Duration `json:"keepAlive"`
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
	// ServiceAccountTokens carries tokens of service accounts to the cloud, where whoever can read the CCI namespace can read them. Without,
	// Pods go without the token that Kubernetes mounts by itself, and those that ask for one are refused. Default true.
	ServiceAccountTokens bool `json:"serviceAccountTokens"`
	// Claims carries claims of SFS and SFS Turbo (policy.volumeKinds) to the cloud, in regions whose CCI has PersistentVolumes; CCI 1.0 has none. Without, Pods with
	// claims are refused. Default true.
	Claims bool `json:"claims"`
	// APIServer is host:port of the cluster's API server as the cloud's subnets reach it (the ClusterIP they cannot): containers get it as
	// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. Default none: they go without the variables.
	APIServer string `json:"apiServer"`
	// ImagePrefixes replace how images begin, where the cloud pulls from another registry than the cluster; the longest that fits. Default
	// none.
	ImagePrefixes []translate.ImagePrefix `json:"imagePrefixes"`
	// MirrorRefresh is how often the copies of ConfigMaps and Secrets in the cloud are compared with their sources: one request to the API
	// server for each. Default 1m, about the kubelet's.
	MirrorRefresh metav1.Duration `json:"mirrorRefresh"`
	// MirrorRemoval is after how long without a Pod a copy is removed. More spares requests while Pods come and go. Default 30s.
	MirrorRemoval metav1.Duration `json:"mirrorRemoval"`
	// Workers is how many Pods are worked on at once. Default 50.
	Workers int `json:"workers"`
	// LongestRetry is between two tries at most, while the cloud has trouble. Default 1m.
	LongestRetry metav1.Duration `json:"longestRetry"`
	// RefusalRetry is after how long a Pod is tried again that the cloud has refused for good: quotas grow. Default 5m.
	RefusalRetry metav1.Duration `json:"refusalRetry"`
}

// SoldOutConfig is what happens when the cloud has no room. The service takes Pods then and leaves them Pending.
type SoldOutConfig struct {
	// Patience is for how long a cloud Pod waits for a place before the cloud counts as sold out. Less locks the node when the cloud is
	// only slow, more keeps Pods waiting that could run elsewhere. Default 2m.
	Patience metav1.Duration `json:"patience"`
	// Signs is a regular expression of what the service says when it is sold out: then nobody waits for Patience. Its words are not
	// documented. Default (?i)sold.?out; empty for none.
	Signs string `json:"signs"`
	// Lock is for how long the node takes no Pods then. kubectl uncordon ends it. Default 30m.
	Lock metav1.Duration `json:"lock"`
	// StuckPods is what becomes of the Pods that wait on a locked node and do not say it themselves (spillway.io/on-sold-out):
	// reschedule or wait. Pods without an owner always wait, those of Jobs unless they say otherwise. Default reschedule.
	StuckPods policy.OnSoldOut `json:"stuckPods"`
}

// Where the keys of the cloud come from (CCIConfig.CredentialsFrom).
const (
	fromFile        = "file"
	fromMachine     = "machine"
	fromPodIdentity = "podIdentity"
)

func Default() *Config {
	return &Config{
		Logging: logging.Default(),
		Kube:    kube.Default(),
		Node: NodeConfig{
			CPU: resource.MustParse("1000"), Memory: resource.MustParse("4000Gi"), EphemeralStorage: resource.MustParse("90Ti"), Pods: 3000,
		},
		LeaderElectionNamespace: "spillway-system",
		Listen:                  ":10250",
		PortForward:             true,
		Usage:                   UsageConfig{Concurrency: 64, Timeout: metav1.Duration{Duration: 2 * time.Second}},
		HealthListen:            ":8082",
		CCI: CCIConfig{
			CredentialsFrom: fromFile, QPS: 20, Burst: 40,
			RequestTimeout: metav1.Duration{Duration: 30 * time.Second},
			WatchTimeout:   metav1.Duration{Duration: 2 * time.Minute},
			RelistInterval: metav1.Duration{Duration: 10 * time.Minute},
			OrphanInterval: metav1.Duration{Duration: 10 * time.Minute},
			Exec:           ExecConfig{Handshake: cci.HandshakeToken, KeepAlive: metav1.Duration{Duration: time.Minute}},
		},
		Pods: PodConfig{
			DefaultSize: "0.50_1.0", ClusterDomain: "cluster.local", PullSecret: "imagepull-secret", Workers: 50,
			ServiceAccountTokens: true, Claims: true, MirrorRefresh: metav1.Duration{Duration: time.Minute}, MirrorRemoval: metav1.Duration{Duration: 30 * time.Second},
			LongestRetry: metav1.Duration{Duration: time.Minute}, RefusalRetry: metav1.Duration{Duration: 5 * time.Minute},
		},
		SoldOut: SoldOutConfig{
			Patience: metav1.Duration{Duration: 2 * time.Minute}, Signs: "(?i)sold.?out",
			Lock: metav1.Duration{Duration: 30 * time.Minute}, StuckPods: policy.SoldOutReschedule,
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

// iamEndpoint is the configured one, or the region's.
func (c CCIConfig) iamEndpoint() string {
	if c.IAMEndpoint != "" {
		return c.IAMEndpoint
	}
	return "https://iam." + c.Region + ".myhuaweicloud.com"
}

// CarriesClaims tells whether claims come along: CCI 1.0 has no PersistentVolumes.
func (c *Config) CarriesClaims() bool { return c.Pods.Claims && c.Policy.CCIVersion != policy.CCI1 }

// Translation is what the translation of Pods depends on.
func (c *Config) Translation() translate.Config {
	return translate.Config{
		Version: c.Policy.CCIVersion,
		Owner:   identity.Owner{ClusterID: c.ClusterID, Node: c.Node.Name}, NodeIP: c.Node.IP, DefaultSize: c.Pods.DefaultSize,
		ClusterDNS: c.Pods.ClusterDNS, ClusterDomain: c.Pods.ClusterDomain, TimeZone: c.Pods.TimeZone, PullSecret: c.Pods.PullSecret,
		NoTokens: !c.Pods.ServiceAccountTokens, NoClaims: !c.CarriesClaims(), APIServer: c.Pods.APIServer, ImagePrefixes: c.Pods.ImagePrefixes,
	}
}
