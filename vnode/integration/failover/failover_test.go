// Package failover tests that virtual nodes survive their processes: vnode processes between a real control plane, with
// the controller that marks Nodes NotReady, and a simulated cloud are upgraded, killed, suspended and cut off.
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

// rounds is how often processes leave in each way.
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
	// lost is how many endpoints were missing at most.
	lost int
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
	}, func(any) { w.note("a Pod was deleted") })
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
			w.lose(pods - ready)
		}
	}, func(any) {
		w.note("an EndpointSlice was deleted")
		w.lose(pods)
	})
	factory.StartWithContext(ctx)
	factory.WaitForCacheSync(ctx.Done())
	t.Cleanup(func() {
		cancel()
		factory.Shutdown()
	})
}

// lose notes that endpoints are missing.
func (w *witness) lose(endpoints int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = max(w.lost, endpoints)
}

// check fails the test if something was seen since the last check. It returns how many endpoints were lost.
func (w *witness) check(t *testing.T) (lost int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.Empty(t, w.seen)
	lost, w.seen, w.lost = w.lost, nil, 0
	return lost
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

// group is two processes that share two virtual nodes with Pods behind a Service.
type group struct {
	// whole is the test during which the processes run.
	whole     *testing.T
	processes [2]*process
	nodes     []string
	namespace string
	// pods and probes count the Pods that run from the beginning, and those that were created in the rounds.
	pods, probes int
	witness      witness
}

// start starts the processes and waits until the Pods are endpoints of the Service.
func start(t *testing.T, cloud *cloudtest.Cloud) *group {
	t.Helper()
	const podsPerNode = 3
	g := &group{whole: t, nodes: []string{"virtual-node-cci-0", "virtual-node-cci-1"}}
	file := writeConfig(t, settings(t, cloud, g.nodes...))
	_, text, err := net.SplitHostPort(programtest.FreeAddress(t))
	require.NoError(t, err)
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	for i := range g.processes {
		g.processes[i] = newProcess(t, i, port, file, cloud)
		g.processes[i].start(t)
	}
	programtest.Eventually(t, func() error {
		for i, p := range g.processes {
			if !p.runs(g.nodes[i]) {
				state, err := p.state()
				return fmt.Errorf("%s does not run %s: %s: %w", p.name, g.nodes[i], state, err)
			}
		}
		return nil
	})
	g.namespace, g.pods = trialNamespace(t), len(g.nodes)*podsPerNode
	for i, on := range g.nodes {
		for j := range podsPerNode {
			g.create(t, fmt.Sprintf("web-%d-%d", i, j), on, "web")
		}
	}
	awaitReady(t, g.namespace, "web", g.pods)
	programtest.Eventually(t, func() error {
		slices, err := trial.Client().DiscoveryV1().EndpointSlices(g.namespace).List(t.Context(), metav1.ListOptions{})
		if err == nil && (len(slices.Items) != 1 || len(slices.Items[0].Endpoints) != g.pods) {
			err = errors.New("the Service lacks endpoints")
		}
		return err
	})
	g.witness.watch(t, g.namespace, g.nodes, g.pods)
	return g
}

// create creates a Pod on a node.
func (g *group) create(t *testing.T, name, on, app string) {
	t.Helper()
	_, err := trial.Client().CoreV1().Pods(g.namespace).Create(t.Context(), pod(name, on, app), metav1.CreateOptions{})
	require.NoError(t, err)
}

// busy returns the process that runs the first node, and the other one.
func (g *group) busy(t *testing.T) (busy, other *process) {
	t.Helper()
	i := slices.IndexFunc(g.processes[:], func(p *process) bool { return p.runs(g.nodes[0]) })
	require.GreaterOrEqual(t, i, 0, "no process runs the first node")
	return g.processes[i], g.processes[1-i]
}

// takeOver makes a process leave its nodes and waits until the other one runs all nodes, and a Pod that was created
// meanwhile is Ready. How long that takes is measured and not limited, because a busy machine is slow: the cluster
// decides when a Node is lost.
func (g *group) takeOver(t *testing.T, other *process, leave func()) measure {
	t.Helper()
	began := time.Now()
	leave()
	g.probes++
	g.create(t, fmt.Sprintf("probe-%d", g.probes), g.nodes[0], "probe")
	programtest.Eventually(t, func() error {
		if !other.runs(g.nodes...) {
			return errors.New("the other process does not run all nodes")
		}
		return nil
	})
	without := time.Since(began)
	awaitReady(t, g.namespace, "probe", g.probes)
	return measure{without, time.Since(began)}
}

// awaitStandby waits until a process is ready and runs no node, and checks that the other one still runs all.
func (g *group) awaitStandby(t *testing.T, p, other *process) {
	t.Helper()
	programtest.Eventually(t, func() error {
		_, err := p.state()
		if err == nil && slices.ContainsFunc(g.nodes, func(node string) bool { return p.runs(node) }) {
			err = errors.New("the process runs a node")
		}
		return err
	})
	assert.True(t, other.runs(g.nodes...), "the nodes stay where they are")
}

// away is a way in which one process leaves, and comes back.
type away struct {
	leave func(*testing.T, *process)
	back  func(*testing.T, *group, *process)
}

func (a away) play(g *group, t *testing.T, _ int) measure {
	gone, other := g.busy(t)
	m := g.takeOver(t, other, func() { a.leave(t, gone) })
	a.back(t, g, gone)
	g.awaitStandby(t, gone, other)
	return m
}

func bySignal(signal syscall.Signal) func(*testing.T, *process) {
	return func(t *testing.T, p *process) { p.signal(t, signal) }
}

func restart(_ *testing.T, g *group, p *process) { p.restart(g.whole) }

// kinds are the ways in which processes leave their nodes. play plays a round.
var kinds = []struct {
	name string
	play func(g *group, t *testing.T, round int) measure
}{
	{"upgraded", upgrade},
	{"killed", away{bySignal(syscall.SIGKILL), restart}.play},
	{"suspended", away{bySignal(syscall.SIGSTOP), func(t *testing.T, _ *group, p *process) {
		p.signal(t, syscall.SIGCONT)
	}}.play},
	{"lost with its machine", loseMachine},
}

// loseMachine takes a machine from the network: no connection ends, and the process goes on and believes for a while
// that it runs the node. In even rounds the machine comes back with the process. In odd rounds it was switched off.
func loseMachine(g *group, t *testing.T, round int) measure {
	if round%2 == 0 {
		return away{
			func(_ *testing.T, p *process) { p.network.cut() },
			func(_ *testing.T, _ *group, p *process) { p.network.mend() },
		}.play(g, t, round)
	}
	return away{
		func(t *testing.T, p *process) {
			p.network.cut()
			p.signal(t, syscall.SIGKILL)
		},
		func(t *testing.T, g *group, p *process) {
			p.network.forget()
			p.network.mend()
			restart(t, g, p)
		},
	}.play(g, t, round)
}

// upgrade replaces the processes as a rolling update of the chart's StatefulSet does: the last one first, each by one
// with another identity, and the next one when the new one is Ready. It returns the longest times.
func upgrade(g *group, t *testing.T, round int) (longest measure) {
	for i := len(g.processes) - 1; i >= 0; i-- {
		p, other := g.processes[i], g.processes[1-i]
		m := g.takeOver(t, other, func() { p.signal(t, syscall.SIGTERM) })
		longest = measure{max(longest.without, m.without), max(longest.fresh, m.fresh)}
		p.name = fmt.Sprintf("upgrade-%d_vnode-%d", round, i)
		p.restart(g.whole)
		g.awaitStandby(t, p, other)
	}
	for _, name := range g.nodes {
		lease, err := trial.Client().CoordinationV1().Leases(metav1.NamespaceDefault).Get(t.Context(),
			"spillway-vnode-"+name, metav1.GetOptions{})
		require.NoError(t, err)
		assert.Equal(t, g.processes[1].name, *lease.Spec.HolderIdentity, "none of the former processes is left")
	}
	return longest
}

func TestVirtualNodesSurviveTheirProcesses(t *testing.T) {
	cloud := cloudtest.New(t)
	g := start(t, cloud)
	var all []*figures
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			f := &figures{kind: kind.name}
			all = append(all, f)
			for round := range *rounds {
				f.measures = append(f.measures, kind.play(g, t, round))
				awaitReady(t, g.namespace, "web", g.pods)
				f.lost = max(f.lost, g.witness.check(t))
			}
		})
	}
	t.Logf("In seconds:\n%s", table(all))

	made := map[string]int{}
	for _, cloudPod := range cloud.PodsEver() {
		made[cloudPod.Annotations[policy.CloudUIDAnnotation]]++
	}
	assert.Len(t, made, g.pods+g.probes)
	for uid, times := range made {
		assert.Equal(t, 1, times, "cloud Pods of Pod %s", uid)
	}
	zones := map[string]bool{}
	for _, name := range g.nodes {
		object, err := trial.Client().CoreV1().Nodes().Get(t.Context(), name, metav1.GetOptions{})
		require.NoError(t, err)
		zones[object.Labels[corev1.LabelTopologyZone]] = true
	}
	assert.Equal(t, map[string]bool{"zone-0": true, "zone-1": true}, zones)
}
