package system

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// The cloud namespace and network of the virtual nodes. The simulated cloud accepts any.
const (
	cloudRegion    = "sim-1"
	cloudProject   = "5b1c3f0e9a7d4c2f8e6b0a1d2c3e4f50"
	cloudNamespace = "spillway-trial"
	cloudSubnet    = "0f6c8a52-5d1e-4b7a-9c3f-2e8d7b6a5140"
	// cloudPodCIDR is the range from which the simulator takes addresses by default.
	cloudPodCIDR       = "10.246.0.0/16"
	cloudSecurityGroup = "7a9e1d34-6c2b-4f85-b0d7-93e4c5a8f216"
)

// ClusterDNS is the address of the cluster's DNS for Pods in the cloud, with Config.Services. Nothing answers there.
const ClusterDNS = "10.96.0.10"

// Cloud contains the address of the simulated cloud, the access keys, and the location that the virtual nodes use.
type Cloud struct {
	// Endpoint is the URL of the API.
	Endpoint string
	// Control is the URL of the simulator's own API, without the path /_sim/.
	Control string
	// Region, ProjectID and Namespace locate the Pods of the virtual nodes.
	Region, ProjectID, Namespace string
	// AccessKey and SecretKey sign requests.
	AccessKey, SecretKey string
}

// Cloud returns the address and the access keys of the system's cloud.
func (s *System) Cloud() Cloud {
	return Cloud{
		Endpoint: s.Endpoint(CCISim), Control: s.Endpoint(CCISim),
		Region: cloudRegion, ProjectID: cloudProject, Namespace: cloudNamespace,
		AccessKey: s.state.AccessKey, SecretKey: s.state.SecretKey,
	}
}

// writeCloudCredentials writes the file from which the virtual nodes and the cloud read the access keys.
func (s *System) writeCloudCredentials() error {
	content, err := yaml.Marshal(map[string]string{"accessKey": s.state.AccessKey, "secretKey": s.state.SecretKey})
	if err != nil {
		return fmt.Errorf("encoding the cloud credentials: %w", err)
	}
	if err := os.WriteFile(s.data("cloud-credentials.yaml"), content, 0o600); err != nil {
		return fmt.Errorf("writing the cloud credentials: %w", err)
	}
	return nil
}

// vnodeConfig makes the virtual nodes notice within seconds that the simulated cloud is sold out, and stay locked until
// a user has looked at them.
const vnodeConfig = `soldOut:
  signs: ^Unschedulable$
  firstLock: 30m
`

// writeVNodeConfigs writes what has no flags of the configuration of each vnode process. With HA all processes know all
// virtual nodes, and take over those of another one. Otherwise each has one, so that tests can stop it.
func (s *System) writeVNodeConfigs() error {
	type virtualNode struct {
		Name string `json:"name"`
		Zone string `json:"zone,omitempty"`
	}
	shape := s.state.Shape
	var nodes []virtualNode
	for i := range shape.VirtualNodes {
		nodes = append(nodes, virtualNode{VirtualNode(i), shape.zone(i)})
	}
	for i := range shape.vnodes() {
		config := map[string]any{"nodes": nodes}
		if !shape.HA {
			config = map[string]any{"node": nodes[i]}
		}
		if s.config.Services {
			config["services"] = map[string]any{"address": address(s.state.FirstPort + firstServicesPort + i)}
			config["pods"] = map[string]any{
				"clusterDNS": []string{ClusterDNS}, "proxy": map[string]any{"image": "spillway-proxy"},
				"kubeProxy": map[string]any{"image": "kube-proxy"},
			}
		}
		content, err := yaml.Marshal(config)
		if err != nil {
			return fmt.Errorf("encoding the configuration of %s: %w", VNode(i), err)
		}
		if err := os.WriteFile(s.vnodeConfigFile(i), append([]byte(vnodeConfig), content...), 0o600); err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", VNode(i), err)
		}
	}
	return nil
}

func (s *System) vnodeConfigFile(i int) string { return s.data(VNode(i) + ".yaml") }

// admissionConfig has a kind of owners that is not of Kubernetes, for the stories. Its CustomResourceDefinition is
// missing until a story creates it.
const admissionConfig = `ownerKinds:
- {group: argoproj.io, version: v1alpha1, resource: rollouts, kind: Rollout}
`

// writePolicyConfigs writes the configuration of admission and of the extender that has no flags.
func (s *System) writePolicyConfigs() error {
	shared, err := yaml.Marshal(map[string]any{"policy": map[string]any{
		"disabledRules": s.config.DisabledRules, "ignoredNodeSelectors": s.config.IgnoredNodeSelectors,
	}})
	if err != nil {
		return fmt.Errorf("encoding the configuration of policy: %w", err)
	}
	extender := ""
	if s.config.WayHome != nil {
		own, err := yaml.Marshal(map[string]any{"wayHome": s.config.WayHome})
		if err != nil {
			return fmt.Errorf("encoding the configuration of the way home: %w", err)
		}
		extender = string(own)
	}
	for program, own := range map[string]string{Admission: admissionConfig, Extender: extender} {
		if err := os.WriteFile(s.policyConfigFile(program), append([]byte(own), shared...), 0o600); err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", program, err)
		}
	}
	return nil
}

func (s *System) policyConfigFile(program string) string { return s.data(program + ".yaml") }

func (s *System) ccisimArgs() []string {
	return []string{
		"--listen", s.address(CCISim),
		"--credentials-file", s.data("cloud-credentials.yaml"),
		"--state-file", s.data("ccisim.json"),
		"--processes", // For Pods with one particular image, which no Pod uses by accident.
	}
}

func (s *System) extenderArgs() []string {
	return []string{
		"--config", s.policyConfigFile(Extender),
		"--kubeconfig", s.kubeconfig(Extender),
		"--listen", s.address(Extender),
	}
}

func (s *System) replicaArgs(name string) []string {
	return []string{
		"--config", s.policyConfigFile(Extender),
		"--kubeconfig", s.kubeconfig(Extender),
		"--listen", s.address(name),
		"--tls-cert-file", s.pki.certFile(Extender),
		"--tls-private-key-file", s.pki.keyFile(Extender),
		"--client-ca-file", s.pki.certFile("ca"),
		"--health-listen", s.healthAddress(name),
		"--leader-election-namespace", ProgramNamespace,
	}
}

// forwarderArgs returns the flags of a forwarder in front of the given processes.
func (s *System) forwarderArgs(name string, processes ...string) []string {
	args := []string{"--listen", s.address(name), "--health-listen", s.healthAddress(name)}
	for _, process := range processes {
		args = append(args, "--endpoint", s.address(process)+"="+s.HealthEndpoint(process)+"/readyz")
	}
	return args
}

func (s *System) admissionArgs(name string) []string {
	var scheduler []string
	if s.config.Shape.Topology != TopologySidecar {
		scheduler = []string{
			"--scheduler-name", OwnScheduler,
			fmt.Sprintf("--marker-resource=%t", s.config.Shape.Topology == TopologyService),
		}
	}
	return append(scheduler,
		"--config", s.policyConfigFile(Admission),
		"--kubeconfig", s.kubeconfig(Admission),
		"--listen", s.address(name),
		"--tls-cert-file", s.pki.certFile(Admission),
		"--tls-private-key-file", s.pki.keyFile(Admission),
		"--health-listen", s.healthAddress(name),
		"--leader-election-namespace", ProgramNamespace,
	)
}

func (s *System) vnodeArgs(i int) []string {
	return []string{
		"--config", s.vnodeConfigFile(i),
		"--kubeconfig", s.kubeconfig(vnode),
		"--process-name", VNode(i),
		"--node-ip", "127.0.0.1",
		"--listen", s.address(VNode(i)),
		"--client-ca-file", s.pki.certFile("ca"),
		"--tls-cert-file", s.pki.certFile(vnode),
		"--tls-private-key-file", s.pki.keyFile(vnode),
		"--health-listen", address(s.vnodeHealthPort(i)),
		"--cluster-id", "trial",
		"--cci-endpoint", s.Endpoint(CCISim),
		"--iam-endpoint", s.Endpoint(CCISim),
		"--cci-region", cloudRegion,
		"--cci-project-id", cloudProject,
		"--cci-credentials-file", s.data("cloud-credentials.yaml"),
		"--cci-namespace", cloudNamespace,
		"--cci-subnet-id", cloudSubnet,
		"--cci-pod-cidr", cloudPodCIDR,
		"--cci-security-group-id", cloudSecurityGroup,
	}
}
