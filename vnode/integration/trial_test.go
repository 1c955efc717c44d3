// Package integration tests whole virtual nodes and the subcommands of vnode. They run in the process of the test, with
// the permissions of their ServiceAccount, between a real control plane (etcd, API server, controller manager,
// scheduler) and simulated clouds. There are no other nodes, and no extender.
package integration

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/host"
	"github.com/spillway-k8s/spillway/vnode/identity"
)

// trial is the control plane.
var trial *system.System

var update = flag.Bool("update", false, "rewrite the generated tables")

// Config is an alias: nearly every test changes it.
type Config = config.Config

// hostname is the host name of the virtual nodes. With the same name, a restart does not wait until the Lease expires.
const hostname = "machine"

func newDiscard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func TestMain(m *testing.M) {
	os.Exit(programtest.Main(m, system.Config{
		BareNodes: true,
		Users:     map[string]string{nodeAccount: "", ownAccount: ""},
		Shape:     system.Shape{LocalNodes: 0, LocalCPU: "1", LocalMemory: "1Gi"},
		Without:   []string{system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	}, func(ctx context.Context, s *system.System) error {
		trial = s
		return grant(ctx, s.Client())
	}))
}

func trialFile(elements ...string) string {
	return filepath.Join(append([]string{filepath.Dir(trial.Kubeconfig()), "data"}, elements...)...)
}

// running is a virtual node that runs until the test ends.
type running struct {
	config *Config
	cancel context.CancelFunc
	ended  chan error
	health string
	logs   *programtest.Log
}

// settings returns the configuration of a virtual node between the trial cluster and a cloud, with short intervals.
func settings(t testing.TB, cloud *cloudtest.Cloud, name string) *Config {
	t.Helper()
	c := config.Default()
	c.Identity, c.Kube.Kubeconfig = config.IdentityNode, trial.UserKubeconfig(nodeAccount)
	c.Kube.QPS, c.Kube.Burst = 2000, 4000
	c.ClusterID = "trial"
	c.Node.Name, c.Node.IP = name, "127.0.0.1"
	c.Listen, c.HealthListen = programtest.FreeAddress(t), programtest.FreeAddress(t)
	c.ClientCAFile, c.TLSCertFile, c.TLSPrivateKeyFile = trialFile("pki", "ca.crt"), trialFile("pki", "vnode.crt"),
		trialFile("pki", "vnode.key")
	c.CCI.Endpoint, c.CCI.Region, c.CCI.ProjectID, c.CCI.DomainID = cloud.URL, "sim-1", cloudtest.Account.ProjectID,
		cloudtest.Account.DomainID
	c.CCI.IAMEndpoint = cloud.URL
	c.CCI.CredentialsFile = filepath.Join(t.TempDir(), "credentials.yaml")
	require.NoError(t, os.WriteFile(c.CCI.CredentialsFile,
		fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n", cloudtest.Account.AccessKey, cloudtest.Account.SecretKey),
		0o600))
	c.CCI.Namespace, c.CCI.SubnetIDs = cloudtest.Namespace, []string{"subnet"}
	c.CCI.SecurityGroupIDs = []string{"group"}
	c.CCI.PodCIDRs = []string{"10.246.0.0/16", "127.77.0.0/16"} // See onLoopback.
	c.CCI.QPS, c.CCI.Burst = 1000, 1000
	if cloud.Version == policy.CCI1 {
		c.Policy.CCIVersion = policy.CCI1
		c.CCI.Network1 = config.Network1Config{VPCID: "vpc", NetworkID: "neutron-network"}
	}
	c.CCI.RequestTimeout.Duration = 2 * time.Second
	c.Pods.MaxRetryInterval.Duration = time.Second
	c.Pods.RefusalRetry.Duration = time.Second
	return c
}

// launch starts a virtual node that runs until the test ends or stop is called. It does not wait for anything.
func launch(t testing.TB, config *Config) *running {
	t.Helper()
	return launchOn(t, config, hostname)
}

// launchOn is launch on a host of this name.
func launchOn(t testing.TB, config *Config, machine string) *running {
	t.Helper()
	require.NoError(t, config.Validate())
	r := &running{config: config, ended: make(chan error, 1), health: "http://" + config.HealthListen,
		logs: &programtest.Log{}}
	text := slog.NewTextHandler(r.logs, &slog.HandlerOptions{Level: slog.LevelDebug})
	v, err := host.New(config, machine, slog.New(loggingtest.Handler(t, text)))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() { r.ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		r.stop(t)
		if t.Failed() {
			t.Log("The log of the virtual node:\n" + r.logs.Tail())
		}
	})
	return r
}

// start launches a virtual node and returns when it is ready.
func start(t testing.TB, config *Config) *running {
	t.Helper()
	r := launch(t, config)
	eventually(t, func() error { return r.get("/readyz") })
	return r
}

// startOn starts a virtual node of a cloud with changed settings, and creates a namespace for its Pods.
func startOn(t testing.TB, cloud *cloudtest.Cloud, changes ...func(*Config)) (v *running, namespaceName string) {
	t.Helper()
	config := settings(t, cloud, nodeName(t))
	for _, change := range changes {
		change(config)
	}
	return start(t, config), namespace(t)
}

// name returns the name of the node.
func (r *running) name() string { return r.config.Node.Name }

// owner returns the owner of the cloud Pods and copies.
func (r *running) owner() identity.Owner {
	return identity.Owner{ClusterID: r.config.ClusterID, Node: r.name()}
}

// again returns the settings of a virtual node that replaces this one.
func (r *running) again(t testing.TB) *Config {
	next := *r.config
	next.Listen, next.HealthListen = programtest.FreeAddress(t), programtest.FreeAddress(t)
	return &next
}

// stop ends the virtual node gracefully. It may be called again.
func (r *running) stop(t testing.TB) {
	r.cancel()
	select {
	case err := <-r.ended:
		assert.NoError(t, err)
		r.ended <- nil
	case <-time.After(programtest.Timeout):
		t.Error("the virtual node does not end")
	}
	for _, user := range []string{ownAccount, nodeAccount} {
		assert.NotContains(t, r.logs.String(), user, "the virtual node lacks a permission")
	}
}

// get sends a request to the health port.
func (r *running) get(path string) error {
	_, err := programtest.Get(r.health + path)
	return err
}

// metric returns the sum of the metrics of a name with these label values.
func (r *running) metric(t testing.TB, name string, labels ...string) float64 {
	t.Helper()
	return programtest.Metric(t, r.health, name, labels...)
}

// eventually waits until the check passes.
func eventually(t testing.TB, check func() error) {
	t.Helper()
	programtest.Eventually(t, check)
}

// nodes counts the names of virtual nodes. A Node remains when its virtual node stops.
var nodes atomic.Int32

// nodeName returns an unused name for a virtual node.
func nodeName(t testing.TB) string {
	t.Helper()
	return fmt.Sprintf("virtual-node-cci-%d", nodes.Add(1))
}

// namespace creates a namespace for the test in which Pods can be created, and deletes them afterwards.
func namespace(t testing.TB) string {
	t.Helper()
	client := trial.Client().CoreV1()
	made, err := client.Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	eventually(t, func() error {
		_, err := client.ServiceAccounts(made.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	t.Cleanup(func() {
		now := metav1.NewDeleteOptions(0)
		assert.NoError(t, client.Pods(made.Name).DeleteCollection(context.Background(), *now, metav1.ListOptions{}))
	})
	return made.Name
}

// podOn returns a Pod that is already bound to the node.
func podOn(node, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			NodeName: node, TerminationGracePeriodSeconds: new(int64(5)),
			Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}
}

// jobPodOn returns a Pod that succeeds after a while, as the simulated cloud runs it.
func jobPodOn(node, name string) *corev1.Pod {
	pod := podOn(node, name)
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	return pod
}

// jobTemplateOn returns the template of a Job whose Pods the scheduler binds to the node: a controller may not create
// them on a virtual node itself.
func jobTemplateOn(node string, annotations map[string]string) corev1.PodTemplateSpec {
	spec := jobPodOn("", "").Spec
	spec.Tolerations = []corev1.Toleration{{Key: policy.ProviderTaintKey, Operator: corev1.TolerationOpExists}}
	spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{
				{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{node}},
			}}},
		},
	}}
	return corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: spec}
}

func create(t testing.TB, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := trial.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return made
}

func get(t testing.TB, namespace, name string) *corev1.Pod {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

func remove(t testing.TB, namespace, name string) {
	t.Helper()
	require.NoError(t, trial.Client().CoreV1().Pods(namespace).Delete(t.Context(), name, metav1.DeleteOptions{}))
}

// await waits until the Pod passes the check, and returns it.
func await(t testing.TB, namespace, name string, check func(*corev1.Pod) error) *corev1.Pod {
	t.Helper()
	var pod *corev1.Pod
	eventually(t, func() error {
		var err error
		if pod, err = trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil {
			return err
		}
		if err := check(pod); err != nil {
			return fmt.Errorf("pod %s is %s (%s: %s): %w",
				name, pod.Status.Phase, pod.Status.Reason, pod.Status.Message, err)
		}
		return nil
	})
	return pod
}

func isReady(pod *corev1.Pod) error {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue {
			return nil
		}
	}
	return errors.New("it is not Ready")
}

func hasPhase(phase corev1.PodPhase) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		if pod.Status.Phase != phase {
			return fmt.Errorf("it should be %s", phase)
		}
		return nil
	}
}

func hasReason(reason string) func(*corev1.Pod) error {
	return func(pod *corev1.Pod) error {
		if pod.Status.Reason != reason {
			return fmt.Errorf("its reason should be %s", reason)
		}
		return nil
	}
}

func awaitGone(t testing.TB, namespace, name string) {
	t.Helper()
	eventually(t, func() error {
		_, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, fmt.Errorf("pod %s still exists", name))
	})
}
