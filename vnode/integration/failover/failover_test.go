// Package failover tests that virtual nodes survive their processes: vnode processes between a real control plane, with
// the controller that marks Nodes NotReady, and a simulated cloud are killed, suspended and stopped.
package failover

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/tools/cache"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/config"
	"github.com/spillway-k8s/spillway/vnode/node"
)

// rounds is how often each process is killed, suspended and stopped.
var rounds = flag.Int("rounds", 1, "rounds of each kind")

// trial is the control plane.
var trial *system.System

const account = "vnode-processes"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == asProcess {
		os.Args = os.Args[1:]
		os.Exit(runAsProcess())
	}
	os.Exit(programtest.Main(m, system.Config{
		Users:   map[string]string{account: "system:masters"},
		Shape:   system.Shape{LocalNodes: 0, LocalCPU: "1", LocalMemory: "1Gi"},
		Without: []string{system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
	}, func(_ context.Context, s *system.System) error {
		trial = s
		return nil
	}))
}

// settings returns the configuration that all processes share.
func settings(t *testing.T, cloud *cloudtest.Cloud, nodes ...string) *config.Config {
	t.Helper()
	data := filepath.Join(filepath.Dir(trial.Kubeconfig()), "data")
	c := config.Default()
	c.Kube.Kubeconfig = trial.UserKubeconfig(account)
	c.ClusterID, c.Identity = "trial", config.IdentityNode
	c.ClientCAFile = filepath.Join(data, "pki", "ca.crt")
	for i, name := range nodes {
		c.Nodes = append(c.Nodes, config.VirtualNode{Name: name, Zone: "zone-" + strconv.Itoa(i)})
	}
	c.LeaderElectionNamespace = metav1.NamespaceDefault
	c.CCI.Endpoint, c.CCI.IAMEndpoint, c.CCI.Region = cloud.URL, cloud.URL, "sim-1"
	c.CCI.ProjectID, c.CCI.DomainID = cloudtest.Account.ProjectID, cloudtest.Account.DomainID
	c.CCI.CredentialsFile = filepath.Join(t.TempDir(), "credentials.yaml")
	require.NoError(t, os.WriteFile(c.CCI.CredentialsFile, fmt.Appendf(nil, "accessKey: %s\nsecretKey: %s\n",
		cloudtest.Account.AccessKey, cloudtest.Account.SecretKey), 0o600))
	c.CCI.Namespace, c.CCI.SubnetIDs = cloudtest.Namespace, []string{"subnet"}
	c.CCI.SecurityGroupIDs = []string{"group"}
	return c
}

// witness notes what must not happen: a Node that is not Ready, a Pod that is not Ready or deleted, or an endpoint that
// is lost.
type witness struct {
	mu   sync.Mutex
	seen []string
}

func (w *witness) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen = append(w.seen, time.Now().Format("15:04:05.0 ")+fmt.Sprintf(format, args...))
}

// watch begins when everything is ready, and ends with the test. pods is the number of Pods with the label app=web.
func (w *witness) watch(t *testing.T, namespace string, nodes []string, pods int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	factory := informers.NewSharedInformerFactory(trial.Client(), 0)
	handle := func(informer cache.SharedIndexInformer, changed, deleted func(any)) {
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: changed, UpdateFunc: func(_, obj any) { changed(obj) }, DeleteFunc: deleted,
		})
		require.NoError(t, err)
	}
	handle(factory.Core().V1().Nodes().Informer(), func(obj any) {
		n := obj.(*corev1.Node)
		ready := node.FindCondition(n, corev1.NodeReady)
		if slices.Contains(nodes, n.Name) && (ready == nil || ready.Status != corev1.ConditionTrue) {
			w.note("node %s is not Ready: %v", n.Name, ready)
		}
	}, func(any) { w.note("a Node was deleted") })
	handle(factory.Core().V1().Pods().Informer(), func(obj any) {
		pod := obj.(*corev1.Pod)
		if pod.Namespace == namespace && pod.Labels["app"] == "web" && (!isReady(pod) || pod.DeletionTimestamp != nil) {
			w.note("pod %s is not Ready, or is deleted: %v", pod.Name, pod.Status.Conditions)
		}
	}, func(any) {})
	handle(factory.Discovery().V1().EndpointSlices().Informer(), func(obj any) {
		slice := obj.(*discoveryv1.EndpointSlice)
		if slice.Namespace != namespace {
			return
		}
		ready := 0
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
				ready++
			}
		}
		if ready != pods {
			w.note("the Service has %d of %d endpoints", ready, pods)
		}
	}, func(any) { w.note("an EndpointSlice was deleted") })
	factory.StartWithContext(ctx)
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
}

// check fails the test if something was seen.
func (w *witness) check(t *testing.T) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Empty(t, w.seen)
	w.seen = nil
}

func isReady(pod *corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// pod returns a Pod on a node.
func pod(name, on, app string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": app}},
		Spec: corev1.PodSpec{
			NodeName: on, TerminationGracePeriodSeconds: new(int64(1)),
			Containers: []corev1.Container{{Name: "c", Image: "nginx"}},
		},
	}
}

// trialNamespace creates a namespace with a Service for the Pods with the label app=web.
func trialNamespace(t *testing.T) string {
	t.Helper()
	client := trial.Client().CoreV1()
	namespace, err := client.Namespaces().Create(t.Context(),
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "failover-"}}, metav1.CreateOptions{})
	require.NoError(t, err)
	programtest.Eventually(t, func() error {
		_, err := client.ServiceAccounts(namespace.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	_, err = client.Services(namespace.Name).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "web"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Port: 80}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	return namespace.Name
}

// awaitReady waits until all Pods of a namespace with a label are Ready.
func awaitReady(t *testing.T, namespace, app string, count int) {
	t.Helper()
	programtest.Eventually(t, func() error {
		list, err := trial.Client().CoreV1().Pods(namespace).List(t.Context(),
			metav1.ListOptions{LabelSelector: labels.Set{"app": app}.String()})
		if err != nil {
			return err
		}
		ready := 0
		for i := range list.Items {
			if isReady(&list.Items[i]) {
				ready++
			}
		}
		if ready != count {
			return fmt.Errorf("%d of %d Pods of app %s are Ready", ready, count, app)
		}
		return nil
	})
}

// The ways in which a process ends.
var ends = map[string]syscall.Signal{
	"killed": syscall.SIGKILL, "suspended": syscall.SIGSTOP, "stopped": syscall.SIGTERM,
}

func TestVirtualNodesSurviveTheirProcesses(t *testing.T) {
	const podsPerNode = 3
	cloud := cloudtest.New(t)
	nodes := []string{"virtual-node-cci-0", "virtual-node-cci-1"}
	file := writeConfig(t, settings(t, cloud, nodes...))
	_, text, err := net.SplitHostPort(programtest.FreeAddress(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	processes := []*process{newProcess(t, 0, port, file), newProcess(t, 1, port, file)}
	for _, p := range processes {
		p.start(t)
	}
	programtest.Eventually(t, func() error {
		for i, p := range processes {
			if !p.runs(nodes[i]) {
				state, err := p.state()
				return fmt.Errorf("%s does not run %s: %s: %w", p.name, nodes[i], state, err)
			}
		}
		return nil
	})

	namespace := trialNamespace(t)
	create := func(name, on, app string) {
		_, err := trial.Client().CoreV1().Pods(namespace).Create(t.Context(), pod(name, on, app),
			metav1.CreateOptions{})
		require.NoError(t, err)
	}
	for i, on := range nodes {
		for j := range podsPerNode {
			create(fmt.Sprintf("web-%d-%d", i, j), on, "web")
		}
	}
	all := len(nodes) * podsPerNode
	awaitReady(t, namespace, "web", all)
	w := &witness{}
	programtest.Eventually(t, func() error {
		slices, err := trial.Client().DiscoveryV1().EndpointSlices(namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && (len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != all) {
			err = errors.New("the Service lacks endpoints")
		}
		return err
	})
	w.watch(t, namespace, nodes, all)

	probes := 0
	whole := t
	for round := range *rounds {
		for _, kind := range []string{"killed", "suspended", "stopped"} {
			t.Run(fmt.Sprintf("%s, round %d", kind, round), func(t *testing.T) {
				// The process that runs the first node ends. The other one runs both then, before the cluster considers
				// a Node lost. How long that takes is logged, because a busy machine is slow.
				victim := slices.IndexFunc(processes, func(p *process) bool { return p.runs(nodes[0]) })
				require.GreaterOrEqual(t, victim, 0, "no process runs the first node")
				gone, other := processes[victim], processes[1-victim]
				began := time.Now()
				gone.signal(t, ends[kind])
				probes++
				name := fmt.Sprintf("probe-%d", probes)
				create(name, nodes[0], "probe")
				programtest.Eventually(t, func() error {
					if !other.runs(nodes[0]) || !other.runs(nodes[1]) {
						return errors.New("the standby does not run both nodes")
					}
					return nil
				})
				taken := time.Since(began)
				awaitReady(t, namespace, "probe", probes)
				t.Logf("%s: another process runs the node after %s, a new Pod is Ready after %s",
					kind, taken.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))

				if ends[kind] == syscall.SIGSTOP {
					gone.signal(t, syscall.SIGCONT)
				} else {
					gone.ended()
					gone.start(whole)
				}
				programtest.Eventually(t, func() error {
					_, err := gone.state()
					if err == nil && gone.runs(nodes[0]) {
						err = errors.New("the former process still runs the node")
					}
					return err
				})
				assert.True(t, other.runs(nodes[0]), "the node stays where it is")
				awaitReady(t, namespace, "web", all)
				w.check(t)
			})
		}
	}

	made := map[string]int{}
	for _, cloudPod := range cloud.PodsEver() {
		made[cloudPod.Annotations[policy.CloudUIDAnnotation]]++
	}
	assert.Len(t, made, all+probes)
	for uid, times := range made {
		assert.Equal(t, 1, times, "cloud Pods of Pod %s", uid)
	}
	zones := map[string]bool{}
	for _, name := range nodes {
		object, err := trial.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		zones[object.Labels[corev1.LabelTopologyZone]] = true
	}
	assert.Equal(t, map[string]bool{"zone-0": true, "zone-1": true}, zones)
}
