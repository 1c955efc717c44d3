// Package config is the configuration of a virtual node: its fields, defaults, flags and validation, and the clients
// that it describes. The subcommands "vnode gc" and "vnode uninstall" read the same file.
package config

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/kube"
	"github.com/spillway-k8s/spillway/internal/logging"
	"github.com/spillway-k8s/spillway/internal/prices"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/services"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// Config is the configuration of a virtual node.
type Config struct {
	// Logging is how the program logs.
	Logging logging.Config `json:"logging"`
	// Kube is the connection to the cluster. Its rate limit applies to each of five clients separately: one for Pods,
	// one for the Node and its heartbeat, one for Events and Node conditions, one for the leader election, and one for
	// what only the service account may do.
	Kube kube.Config `json:"kube"`
	// Identity is the user that reads and writes Pods and what they refer to. "node": the service account acts as the
	// user system:node:NAME (it impersonates this user), so that the API server allows what it allows a kubelet: it
	// reads the Secrets and ConfigMaps of Pods on this node only. The API server needs the Node authorizer and the
	// admission plugin NodeRestriction. "serviceAccount": the service account itself, which then needs rights on all
	// Secrets, ConfigMaps and Pods of the cluster. Default node.
	Identity Identity `json:"identity"`
	// ClusterID distinguishes the clusters of one cloud account. It is written onto every cloud Pod. Do not change it
	// while the cluster has cloud Pods: the virtual node would no longer recognize them. A label value of at most 16
	// characters. Required, no default.
	ClusterID string `json:"clusterID"`
	// Node is what all virtual nodes have in common, or the only one.
	Node NodeConfig `json:"node"`
	// Nodes are the virtual nodes. It must be the same in all processes that share them: each virtual node is run by
	// one of them, and another takes over when that one ends. Default empty: the one node of node.name.
	Nodes []VirtualNode `json:"nodes"`
	// ProcessName identifies this process among those that share the virtual nodes. No two processes may have the same
	// name at the same time: a process that restarts with its name takes its nodes back at once. A process whose name
	// ends with the number K prefers the K-th node, counted from 0. Default: the host name.
	ProcessName string `json:"processName"`
	// LeaderElectionNamespace is the namespace of the Leases that let only one process manage a node. Default
	// spillway-system.
	LeaderElectionNamespace string `json:"leaderElectionNamespace"`
	// Listen is the host:port of the kubelet port of the first node, which serves TLS. The second node has the next
	// port, and so on. The Node objects show their ports. Default ":10250".
	Listen string `json:"listen"`
	// TLSCertFile and TLSPrivateKeyFile are the certificate and the key of the kubelet port, in PEM. They are read
	// again when they change. Default none: without CertificateDir too, the certificate is self-signed and new at each
	// start, like that of a kubelet by default. API servers accept that unless they run with
	// --kubelet-certificate-authority.
	TLSCertFile       string `json:"tlsCertFile"`
	TLSPrivateKeyFile string `json:"tlsPrivateKeyFile"`
	// CertificateDir is a directory for a certificate that the cluster signs, used instead of the two files. The
	// virtual node creates a CertificateSigningRequest (signer kubernetes.io/kubelet-serving), which an administrator
	// or a controller must approve. If the directory survives a restart, no new approval is needed until the
	// certificate is renewed. Default none.
	CertificateDir string `json:"certificateDir"`
	// ClientCAFile is the authority of the API server's client certificate, in PEM. It is read again when it changes.
	// Required, no default: without it, every client could read the logs of containers.
	ClientCAFile string `json:"clientCAFile"`
	// PortForward enables kubectl port-forward, which connects to the Pods' addresses from the virtual node. It works
	// if the virtual node reaches the cloud's subnets. A user who may forward ports of a Pod then reaches all of its
	// ports, and security groups see the virtual node as the client. Default true.
	PortForward bool `json:"portForward"`
	// Usage is how the CPU and memory usage of Pods is collected.
	Usage UsageConfig `json:"usage"`
	// HealthListen is the host:port of /healthz, /readyz and /metrics, without TLS. Default ":8082".
	HealthListen string `json:"healthListen"`
	// CCI is the connection to the cloud, and where Pods run in it.
	CCI CCIConfig `json:"cci"`
	// Pods is how Pods are translated and managed.
	Pods PodConfig `json:"pods"`
	// Services is the server that gives Pods the Services of the cluster.
	Services ServicesConfig `json:"services"`
	// SoldOut is what happens when the cloud has no capacity.
	SoldOut SoldOutConfig `json:"soldOut"`
	// Prices are the prices of the cloud, for what Pods have cost (docs/cost.md). Default: there are none.
	Prices prices.Config `json:"prices"`
	// Policy is how the cluster changes the rules. It must be the same for the extender, admission and the virtual
	// nodes.
	Policy policy.Config `json:"policy"`
}

// Identity is the user that reads and writes Pods and what they refer to.
type Identity string

// The values of Identity.
const (
	IdentityNode           Identity = "node"
	IdentityServiceAccount Identity = "serviceAccount"
)

// UsageConfig is how the exporters of cloud Pods are read. They are read when a client, such as metrics-server,
// requests the usage of the node, and each at most once in 10 seconds.
type UsageConfig struct {
	// Concurrency is how many exporters are read at once. More shortens the time for many Pods and uses more
	// connections. Default 64.
	Concurrency int `json:"concurrency"`
	// Timeout is how long reading one exporter may take. A Pod that does not answer in time is left out. More includes
	// slow Pods and delays the answer for all. At least 100ms. Default 2s.
	Timeout metav1.Duration `json:"timeout"`
}

// NodeConfig is what the Node objects show.
type NodeConfig struct {
	// Name is the name of the only virtual node: short for a list Nodes with one name. Required without Nodes, must be
	// empty with Nodes. Default empty.
	Name string `json:"name"`
	// IP is the address at which the API server reaches the kubelet ports of this process. It is also the hostIP of the
	// Pods. Required, no default.
	IP string `json:"ip"`
	// Zone is the zone of the cloud, such as cn-north-4a: the label topology.kubernetes.io/zone. CCI 2.0 places the
	// Pods of the node in this zone. Default empty: no label, and Pods run in any zone of their subnets.
	Zone string `json:"zone"`
	// Labels are additional labels of the Node. It gets them again if it loses them. Default none.
	Labels map[string]string `json:"labels"`
	// Taints are additional taints of the Node. It gets them again if it loses them. A taint that is no longer
	// configured stays until you remove it. Default none.
	Taints []corev1.Taint `json:"taints"`
	// HostnameLabel gives the Node the label kubernetes.io/hostname. To the scheduler all its Pods then are on one
	// host: of Pods with required anti-affinity by host name, one runs in the cloud. Default false: each cloud Pod is
	// on a host of its own.
	HostnameLabel bool `json:"hostnameLabel"`
	// TopologyHints lets the CPU of the Node count when Kubernetes distributes the endpoints of Services with
	// topology-mode Auto over zones, and the hints of all these Services are lost if the Node has no zone. Default
	// false: the Node has the label node-role.kubernetes.io/master, by which Kubernetes leaves it out. Use true if
	// something in the cluster takes nodes with that label for machines of the control plane.
	TopologyHints bool `json:"topologyHints"`
	// CPU, Memory, EphemeralStorage and Pods are the capacity of the Node. The cloud reserves nothing for it. More lets
	// more Pods burst, but distorts the scheduler's scores and graphs of the cluster's utilization. Less limits the
	// cost. Defaults 1000, 4000Gi, 90Ti and 3000: the number of Pods that one virtual node should have at most, with
	// capacity for each Pod of average size.
	CPU              resource.Quantity `json:"cpu"`
	Memory           resource.Quantity `json:"memory"`
	EphemeralStorage resource.Quantity `json:"ephemeralStorage"`
	Pods             int64             `json:"pods"`
}

// VirtualNode is one of several virtual nodes. What is not set is that of the sections node and cci.
type VirtualNode struct {
	// Name is the name of the Node. Required, no default.
	Name string `json:"name"`
	// Zone replaces node.zone.
	Zone string `json:"zone,omitempty"`
	// Labels are added to node.labels.
	Labels map[string]string `json:"labels,omitempty"`
	// Taints replace node.taints.
	Taints []corev1.Taint `json:"taints,omitempty"`
	// SubnetIDs replace cci.subnetIDs. A cloud namespace has one network, so the Pods of this node then have a cloud
	// namespace of their own.
	SubnetIDs []string `json:"subnetIDs,omitempty"`
	// CloudNamespace replaces cci.namespace. Default with SubnetIDs: cci.namespace, a dash and the name of the Node.
	CloudNamespace string `json:"cloudNamespace,omitempty"`
	// CPU, Memory, EphemeralStorage and Pods replace those of node.
	CPU              *resource.Quantity `json:"cpu,omitempty"`
	Memory           *resource.Quantity `json:"memory,omitempty"`
	EphemeralStorage *resource.Quantity `json:"ephemeralStorage,omitempty"`
	Pods             *int64             `json:"pods,omitempty"`
}

// CCIConfig is the connection to the cloud, and where Pods run in it.
type CCIConfig struct {
	// Endpoint is the URL of the service: https:// and a host. Default https://cci.REGION.myhuaweicloud.com.
	Endpoint string `json:"endpoint"`
	// Region is the region of the cloud, such as cn-north-4. Required, no default.
	Region string `json:"region"`
	// ProjectID is the ID of the project of the region. Required, no default.
	ProjectID string `json:"projectID"`
	// DomainID is the ID of the account. It is written onto a network that the virtual node creates. Leave it empty if
	// the service does not require it. Default empty.
	DomainID string `json:"domainID"`
	// CredentialsFrom is the source of the keys that sign requests. "file": CredentialsFile. "machine": temporary keys
	// of the agency of the ECS machine. "podIdentity": temporary keys of the agency that the Pod's service account is
	// bound to. Temporary keys are renewed automatically. Default file.
	CredentialsFrom string `json:"credentialsFrom"`
	// CredentialsFile is a YAML file with accessKey and secretKey, with securityToken for temporary keys, and with
	// authToken if an IAM token is given instead of being requested with the keys. It can also be the directory of a
	// mounted Secret with files of these names. It is read again when it changes. Required if CredentialsFrom is
	// "file", no default.
	CredentialsFile string `json:"credentialsFile"`
	// Namespace is the cloud namespace of the Pods. It is created if it does not exist. The virtual nodes of several
	// clusters can share one. Required, no default.
	Namespace string `json:"namespace"`
	// SubnetIDs are Neutron IDs (not VPC subnet IDs) of IPv4 subnets. At least one is required. When their addresses
	// run out, append others: they are added to the network of the cloud namespace. None can be removed or replaced
	// there.
	SubnetIDs []string `json:"subnetIDs"`
	// PodCIDRs are the address ranges of these subnets, such as 10.0.1.0/24. An address that the cloud reports for a
	// Pod is used only if it is in one of them: in the status of the Pod, where Services take it from, and for
	// connections of the virtual node (port forwarding, usage). Default empty: network1.cidr if it is set, else every
	// address except loopback, link-local, multicast and unspecified ones. The node's own address is never used. Set it
	// if you do not trust everybody who can change objects in the cloud account.
	PodCIDRs []string `json:"podCIDRs"`
	// SecurityGroupIDs are the security groups of the Pods. At least one is required.
	SecurityGroupIDs []string `json:"securityGroupIDs"`
	// ImageSnapshots is how Pods start from snapshots of their images.
	ImageSnapshots ImageSnapshotConfig `json:"imageSnapshots"`
	// WarmPool is how many addresses the network of the cloud namespace keeps ready.
	WarmPool WarmPoolConfig `json:"warmPool"`
	// Network1 describes the network to CCI 1.0, which takes one subnet and one security group. Leave it empty for CCI
	// 2.0.
	Network1 Network1Config `json:"network1"`
	// QPS and Burst limit the rate of requests to the cloud: per second in the long run, and at once. More makes large
	// bursts faster until the service throttles. Its limits are not published, so QPS is where the rate begins: see
	// MaxQPS. Namespaces whose requests wait take turns. Defaults 20 and 40.
	QPS   float64 `json:"qps"`
	Burst int     `json:"burst"`
	// MaxQPS is up to where the rate of requests grows while requests wait and the service takes all of them. The rate
	// falls, below QPS too, when the service throttles. More makes bursts of thousands faster. Less leaves more of the
	// account's limits to other clients. 0, or less than QPS, means that the rate never exceeds QPS. Default 200.
	MaxQPS float64 `json:"maxQPS"`
	// RequestTimeout is the timeout of one attempt of a request. Less gives up on a slow cloud earlier, more blocks
	// workers longer. At least 1s. Default 30s.
	RequestTimeout metav1.Duration `json:"requestTimeout"`
	// WatchTimeout is how long one watch lasts. A dead connection is detected by then. Less detects it earlier and
	// starts more watches. At least 1s. Default 2m.
	WatchTimeout metav1.Duration `json:"watchTimeout"`
	// RelistInterval is how often all cloud Pods are listed even though the watch works. Less corrects missed events
	// earlier and costs more requests. At least 1s. Default 10m.
	RelistInterval metav1.Duration `json:"relistInterval"`
	// OrphanInterval is how often the cloud Pods are compared with the Pods of the cluster, including the cloud Pods of
	// nodes that no longer exist. A cloud Pod without a Pod in two comparisons in a row is deleted. Less deletes it
	// earlier and costs lists of both. At least 1s. Default 10m.
	OrphanInterval metav1.Duration `json:"orphanInterval"`
	// IAMEndpoint is the URL of the service that issues tokens: https:// and a host. Default
	// https://iam.REGION.myhuaweicloud.com.
	IAMEndpoint string `json:"iamEndpoint"`
	// AllowHTTP allows Endpoint and IAMEndpoint to begin with http://, for a simulated cloud in the cluster. The keys,
	// tokens and Secrets that are sent to it can then be read on the way. A loopback address is always allowed. Default
	// false.
	AllowHTTP bool `json:"allowHTTP"`
	// Exec is how commands run in containers.
	Exec ExecConfig `json:"exec"`
}

// ImageSnapshotConfig is how Pods start from snapshots of their images, and how a virtual node keeps snapshots.
type ImageSnapshotConfig struct {
	// AutoMatch lets the cloud choose the snapshot that has most of a Pod's images, instead of pulling them. Snapshots
	// belong to the account: do not use it if namespaces must not run the private images of others, or if tags of
	// images move. The annotations cci.io/image-snapshot-auto-match and cci.io/image-snapshot-specified-name of a Pod
	// have priority, if they are allowed (pods.cloudAnnotations). Default false.
	AutoMatch bool `json:"autoMatch"`
	// Keep is the number of snapshots that the virtual node keeps at most, of images that at least two of its Pods have
	// run. It needs AutoMatch and CCI 2.0. More speeds up more images, and each costs a Pod of 2 CPU and 4 GiB while it
	// is made. Left out are images of Pods with pull secrets of their own, because every Pod of the account can start
	// from a snapshot, and images that are always pulled (imagePullPolicy), because their tags move. At most 200.
	// Default 0: the virtual node makes no snapshots.
	Keep int `json:"keep"`
	// Interval is the time between two checks of the snapshots. Each makes one at most, so it bounds the cost. Less
	// makes snapshots earlier. At least 1s. Default 10m.
	Interval metav1.Duration `json:"interval"`
	// Removal is the time after which a snapshot is removed that no Pod has used. More keeps those of workloads that
	// burst rarely. At least 1h. Default 72h.
	Removal metav1.Duration `json:"removal"`
	// Renewal is the time after which the cloud removes a snapshot, in whole days. The virtual node makes a new one if
	// the image is still used. It also bounds what is left if the virtual node is gone. Default 168h.
	Renewal metav1.Duration `json:"renewal"`
}

// WarmPoolConfig describes addresses that CCI 2.0 keeps ready, so that Pods need not wait for one.
type WarmPoolConfig struct {
	// Size is the number of addresses that the network keeps ready. More starts larger bursts faster, and takes as many
	// addresses of the subnets from others, also while no Pod runs. A change applies to a live network, too: 0 removes
	// the setting from a network that a virtual node has created, and leaves other networks as they are. At most 500.
	// Default 0: none.
	Size int `json:"size"`
	// RecycleInterval is how long the service keeps idle addresses above that number, in whole hours. Less gives them
	// back to the subnets earlier. Default 0: the service decides.
	RecycleInterval metav1.Duration `json:"recycleInterval"`
}

// Network1Config describes the subnet to CCI 1.0. CCI 2.0 derives all of it from the subnet: leave it empty there.
type Network1Config struct {
	// VPCID is the ID of the subnet's VPC. NetworkID is the ID of the subnet's Neutron network, which the VPC console
	// calls network ID. Both are required for CCI 1.0, no default.
	VPCID     string `json:"vpcID"`
	NetworkID string `json:"networkID"`
	// AvailabilityZone, such as cn-north-4a, restricts the Pods to a zone. Default empty: any zone.
	AvailabilityZone string `json:"availabilityZone"`
	// CIDR is the address range of the subnet. Default empty: the service determines it.
	CIDR string `json:"cidr"`
}

// ExecConfig is how commands run in containers.
type ExecConfig struct {
	// Handshake is how the virtual node authenticates. "token": with an IAM token, either authToken of the credentials
	// or requested with the keys. This is confirmed to work. "signature": with the access key, without IAM. Whether the
	// service accepts this is not confirmed. Default token.
	Handshake cci.Handshake `json:"handshake"`
	// KeepAlive is how often an idle stream sends something. The service closes a stream that is idle for five minutes.
	// At least 1s. Default 1m.
	KeepAlive metav1.Duration `json:"keepAlive"`
}

// PodConfig is how Pods are translated and managed.
type PodConfig struct {
	// Services is how Pods reach the Services of the cluster, unless their annotation spillway.io/services says
	// otherwise. "off": they do not. "routed": the network routes ClusterIPs. "proxy": a sidecar without privileges
	// resolves the names of Services and connects to their endpoints. "kube-proxy": kube-proxy is the sidecar, which
	// needs the capability NET_ADMIN. Default off.
	Services policy.ServicesMode `json:"services"`
	// ClusterDNS are addresses of the cluster's DNS that are reachable from the cloud's subnets. A ClusterIP is one
	// with services routed or kube-proxy only. Default none: Pods use the DNS of the cloud, which does not resolve the
	// cluster's Services.
	ClusterDNS []string `json:"clusterDNS"`
	// ClusterDomain is the domain of the cluster's Services. Default cluster.local.
	ClusterDomain string `json:"clusterDomain"`
	// TimeZone, such as Asia/Shanghai, is the value of TZ in containers that mount /etc/localtime. Default empty: UTC.
	TimeZone string `json:"timeZone"`
	// PullSecret is the Secret of the cloud namespace that images are pulled with. Default imagepull-secret, which the
	// service creates for its own registry.
	PullSecret string `json:"pullSecret"`
	// ServiceAccountTokens copies service account tokens to the cloud, where every user who can read the cloud
	// namespace can read them. If false, Pods run without the token that Kubernetes mounts automatically, and Pods that
	// explicitly request a token are refused. Default true.
	ServiceAccountTokens bool `json:"serviceAccountTokens"`
	// Claims copies PersistentVolumeClaims of SFS and SFS Turbo (policy.volumeKinds) to the cloud, in regions whose CCI
	// has PersistentVolumes. CCI 1.0 has none. If false, Pods with claims are refused. Default true.
	Claims bool `json:"claims"`
	// APIServer is the host:port at which the cloud's subnets reach the cluster's API server. Containers get it as
	// KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT. Default empty: they get the Service kubernetes of namespace
	// default, and with services off none of these variables.
	APIServer string `json:"apiServer"`
	// ImagePrefixes replace prefixes of images, if the cloud pulls from another registry than the cluster. The longest
	// prefix that matches applies. Default none.
	ImagePrefixes []translate.ImagePrefix `json:"imagePrefixes"`
	// CloudAnnotations are the annotations of Pods that go to the cloud, for all namespaces. An entry is a key, which
	// allows every value, "key=value", or "domain/*" for all keys of a domain. The annotation
	// spillway.io/allow-cloud-annotations of a Namespace adds entries for its Pods. Other annotations that the cloud
	// reads are left out, and an Event says so: they can open the network or cost money. Default: the instance types
	// general-computing and general-computing-lite, the keys of the exporter of metrics, and those of the simulator.
	CloudAnnotations policy.CloudAnnotations `json:"cloudAnnotations"`
	// Proxy is the sidecar of Pods with services proxy, and how the sidecars of all Pods get the Services of the
	// cluster.
	Proxy ProxyConfig `json:"proxy"`
	// KubeProxy is the sidecar of Pods with services kube-proxy.
	KubeProxy KubeProxyConfig `json:"kubeProxy"`
	// MirrorRefresh is how often the copies of ConfigMaps and Secrets in the cloud are compared with their sources.
	// Each costs one request to the API server. Less updates copies earlier. At least 1s. Default 1m, similar to the
	// kubelet.
	MirrorRefresh metav1.Duration `json:"mirrorRefresh"`
	// MirrorRemoval is how long a copy is kept after its last Pod. More saves requests while Pods come and go. At least
	// 1s. Default 30s.
	MirrorRemoval metav1.Duration `json:"mirrorRemoval"`
	// MirrorLimits bound these copies.
	MirrorLimits MirrorLimits `json:"mirrorLimits"`
	// Workers is how many Pods are reconciled at once. More makes large bursts faster, as far as the rate limits allow.
	// Namespaces take turns, and one alone keeps at most four fifths busy. Fewer than 5 leave no worker for the others
	// while one namespace waits for the cloud. Default 50.
	Workers int `json:"workers"`
	// MaxRetryInterval is the longest interval between two attempts while the cloud fails. Less recovers earlier, more
	// spares a failing cloud. At least 1s. Default 1m.
	MaxRetryInterval metav1.Duration `json:"maxRetryInterval"`
	// RefusalRetry is the interval between attempts for a Pod that the cloud refuses: a quota may have been raised
	// meanwhile. Less finds out earlier, more saves requests. At least 1s. Default 5m.
	RefusalRetry metav1.Duration `json:"refusalRetry"`
}

// ProxyConfig is the sidecar of Pods with services proxy, and how the sidecars of all Pods get the Services of the
// cluster.
type ProxyConfig struct {
	// Image is the image of the sidecar, spillway-proxy of the same version. The cloud must be able to pull it
	// (ImagePrefixes). Required for services proxy. If it is set, Pods may also choose it by their annotation. Default
	// empty.
	Image string `json:"image"`
	// Nameservers are addresses of DNS servers that are reachable from the cloud's subnets. The sidecar asks them for
	// names outside of the cluster. Default: those of clusterDNS.
	Nameservers []string `json:"nameservers"`
	// Addresses are the host:port at which Pods reach the servers of Services (services.address) of the processes of
	// vnode: a load balancer, or node ports. The first one is used as long as it answers. Default empty: the addresses
	// of the ready processes of vnode, which the cloud's subnets must then reach.
	Addresses []string `json:"addresses"`
	// Namespaces are the namespaces whose Services all Pods see, and their endpoints. "*" is every namespace. A Pod
	// always sees the Services of its own namespace, and the Service kubernetes of namespace default. Fewer namespaces
	// show less of the cluster to each Pod, and send less to it. Default ["*"].
	Namespaces []string `json:"namespaces"`
}

// KubeProxyConfig is the sidecar of Pods with services kube-proxy.
type KubeProxyConfig struct {
	// Image is the image of kube-proxy, such as registry.k8s.io/kube-proxy:v1.37.2, of 1.33 or newer. The cloud must be
	// able to pull it (ImagePrefixes). Required for services kube-proxy. If it is set, Pods may also choose it by their
	// annotation. Default empty.
	Image string `json:"image"`
}

// ServicesConfig is the server that gives Pods the Services of the cluster.
type ServicesConfig struct {
	// Address is the host:port on which every process of vnode serves Services to the proxies in Pods, with TLS.
	// Default ":10260".
	Address string `json:"address"`
}

// MirrorLimits bound the copies in the cloud of what Pods refer to, so that one namespace leaves room for the others.
type MirrorLimits struct {
	// ObjectsPerPod is how many ConfigMaps, Secrets, claims and tokens one Pod may refer to. A Pod that refers to more
	// is refused. More lets one Pod keep a worker busy for longer: each object costs up to two requests to the cloud
	// before the Pod is created. Default 100.
	ObjectsPerPod int `json:"objectsPerPod"`
	// ObjectsPerNamespace is how many ConfigMaps, Secrets and claims of one namespace have copies at once. A Pod that
	// needs one more waits. More costs memory, about 1 KiB each, and requests (MirrorRefresh). Default 2000.
	ObjectsPerNamespace int `json:"objectsPerNamespace"`
	// BytesPerNamespace is the size of all copies of one namespace. A Pod that needs more waits, and a copy is no
	// longer updated from a source that has grown beyond it. More fills the cloud namespace. Default 64Mi.
	BytesPerNamespace resource.Quantity `json:"bytesPerNamespace"`
}

// SoldOutConfig is what happens when the cloud has no capacity. The service accepts Pods then and leaves them Pending.
type SoldOutConfig struct {
	// Timeout is how long a cloud Pod stays unscheduled, while no other of its size is scheduled, before the size
	// counts as sold out. Less may lock the node when the cloud is only slow, more delays Pods that could run
	// elsewhere. At least 1s. Default 2m.
	Timeout metav1.Duration `json:"timeout"`
	// Signs is a regular expression for the reasons by which the service reports that it is sold out: of the condition
	// PodScheduled, of the status, or of a warning event of a cloud Pod. If one matches, the size of the Pod counts as
	// sold out at once. Messages are not matched, because they contain names that users choose. The reasons are not
	// documented. Empty means none. Default (?i)sold.?out.
	Signs string `json:"signs"`
	// ProbeImage is the image of the probe: a cloud Pod of the smallest size that is created while Pods wait, to find
	// out whether the whole cloud is sold out. Only if it finds no room either is the node locked. It is deleted as
	// soon as it has found room, before its image is pulled, so the image does not have to exist. It is billed for some
	// seconds, at most once in three timeouts. Empty means no probe: the node is then locked if Pods of two namespaces
	// wait and no Pod has found room since. Default registry.k8s.io/pause:3.10.
	ProbeImage string `json:"probeImage"`
	// FirstLock is how long the node accepts no Pods when the cloud is sold out for the first time. If Pods find no
	// room afterwards either, each lock lasts twice as long as the one before, up to Lock. Once a Pod finds room, the
	// next lock is a first one again. Less tries the cloud again earlier, more spares Pods the failed attempt. A value
	// of Lock or more makes all locks last as long as Lock. At least 1s. Default 1m.
	FirstLock metav1.Duration `json:"firstLock"`
	// Lock is how long the node accepts no Pods at the longest. kubectl uncordon ends a lock earlier, and so does a Pod
	// that finds room. Less tries the cloud again earlier, more spares Pods the failed attempt. At least 1s. Default
	// 30m.
	Lock metav1.Duration `json:"lock"`
	// StrandedPods is what happens to the Pods that wait on a locked node because their size is sold out, unless their
	// annotation spillway.io/on-sold-out specifies it: "reschedule" evicts them so that their owners create them again,
	// "wait" leaves them. Pods without an owner always wait. Pods of Jobs wait unless their annotation says otherwise.
	// Default reschedule.
	StrandedPods policy.OnSoldOut `json:"strandedPods"`
}

// Sources of the keys (CCIConfig.CredentialsFrom).
const (
	fromFile        = "file"
	fromMachine     = "machine"
	fromPodIdentity = "podIdentity"
)

// Default returns the default configuration.
func Default() *Config {
	return &Config{
		Logging: logging.Default(),
		Kube:    kube.Default(), Identity: IdentityNode,
		Node: NodeConfig{
			CPU: resource.MustParse("1000"), Memory: resource.MustParse("4000Gi"),
			EphemeralStorage: resource.MustParse("90Ti"), Pods: 3000,
		},
		LeaderElectionNamespace: "spillway-system",
		Listen:                  ":10250",
		PortForward:             true,
		Usage:                   UsageConfig{Concurrency: 64, Timeout: duration(2 * time.Second)},
		HealthListen:            ":8082",
		CCI: CCIConfig{
			CredentialsFrom: fromFile, QPS: 20, Burst: 40, MaxQPS: 200,
			RequestTimeout: duration(30 * time.Second),
			WatchTimeout:   duration(2 * time.Minute),
			RelistInterval: duration(10 * time.Minute),
			OrphanInterval: duration(10 * time.Minute),
			ImageSnapshots: ImageSnapshotConfig{
				Interval: duration(10 * time.Minute), Removal: duration(72 * time.Hour),
				Renewal: duration(7 * 24 * time.Hour),
			},
			Exec: ExecConfig{Handshake: cci.HandshakeToken, KeepAlive: duration(time.Minute)},
		},
		Pods: PodConfig{
			Services: policy.ServicesOff, ClusterDomain: "cluster.local", PullSecret: "imagepull-secret", Workers: 50,
			ServiceAccountTokens: true, Claims: true, CloudAnnotations: translate.DefaultCloudAnnotations(),
			Proxy:         ProxyConfig{Namespaces: []string{services.AllNamespaces}},
			MirrorRefresh: duration(time.Minute), MirrorRemoval: duration(30 * time.Second),
			MirrorLimits: MirrorLimits{
				ObjectsPerPod: 100, ObjectsPerNamespace: 2000, BytesPerNamespace: resource.MustParse("64Mi"),
			},
			MaxRetryInterval: duration(time.Minute), RefusalRetry: duration(5 * time.Minute),
		},
		Services: ServicesConfig{Address: ":10260"},
		SoldOut: SoldOutConfig{
			Timeout: duration(2 * time.Minute), Signs: "(?i)sold.?out", ProbeImage: "registry.k8s.io/pause:3.10",
			FirstLock: duration(time.Minute), Lock: duration(30 * time.Minute), StrandedPods: policy.SoldOutReschedule,
		},
		Policy: policy.DefaultConfig(),
	}
}

func duration(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

// Aliases returns the former names of renamed fields, which the file may still use.
func (c *Config) Aliases() map[string]string {
	return map[string]string{
		"pods.defaultSize":  "policy.defaultSize",
		"pods.longestRetry": "pods.maxRetryInterval",
		"soldOut.patience":  "soldOut.timeout",
		"soldOut.stuckPods": "soldOut.strandedPods",
	}
}

// ServiceEndpoint returns the configured endpoint of CCI, or that of the region.
func (c CCIConfig) ServiceEndpoint() string {
	if c.Endpoint != "" {
		return c.Endpoint
	}
	return "https://cci." + c.Region + ".myhuaweicloud.com"
}

// TokenEndpoint returns the configured endpoint of IAM, or that of the region.
func (c CCIConfig) TokenEndpoint() string {
	if c.IAMEndpoint != "" {
		return c.IAMEndpoint
	}
	return "https://iam." + c.Region + ".myhuaweicloud.com"
}

// IsSelfSigned reports whether the kubelet port uses a self-signed certificate.
func (c *Config) IsSelfSigned() bool { return c.TLSCertFile == "" && c.CertificateDir == "" }

// CopiesClaims reports whether PersistentVolumeClaims are copied to the cloud. CCI 1.0 has no PersistentVolumes.
func (c *Config) CopiesClaims() bool { return c.Pods.Claims && c.Policy.CCIVersion != policy.CCI1 }

// FollowsServices reports whether Pods may reach Services in any way, so that those of the cluster must be known.
func (c *Config) FollowsServices() bool { return len(c.Pods.ClusterDNS) > 0 || c.ServesServices() }

// ServesServices reports whether Pods may have a sidecar for Services, to which this process serves them.
func (c *Config) ServesServices() bool {
	return c.Pods.Proxy.Image != "" || c.Pods.KubeProxy.Image != ""
}

// Owner returns the owner of the virtual node's objects in the cloud. The configuration must be that of one node.
func (c *Config) Owner() identity.Owner {
	return identity.Owner{ClusterID: c.ClusterID, Node: c.Node.Name}
}

// Translation returns the configuration of the translation of Pods. The configuration must be that of one node.
func (c *Config) Translation() translate.Config {
	return translate.Config{
		Version: c.Policy.CCIVersion,
		Owner:   c.Owner(),
		NodeIP:  c.Node.IP, Zone: c.Node.Zone, DefaultSize: c.Policy.DefaultSize,
		ClusterDNS: c.Pods.ClusterDNS, ClusterDomain: c.Pods.ClusterDomain, TimeZone: c.Pods.TimeZone,
		PullSecret: c.Pods.PullSecret, NoTokens: !c.Pods.ServiceAccountTokens, NoClaims: !c.CopiesClaims(),
		APIServer: c.Pods.APIServer, ImagePrefixes: c.Pods.ImagePrefixes, CloudAnnotations: c.Pods.CloudAnnotations,
		MatchSnapshots: c.CCI.ImageSnapshots.AutoMatch,
		Services: translate.ServicesConfig{
			Mode: c.Pods.Services, ProxyImage: c.Pods.Proxy.Image, KubeProxyImage: c.Pods.KubeProxy.Image,
			Nameservers: c.Pods.Proxy.Nameservers, Server: c.LeaderElectionNamespace + "/" + services.ServiceName,
		},
	}
}
