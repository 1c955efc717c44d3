package integration

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/cloudtest"
	"github.com/spillway-k8s/spillway/vnode/identity"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// disturbances are states of the cloud. Each runs until its context ends, and leaves the cloud healthy.
var disturbances = map[string]func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud){
	"healthy":    func(ctx context.Context, _ *testing.T, _ *cloudtest.Cloud) { <-ctx.Done() },
	"slow":       lasting(ccisim.Fault{Kind: ccisim.Latency, Delay: metav1.Duration{Duration: 150 * time.Millisecond}}),
	"throttling": lasting(ccisim.Fault{Kind: ccisim.Throttle, RatePerSecond: 40, Burst: 10}),
	"failing":    disturb,
}

// during calls a function during a disturbance.
func during(
	t *testing.T, cloud *cloudtest.Cloud, disturbance func(context.Context, *testing.T, *cloudtest.Cloud), do func(),
) {
	ctx, calm := context.WithCancel(t.Context())
	var over sync.WaitGroup
	over.Go(func() { disturbance(ctx, t, cloud) })
	defer over.Wait()
	defer calm()
	do()
}

// lasting is a disturbance by one fault.
func lasting(fault ccisim.Fault) func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
	return func(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
		added, err := cloud.AddFault(fault)
		assert.NoError(t, err)
		<-ctx.Done()
		cloud.RemoveFault(added.ID)
	}
}

// disturb causes random faults of the cloud, several per second.
func disturb(ctx context.Context, t *testing.T, cloud *cloudtest.Cloud) {
	faults := []ccisim.Fault{
		{Kind: ccisim.ServerError, Status: 500}, {Kind: ccisim.ServerError, Status: 503, RetryAfterSeconds: 1},
		{Kind: ccisim.Throttle},
		{Kind: ccisim.LoseAnswer, Verb: "create"}, {Kind: ccisim.LoseAnswer, Verb: "delete"},
		{Kind: ccisim.HalfBody, Verb: "create"},
		{Kind: ccisim.HalfBody, Verb: "list"}, {Kind: ccisim.HalfBody, Verb: "watch"},
		{Kind: ccisim.DuplicateEvents, Verb: "watch"},
		{Kind: ccisim.ServerError, Status: 500, Verb: "list"}, {Kind: ccisim.LoseAnswer, Verb: "get"},
	}
	for ctx.Err() == nil {
		fault := faults[rand.IntN(len(faults))]
		fault.Times = 1 + rand.IntN(5)
		added, err := cloud.AddFault(fault)
		assert.NoError(t, err)
		switch rand.IntN(4) {
		case 0:
			cloud.CutWatches(rand.IntN(2) == 0)
		case 1:
			cloud.Compact()
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(50+rand.IntN(200)) * time.Millisecond):
		}
		cloud.RemoveFault(added.ID)
	}
}

// During every disturbance, with and without a restart of the virtual node: in the end the cloud and the cluster have
// the same Pods, nothing was created twice, and no Pod failed that could have run.
func TestScenarios(t *testing.T) {
	for kind, disturbance := range disturbances {
		for name, restarts := range map[string]bool{"": false, " with restarts": true} {
			t.Run(kind+name, func(t *testing.T) {
				t.Parallel()
				s := newScenario(t)
				s.restarts = restarts
				during(t, s.cloud, disturbance, s.live)
				s.check()
			})
		}
	}
}

// Undocumented behavior of the service is a setting of the simulated one: a virtual node works if all of it is other
// than expected, and without optional APIs. `make policies` runs all tests in this way.
func TestUndocumentedBehaviorOfTheService(t *testing.T) {
	t.Parallel()
	for _, set := range faults.Sets() {
		if set.Name != "all" && len(set.Policies.Unpublished) == 0 {
			continue
		}
		t.Run(set.Name, func(t *testing.T) {
			t.Parallel()
			s := newScenarioOn(t, cloudtest.New(t, func(c *ccisim.Config) { c.Policies = set.Policies }))
			s.restarts = true
			s.live()
			s.check()
		})
	}
}

// scenario is a virtual node, its Pods and its cloud.
type scenario struct {
	t         *testing.T
	cloud     *cloudtest.Cloud
	node      *running
	namespace string
	// restarts restarts the virtual node while it is busy.
	restarts bool
}

func newScenario(t *testing.T, changes ...func(*Config)) *scenario {
	return newScenarioOn(t, cloudtest.New(t), changes...)
}

func newScenarioOn(t *testing.T, cloud *cloudtest.Cloud, changes ...func(*Config)) *scenario {
	s := &scenario{t: t, cloud: cloud}
	s.node, s.namespace = startOn(t, s.cloud,
		append(changes, func(c *Config) { c.CCI.WatchTimeout.Duration = time.Second })...)
	return s
}

// restart stops the virtual node while it is busy and starts it again, if the scenario has restarts.
func (s *scenario) restart() {
	if !s.restarts {
		return
	}
	s.node.stop(s.t)
	s.node = launch(s.t, s.node.again(s.t))
}

const (
	scenarioServices = 12
	scenarioJobs     = 8
	scenarioRounds   = 3
)

// live creates and deletes Pods for some rounds: long-running Pods, half of which are recreated with the same name each
// time, and Pods of Jobs.
func (s *scenario) live() {
	for round := range scenarioRounds {
		for i := range scenarioServices {
			if round == 0 || i%2 == 0 {
				create(s.t, s.namespace, podOn(s.node.name(), fmt.Sprintf("web-%d", i)))
			}
		}
		for i := range scenarioJobs {
			create(s.t, s.namespace, jobPodOn(s.node.name(), fmt.Sprintf("job-%d-%d", round, i)))
		}
		s.restart() // Some are made by now, some are being made.
		if round == scenarioRounds-1 {
			return
		}
		for i := 0; i < scenarioServices; i += 2 {
			name := fmt.Sprintf("web-%d", i)
			if i%4 == 0 { // Half of them not before they run.
				await(s.t, s.namespace, name, isReady)
			}
			remove(s.t, s.namespace, name)
		}
		s.restart() // Some are gone by now, some are going.
		for i := 0; i < scenarioServices; i += 2 {
			awaitGone(s.t, s.namespace, fmt.Sprintf("web-%d", i))
		}
	}
}

// check waits until the cloud and the cluster have the same Pods, and checks the history of the cloud.
func (s *scenario) check() {
	for i := range scenarioServices {
		await(s.t, s.namespace, fmt.Sprintf("web-%d", i), isReady)
	}
	for round := range scenarioRounds {
		for i := range scenarioJobs {
			await(s.t, s.namespace, fmt.Sprintf("job-%d-%d", round, i), hasPhase(corev1.PodSucceeded))
		}
	}
	eventually(s.t, s.compare)
	s.checkPast()
}

// checkPast checks all Pods that the cloud has ever had.
func (s *scenario) checkPast() {
	made := map[string]int{}
	for _, pod := range s.cloud.PodsEver() {
		if uid, ours := pod.Annotations[policy.CloudUIDAnnotation]; ours {
			made[uid]++
		}
	}
	for uid, times := range made {
		assert.Equal(s.t, 1, times, "cloud Pods of Pod %s", uid)
	}
	assert.Empty(s.t, s.cloud.DroppedFields())
}

// compare returns an error if the cloud and the cluster have different Pods.
func (s *scenario) compare() error {
	wanted := map[identity.Key]bool{}
	pods, err := trial.Client().CoreV1().Pods(s.namespace).List(s.t.Context(), metav1.ListOptions{})
	if err != nil {
		return err
	}
	for i := range pods.Items {
		wanted[identity.KeyOf(&pods.Items[i])] = true
	}
	list, err := s.cloud.Client.ListPods(s.t.Context(), cloudtest.Namespace, cci.ListOptions{})
	if err != nil {
		return err
	}
	for i := range list.Items {
		key, ours := s.node.owner().Owns(&list.Items[i])
		if _, _, known := identity.OfPod(&list.Items[i]); !known {
			continue // Of the service's own.
		}
		if !ours || !wanted[key] {
			return fmt.Errorf("the cloud has %s, the cluster does not", list.Items[i].Name)
		}
		delete(wanted, key)
	}
	if len(wanted) > 0 {
		return fmt.Errorf("the cluster has %d Pods that the cloud does not have, such as %v", len(wanted), wanted)
	}
	return nil
}

func TestOrphansAreDeletedAndPodsOfOthersAreKept(t *testing.T) {
	t.Parallel()
	cloud := cloudtest.New(t)
	v, ns := startOn(t, cloud)
	for _, name := range []string{"stays", "goes", "ends"} {
		create(t, ns, podOn(v.name(), name))
	}
	for _, name := range []string{"stays", "goes", "ends"} {
		await(t, ns, name, isReady)
	}
	snapshot, err := cloud.AddImageSnapshotPod(cloudtest.Namespace)
	require.NoError(t, err)
	others := map[string]identity.Owner{
		"another cluster": {ClusterID: "other", Node: v.name()},
		"another node":    {ClusterID: v.config.ClusterID, Node: "other"},
	}
	for name, owner := range others {
		translator, err := translate.New(translate.Config{Owner: owner, DefaultSize: "0.50_1.0"})
		require.NoError(t, err)
		pod := podOn("x", "other")
		pod.Namespace, pod.UID = ns, "0"
		result, err := translator.Pod(pod, translate.Cluster{})
		require.NoError(t, err)
		result.Pod.Name += "-" + owner.ClusterID
		_, err = cloud.Client.CreatePod(t.Context(), cloudtest.Namespace, result.Pod)
		require.NoError(t, err, name)
	}

	v.stop(t)
	// While no virtual node runs, one Pod is deleted with force, one gracefully.
	require.NoError(t, trial.Client().CoreV1().Pods(ns).Delete(t.Context(), "goes", *metav1.NewDeleteOptions(0)))
	remove(t, ns, "ends")
	v = start(t, v.again(t))

	awaitGone(t, ns, "ends")
	awaitCloudPods(t, cloud, 1+len(others)+1)
	assert.NoError(t, isReady(get(t, ns, "stays")))
	_, err = cloud.Client.GetPod(t.Context(), cloudtest.Namespace, snapshot)
	require.NoError(t, err)
	assert.Len(t, cloud.PodsEver(), 3+len(others)+1, "nothing was created twice")
	assert.Equal(t, 1.0, v.metric(t, "spillway_vnode_pods_collected_total"))
}

// The speed of a burst is limited by the cloud, not by the virtual node.
func TestABurstOfPods(t *testing.T) {
	const pods = 300
	cloud := cloudtest.New(t)
	// The test counts requests: none may be repeated because the machine is busy.
	v, ns := startOn(t, cloud, func(c *Config) { c.CCI.RequestTimeout.Duration = time.Minute })
	lease := func() time.Time {
		lease, err := trial.Client().CoordinationV1().Leases(corev1.NamespaceNodeLease).Get(t.Context(), v.name(),
			metav1.GetOptions{})
		require.NoError(t, err)
		return lease.Spec.RenewTime.Time
	}
	first := lease()
	begin := time.Now()
	var group sync.WaitGroup
	for worker := range 10 {
		group.Go(func() {
			for i := worker; i < pods; i += 10 {
				_, err := trial.Client().CoreV1().Pods(ns).Create(t.Context(), podOn(v.name(), fmt.Sprintf("p-%d", i)),
					metav1.CreateOptions{})
				assert.NoError(t, err)
			}
		})
	}
	group.Wait()
	created := time.Since(begin)
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_pods", "Running"); n != pods {
			return fmt.Errorf("%g of %d run", n, pods)
		}
		return nil
	})
	t.Logf("%d Pods: created after %s, all Running after %s", pods, created.Round(time.Millisecond),
		time.Since(begin).Round(time.Millisecond))
	assert.Equal(t, float64(pods), v.metric(t, "spillway_vnode_cloud_requests_total", "CreatePod"))
	assert.LessOrEqual(t, v.metric(t, "spillway_vnode_cloud_requests_total", "GetPod"), 0.0,
		"Pods are not requested one by one")

	begin = time.Now()
	require.NoError(t,
		trial.Client().CoreV1().Pods(ns).DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{}))
	awaitCloudPods(t, cloud, 0)
	eventually(t, func() error {
		if n := v.metric(t, "spillway_vnode_pods"); n != 0 {
			return fmt.Errorf("%g Pods are left", n)
		}
		return nil
	})
	assert.InDelta(t, pods, v.metric(t, "spillway_vnode_cloud_requests_total", "DeletePod"), pods*0.05,
		"each is deleted once")
	t.Logf("all gone after %s", time.Since(begin).Round(time.Millisecond))
	eventually(t, func() error {
		if !lease().After(first) {
			return fmt.Errorf("the Lease is still that of %s", first)
		}
		return nil
	})
}
