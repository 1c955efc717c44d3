package host

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promauto"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/ptr"

	"github.com/spillway-k8s/spillway/vnode/app"
	"github.com/spillway-k8s/spillway/vnode/config"
)

const namespace = "spillway-system"

// world is a cluster, and what its processes do.
type world struct {
	t       *testing.T
	leases  *fake.Clientset
	configs *config.Config

	mu sync.Mutex
	// runs has the processes that run each node.
	runs map[string][]string
	// starts counts how often a node was started.
	starts map[string]int
	// fails is the error of each node that fails as soon as it runs.
	fails map[string]error
	// twice says that two processes have run a node at once.
	twice bool
	// ending is how long a node takes to stop.
	ending time.Duration
}

func newWorld(t *testing.T, nodes ...string) *world {
	w := &world{
		t: t, leases: fake.NewClientset(), configs: config.Default(),
		runs: map[string][]string{}, starts: map[string]int{}, fails: map[string]error{},
	}
	for _, name := range nodes {
		w.configs.Nodes = append(w.configs.Nodes, config.VirtualNode{Name: name})
	}
	return w
}

// fakeNode is a virtual node that does nothing.
type fakeNode struct {
	world         *world
	process, name string
	registry      *prometheus.Registry
	ready         error
}

func (n *fakeNode) Run(ctx context.Context) error {
	w := n.world
	w.mu.Lock()
	w.starts[n.name]++
	err := w.fails[n.name]
	w.runs[n.name] = append(w.runs[n.name], n.process)
	w.twice = w.twice || len(w.runs[n.name]) > 1
	w.mu.Unlock()
	if err == nil {
		<-ctx.Done()
		time.Sleep(w.ending)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[n.name] = slices.DeleteFunc(w.runs[n.name], func(p string) bool { return p == n.process })
	return err
}

func (n *fakeNode) Ready() error {
	n.world.mu.Lock()
	defer n.world.mu.Unlock()
	return errors.Join(n.ready, n.world.fails[n.name])
}
func (n *fakeNode) Gatherer() prometheus.Gatherer { return n.registry }
func (n *fakeNode) Close()                        {}

// process is a process with all nodes of the world.
type process struct {
	*Host
	name string
	// cutOff makes every request of the process fail.
	cutOff func(bool)
	stop   context.CancelFunc
	ended  chan error
}

// start starts a process. It runs until the test ends or stop is called.
func (w *world) start(name string) *process {
	w.t.Helper()
	cut := false
	var mu sync.Mutex
	client := fake.NewClientset()
	client.PrependReactor("*", "*", func(action clienttesting.Action) (bool, runtime.Object, error) {
		mu.Lock()
		defer mu.Unlock()
		if cut {
			return true, nil, errors.New("connection refused")
		}
		object, err := w.leases.Invokes(action, nil)
		return true, object, err
	})
	h, err := newHost(w.configs, name, prometheus.NewRegistry(), parts{
		build: func(c *config.Config, _ app.Guard) (virtualNode, error) {
			registry := prometheus.NewRegistry()
			promauto.With(prometheus.WrapRegistererWith(prometheus.Labels{"node": c.Node.Name}, registry)).
				NewGauge(prometheus.GaugeOpts{Name: "pods", Help: "Pods."})
			return &fakeNode{world: w, process: name, name: c.Node.Name, registry: registry}, nil
		},
		client: func(*config.Config) (kubernetes.Interface, error) { return client, nil },
	}, slog.New(slog.DiscardHandler))
	require.NoError(w.t, err)
	ctx, stop := context.WithCancel(w.t.Context())
	p := &process{Host: h, name: name, stop: stop, ended: make(chan error, 1), cutOff: func(is bool) {
		mu.Lock()
		defer mu.Unlock()
		cut = is
	}}
	go func() { p.ended <- h.Run(ctx) }()
	w.t.Cleanup(stop)
	return p
}

// end stops the process gracefully and returns when it has ended.
func (p *process) end(t *testing.T) {
	t.Helper()
	p.stop()
	require.NoError(t, <-p.ended)
}

// after returns which process runs each node after a while, such as "a:one b:two". Nodes that do not run are left out.
func (w *world) after(d time.Duration) string {
	w.t.Helper()
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	assert.False(w.t, w.twice, "two processes have run a node at once")
	var all []string
	for _, name := range slices.Sorted(maps.Keys(w.runs)) {
		for _, process := range w.runs[name] {
			all = append(all, name+":"+process)
		}
	}
	return strings.Join(all, " ")
}

func (w *world) holder(node string) string {
	lease, err := w.leases.CoordinationV1().Leases(namespace).Get(w.t.Context(), leasePrefix+node, metav1.GetOptions{})
	require.NoError(w.t, err)
	return ptr.Deref(lease.Spec.HolderIdentity, "")
}

// inWorld runs a test with a fake clock.
func inWorld(t *testing.T, nodes []string, test func(*testing.T, *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { test(t, newWorld(t, nodes...)) })
}

func TestNodesSpreadOverTheProcessesThatStartTogether(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		one := w.start("vnode-1")
		time.Sleep(time.Second)
		zero := w.start("vnode-0")
		assert.Equal(t, "a:vnode-0 b:vnode-1", w.after(10*time.Second))
		one.end(t)
		zero.end(t)
	})
}

func TestOneProcessRunsAllNodes(t *testing.T) {
	inWorld(t, []string{"a", "b", "c"}, func(t *testing.T, w *world) {
		p := w.start("vnode-0")
		assert.Equal(t, "a:vnode-0", w.after(3*time.Second), "the others might come")
		assert.Equal(t, "a:vnode-0 b:vnode-0 c:vnode-0", w.after(5*time.Second))
		p.end(t)
		assert.Empty(t, w.after(0))
	})
}

func TestAProcessWithoutANumberRunsAllNodesAtOnce(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		p := w.start("machine")
		assert.Equal(t, "a:machine b:machine", w.after(3*time.Second))
		p.end(t)
	})
}

func TestTheStandbyTakesOverWithinTwoAndAHalfSecondsAfterAGracefulEnd(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		first := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(time.Second))
		second := w.start("vnode-1")
		require.Equal(t, "a:vnode-0", w.after(time.Minute))
		first.end(t)
		assert.Equal(t, "a:vnode-1", w.after(2500*time.Millisecond))
		second.end(t)
	})
}

func TestTheStandbyTakesOverWithinTwentySecondsFromAProcessThatIsCutOff(t *testing.T) {
	for round := range 3 { // The elector's intervals have jitter.
		inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
			first := w.start("vnode-0")
			require.Equal(t, "a:vnode-0", w.after(time.Second))
			second := w.start("vnode-1")
			require.Equal(t, "a:vnode-0", w.after(time.Minute+time.Duration(round)*111*time.Millisecond))
			first.cutOff(true)
			assert.Equal(t, "", w.after(12*time.Second), "the first process stops before the second may start")
			assert.Equal(t, "a:vnode-1", w.after(8*time.Second))
			first.cutOff(false)
			assert.Equal(t, "a:vnode-1", w.after(time.Minute), "the node stays where it is")
			assert.Equal(t, "vnode-1", w.holder("a"))
			first.end(t)
			assert.Equal(t, "a:vnode-1", w.after(time.Minute), "the end of a standby changes nothing")
			second.end(t)
		})
	}
}

func TestAProcessThatLostItsNodesTakesThemBackWhenTheOtherEnds(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		zero, one := w.start("vnode-0"), w.start("vnode-1")
		require.Equal(t, "a:vnode-0 b:vnode-1", w.after(10*time.Second))
		one.cutOff(true)
		require.Equal(t, "a:vnode-0 b:vnode-0", w.after(20*time.Second))
		one.cutOff(false)
		zero.end(t)
		assert.Equal(t, "a:vnode-1 b:vnode-1", w.after(2500*time.Millisecond))
		assert.Equal(t, 3, w.starts["b"])
		one.end(t)
	})
}

// A restart of the API server that takes long ends the term. The program goes on.
func TestWithoutAStandbyTheNodeRunsAgainWhenTheAPIServerIsBack(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		p := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(time.Second))
		p.cutOff(true)
		require.Empty(t, w.after(time.Minute))
		p.cutOff(false)
		assert.Equal(t, "a:vnode-0", w.after(5*time.Second))
		p.end(t)
	})
}

func TestANodeThatStopsSlowlyIsNotRunByAnotherProcessMeanwhile(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		w.ending = 8 * time.Second
		first := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(time.Second))
		second := w.start("vnode-1")
		first.stop()
		require.Equal(t, "a:vnode-0", w.after(7*time.Second))
		require.NoError(t, <-first.ended)
		assert.Equal(t, "a:vnode-1", w.after(2500*time.Millisecond))
		second.end(t)
	})
}

func TestAFailureOfOneNodeLeavesTheOthersAlone(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		w.fails["a"] = errors.New("the network does not exist")
		p := w.start("machine")
		require.Equal(t, "b:machine", w.after(time.Minute))
		_, err := p.ready()
		require.EqualError(t, err, "node a has failed here and is tried again: the network does not exist")
		tries := w.starts["a"]
		assert.Greater(t, tries, 2)
		assert.Less(t, tries, 8, "the delay grows")
		w.mu.Lock()
		delete(w.fails, "a")
		w.mu.Unlock()
		assert.Equal(t, "a:machine b:machine", w.after(maxBackoff+5*time.Second))
		text, err := p.ready()
		require.NoError(t, err)
		assert.Equal(t, "ok\nnode a runs here\nnode b runs here", text)
		assert.Equal(t, 1, w.starts["b"])
		p.end(t)
	})
}

func TestANodeThatFailsInOneProcessIsTriedInAnother(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		zero := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(time.Second))
		w.mu.Lock()
		w.fails["b"] = errors.New("no certificate")
		w.mu.Unlock()
		one := w.start("vnode-1")
		w.after(10 * time.Second)
		w.mu.Lock()
		delete(w.fails, "b")
		w.mu.Unlock()
		assert.Regexp(t, "^a:vnode-0 b:vnode-[01]$", w.after(10*time.Second))
		zero.end(t)
		one.end(t)
	})
}

func TestAProgramWhoseOnlyNodeFailsAtTheStartEnds(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		w.fails["a"] = errors.New("the network does not exist")
		p := w.start("vnode-0")
		require.EqualError(t, <-p.ended, "running node a: the network does not exist")
		assert.Empty(t, w.holder("a"), "the Lease is released")
	})
}

func TestAStandbyIsReadyAndSaysWhatItHolds(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		zero := w.start("vnode-0")
		_, err := zero.ready()
		require.ErrorContains(t, err, "node a is not elected: see Lease spillway-vnode-a in namespace spillway-system")
		require.Equal(t, "a:vnode-0", w.after(3*time.Second))
		_, err = zero.ready()
		require.ErrorContains(t, err, "node b is not elected",
			"a rolling update must not go on before it can take over")
		one := w.start("vnode-1")
		w.after(10 * time.Second)
		text, err := zero.ready()
		require.NoError(t, err)
		assert.Equal(t, "ok\nnode a runs here\nnode b runs in vnode-1, this process is its standby", text)

		zero.nodes[0].current().(*fakeNode).ready = errors.New("the cloud pods are not known")
		_, err = zero.ready()
		require.EqualError(t, err, "node a runs here and is not ready: the cloud pods are not known")
		zero.end(t)
		one.end(t)
	})
}

// fakeServices are Services of the cluster that are not known for a while.
type fakeServices struct{ missing error }

func (s *fakeServices) Run(ctx context.Context) error { <-ctx.Done(); return nil }
func (s *fakeServices) Ready() error                  { return s.missing }

func TestAStandbyIsReadyOnlyIfItCouldServeServices(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		zero := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(10*time.Second))
		one := w.start("vnode-1")
		require.Equal(t, "a:vnode-0", w.after(10*time.Second))
		services := &fakeServices{missing: errors.New("the Service objects of the cluster are not known")}
		one.services = services
		_, err := one.ready()
		require.EqualError(t, err, "the Service objects of the cluster are not known")
		services.missing = nil
		_, err = one.ready()
		require.NoError(t, err)
		zero.end(t)
		one.end(t)
	})
}

func TestTheProcessIsBrokenIfANodeDoesNotStop(t *testing.T) {
	inWorld(t, []string{"a"}, func(t *testing.T, w *world) {
		w.ending = time.Hour
		p := w.start("vnode-0")
		require.Equal(t, "a:vnode-0", w.after(time.Second))
		p.cutOff(true)
		w.after(time.Minute)
		_, err := p.alive()
		require.NoError(t, err)
		w.after(time.Minute)
		_, err = p.alive()
		require.ErrorContains(t, err, "node a has not stopped since")
		p.stop()
		w.after(2 * time.Hour)
		require.NoError(t, <-p.ended)
	})
}

func TestMetricsOfAllNodesAreOnOnePort(t *testing.T) {
	inWorld(t, []string{"a", "b"}, func(t *testing.T, w *world) {
		zero := w.start("vnode-0")
		one := w.start("vnode-1")
		w.after(10 * time.Second)
		metrics := func() string {
			response := httptest.NewRecorder()
			zero.health().ServeHTTP(response, httptest.NewRequest(http.MethodGet, "/metrics", nil))
			return response.Body.String()
		}
		assert.Contains(t, metrics(), `pods{node="a"} 0`)
		assert.NotContains(t, metrics(), `pods{node="b"}`)
		assert.Contains(t, metrics(), `spillway_vnode_node_running{node="b"} 0`)
		one.end(t)
		w.after(3 * time.Second)
		for _, name := range []string{"a", "b"} {
			assert.Contains(t, metrics(), fmt.Sprintf("pods{node=%q} 0", name))
			assert.Contains(t, metrics(), fmt.Sprintf("spillway_vnode_node_running{node=%q} 1", name))
			assert.Contains(t, metrics(), fmt.Sprintf("spillway_vnode_node_terms_total{node=%q} 1", name))
		}
		zero.end(t)
	})
}

func TestTheNameOfAProcessSaysWhichNodeItPrefers(t *testing.T) {
	for name, want := range map[string][]bool{
		"virtual-node-cci-0":             {true, false, false},
		"virtual-node-cci-2":             {false, false, true},
		"virtual-node-cci-3":             {true, false, false},
		"machine":                        {true, true, true},
		"ip-10-0-0-99999999999999999999": {true, false, false},
	} {
		var got []bool
		for i := range want {
			got = append(got, prefers(name, i, len(want)))
		}
		assert.Equal(t, want, got, name)
	}
}
