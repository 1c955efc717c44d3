package system

import (
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	configv1alpha1 "k8s.io/component-base/config/v1alpha1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
)

func (s *System) etcdArgs() []string {
	client, peer := "http://"+s.address(Etcd), "http://"+address(s.state.FirstPort+etcdPeerPort)
	return []string{
		"--name=trial", "--data-dir=" + s.data("etcd"), "--unsafe-no-fsync",
		"--listen-client-urls=" + client, "--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer, "--initial-advertise-peer-urls=" + peer, "--initial-cluster=trial=" + peer,
		"--log-level=warn",
	}
}

func (s *System) apiServerArgs() []string {
	args := []string{
		"--etcd-servers=http://" + s.address(Etcd),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port(APIServer)),
		"--tls-cert-file=" + s.pki.certFile(APIServer), "--tls-private-key-file=" + s.pki.keyFile(APIServer),
		// The API server is reachable only over loopback, which cannot be advertised. This address is for
		// documentation.
		"--advertise-address=192.0.2.1", "--endpoint-reconciler-type=none",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--token-auth-file=" + s.data("tokens.csv"),
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + s.pki.keyFile("service-accounts"),
		"--service-account-signing-key-file=" + s.pki.keyFile("service-accounts"),
		"--service-cluster-ip-range=10.96.0.0/16", "--allow-privileged=true",
		"--kubelet-certificate-authority=" + s.pki.certFile("ca"),
		"--kubelet-client-certificate=" + s.pki.certFile(kubeletClientUser),
		"--kubelet-client-key=" + s.pki.keyFile(kubeletClientUser),
		"--kubelet-preferred-address-types=InternalIP",
	}
	if s.config.BareNodes { // The plugin's taint would never be removed, because the node lifecycle controller is off.
		args = append(args, "--disable-admission-plugins=TaintNodesByCondition")
	}
	return args
}

func (s *System) controllerManagerArgs() []string {
	args := []string{
		"--kubeconfig=" + s.kubeconfig("system:kube-controller-manager"), "--leader-elect=false",
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port(ControllerManager)),
		"--tls-cert-file=" + s.pki.certFile(ControllerManager),
		"--tls-private-key-file=" + s.pki.keyFile(ControllerManager),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + s.pki.keyFile("service-accounts"),
		"--root-ca-file=" + s.pki.certFile("ca"),
		"--cluster-signing-cert-file=" + s.pki.certFile("ca"), "--cluster-signing-key-file=" + s.pki.keyFile("ca"),
		// With the defaults, 20 and 30, creating 60 replicas would take seconds.
		"--kube-api-qps=500", "--kube-api-burst=1000",
	}
	if s.config.BareNodes {
		args = append(args, "--controllers=*,-node-lifecycle-controller")
	}
	return args
}

func (s *System) schedulerArgs(name string) []string {
	file := "scheduler.yaml"
	if name == OtherScheduler {
		file = "scheduler-other.yaml"
	}
	return []string{
		"--config=" + s.data(file),
		"--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", s.port(name)),
		"--tls-cert-file=" + s.pki.certFile(Scheduler), "--tls-private-key-file=" + s.pki.keyFile(Scheduler),
		"--authorization-always-allow-paths=/healthz,/readyz,/livez,/metrics",
	}
}

func (s *System) kwokArgs() []string {
	return []string{
		"--kubeconfig=" + s.kubeconfig(KWOK), "--config=" + s.binary("kwok-stages.yaml"),
		"--manage-nodes-with-annotation-selector=" + kwokAnnotation + "=" + kwokManaged,
		// Each change of a node delays its heartbeat, but not the renewal of its Lease. Without Leases, a node that is
		// changed all the time becomes NotReady, and KWOK never makes its Pods Ready again. It renews a Lease after a
		// quarter of its duration; another KWOK waits until it has expired.
		"--node-lease-duration-seconds=16", "--cidr=10.244.0.0/16", "--node-ip=192.0.2.2",
		"--server-address=" + s.address(KWOK),
	}
}

// ConfigureScheduler writes the configuration that the scheduler reads when it starts the next time. The function edit,
// if it is not nil, changes it first.
func (s *System) ConfigureScheduler(edit func(*schedulerv1.KubeSchedulerConfiguration)) error {
	configuration := s.schedulerConfiguration()
	if s.config.has(Extender) {
		configuration.Extenders = []schedulerv1.Extender{s.extender()}
	}
	own := *configuration.Profiles[0].DeepCopy()
	own.SchedulerName = new(OwnScheduler)
	// With the default, from 100 nodes on, many samples would not contain a virtual node.
	own.PercentageOfNodesToScore = new(int32(100))
	switch s.config.Shape.Topology {
	case TopologySidecar:
		configuration.Profiles[0].PercentageOfNodesToScore = own.PercentageOfNodesToScore
	case TopologyService:
		configuration.Profiles = append(configuration.Profiles, own)
	case TopologyOwnScheduler:
		own.PluginConfig = []schedulerv1.PluginConfig{IgnoreMarker()}
		configuration.Profiles[0] = own
	}
	return s.writeSchedulerConfiguration("scheduler.yaml", configuration, edit)
}

// configureOtherScheduler writes the configuration of OtherScheduler.
func (s *System) configureOtherScheduler() error {
	if !s.config.hasOtherScheduler() {
		return nil
	}
	configuration := s.schedulerConfiguration()
	configuration.LeaderElection.LeaderElect = new(false)
	return s.writeSchedulerConfiguration("scheduler-other.yaml", configuration, s.config.OtherScheduler)
}

// IgnoreMarker returns the part of a profile that makes a scheduler without the extender ignore the marker resource.
func IgnoreMarker() schedulerv1.PluginConfig {
	raw := fmt.Appendf(nil, `{"ignoredResources":[%q]}`, policy.PlacementResource)
	return schedulerv1.PluginConfig{Name: "NodeResourcesFit", Args: runtime.RawExtension{Raw: raw}}
}

func (s *System) writeSchedulerConfiguration(
	file string, configuration *schedulerv1.KubeSchedulerConfiguration,
	edit func(*schedulerv1.KubeSchedulerConfiguration),
) error {
	if edit != nil {
		edit(configuration)
	}
	content, err := yaml.Marshal(configuration)
	if err != nil {
		return fmt.Errorf("encoding the scheduler's configuration: %w", err)
	}
	if err := os.WriteFile(s.data(file), content, 0o600); err != nil {
		return fmt.Errorf("writing the scheduler's configuration: %w", err)
	}
	return nil
}

// schedulerConfiguration returns the configuration of a scheduler that calls no extender.
func (s *System) schedulerConfiguration() *schedulerv1.KubeSchedulerConfiguration {
	return &schedulerv1.KubeSchedulerConfiguration{
		TypeMeta: metav1.TypeMeta{
			APIVersion: schedulerv1.SchemeGroupVersion.String(), Kind: "KubeSchedulerConfiguration",
		},
		LeaderElection: configv1alpha1.LeaderElectionConfiguration{LeaderElect: new(s.config.Shape.HA)},
		ClientConnection: configv1alpha1.ClientConnectionConfiguration{
			Kubeconfig: s.kubeconfig("system:kube-scheduler"),
			QPS:        500, Burst: 1000, // The defaults, 50 and 100, limit binding.
		},
		Profiles: []schedulerv1.KubeSchedulerProfile{{SchedulerName: new(corev1.DefaultSchedulerName)}},
	}
}

func (s *System) extender() schedulerv1.Extender {
	extender := schedulerv1.Extender{
		URLPrefix:        s.ServiceEndpoint(Extender) + "/v1",
		FilterVerb:       "filter",
		PrioritizeVerb:   "prioritize",
		PreemptVerb:      "preempt",
		Weight:           3,
		NodeCacheCapable: true,
		HTTPTimeout:      metav1.Duration{Duration: 2 * time.Second},
	}
	if s.config.Shape.Topology == TopologyService {
		certFile, keyFile := s.Certificate(SchedulerUser)
		extender.EnableHTTPS = true
		extender.TLSConfig = &schedulerv1.ExtenderTLSConfig{
			CAFile: s.AuthorityFile(), CertFile: certFile, KeyFile: keyFile,
		}
	}
	if !s.config.CallForEveryPod && s.config.Shape.Topology != TopologyOwnScheduler {
		extender.ManagedResources = []schedulerv1.ExtenderManagedResource{{Name: string(policy.PlacementResource),
			IgnoredByScheduler: true}}
	}
	return extender
}
