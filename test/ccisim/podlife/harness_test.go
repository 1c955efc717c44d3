package podlife

import (
	"encoding/json"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testclock "k8s.io/utils/clock/testing"

	"github.com/spillway-k8s/spillway/test/ccisim/faults"
	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

const (
	networkDelay   = 2 * time.Second
	scheduleDelay  = time.Second
	startDelay     = 3 * time.Second
	stopDelay      = 4 * time.Second
	finalizerDelay = 5 * time.Second
	runTime        = time.Minute
	initRunTime    = 10 * time.Second
	restartBackoff = 10 * time.Second
	maxBackoff     = 40 * time.Second
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// env is a controller that runs only in step, with a clock that only step moves.
type env struct {
	t          *testing.T
	controller *Controller
	store      *store.Store
	faults     *faults.Table
	clock      *testclock.FakeClock
	generation objects.Generation
}

type option func(*Config, *store.Config)

func newEnv(t *testing.T, options ...option) *env {
	t.Helper()
	e := &env{t: t, faults: faults.NewTable(faults.Policies{}), clock: testclock.NewFakeClock(start)}
	logger := slog.New(slog.DiscardHandler)
	storeCfg := store.Config{
		HistoryLimit: 1000, Faults: e.faults, Pods: store.NewPodHistory(), Clock: e.clock, Logger: logger,
	}
	cfg := Config{
		Faults: e.faults, Clock: e.clock, Logger: logger, Region: "region-1", Range: netip.MustParsePrefix("10.0.0.0/29"),
		NetworkDelay: networkDelay, ScheduleDelay: scheduleDelay, StartDelay: startDelay, InitRunTime: initRunTime,
		RunTime: runTime, StopDelay: stopDelay, FinalizerDelay: finalizerDelay,
		RestartBackoff: restartBackoff, MaxRestartBackoff: maxBackoff,
	}
	for _, o := range options {
		o(&cfg, &storeCfg)
	}
	var err error
	e.store, err = store.Open(storeCfg)
	require.NoError(t, err)
	cfg.Store = e.store
	e.generation = storeCfg.Generation
	e.controller = New(cfg)
	t.Cleanup(func() { require.NoError(t, e.store.Close()) })
	return e
}

// newNamespaceEnv also has the namespace "ns" with a Ready network "net".
func newNamespaceEnv(t *testing.T, options ...option) *env {
	t.Helper()
	e := newEnv(t, options...)
	e.createNamespace("ns")
	e.step(networkDelay)
	return e
}

func (e *env) createNamespace(name string) {
	ns := &objects.Namespace{Status: objects.NamespaceStatus{Phase: corev1.NamespaceActive}}
	ns.Name = name
	e.create(objects.Namespaces, ns)
	network := &objects.Network{
		Spec:   objects.NetworkSpec{Subnets: []objects.NetworkSubnet{{SubnetID: "subnet"}}},
		Status: objects.NetworkStatus{Status: objects.NetworkPending},
	}
	network.Namespace, network.Name = name, "net"
	e.create(objects.Networks, network)
}

// create stores an object as package api does.
func (e *env) create(res *objects.Resource, obj objects.Object) {
	e.t.Helper()
	obj.SetType(e.generation.APIVersion(res), res.Kind)
	objects.Stamp(obj, e.clock.Now())
	e.store.Update(func(tx store.Tx) {
		_, err := tx.Put(res, obj)
		require.NoError(e.t, err)
		e.controller.Created(tx, obj)
		e.controller.Stored(tx, res, obj)
	})
	e.controller.ReconcileDue()
}

// newPod returns a Pod with one container "web", changed by the functions.
func newPod(name string, change ...func(*objects.Pod)) *objects.Pod {
	pod := &objects.Pod{}
	pod.Namespace, pod.Name = "ns", name
	pod.Finalizers = []string{objects.PodFinalizer}
	pod.Annotations = map[string]string{}
	pod.Spec.RestartPolicy = corev1.RestartPolicyAlways
	pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "registry/nginx:1"}}
	pod.Status.Phase = corev1.PodPending
	for _, c := range change {
		c(pod)
	}
	return pod
}

func with(annotation, value string) func(*objects.Pod) {
	return func(pod *objects.Pod) { pod.Annotations[annotation] = value }
}

func neverRestarts(pod *objects.Pod) { pod.Spec.RestartPolicy = corev1.RestartPolicyNever }

func (e *env) createPod(name string, change ...func(*objects.Pod)) {
	e.t.Helper()
	e.create(objects.Pods, newPod(name, change...))
}

// createRunning creates a Pod, and steps until its containers have started.
func (e *env) createRunning(name string, change ...func(*objects.Pod)) {
	e.t.Helper()
	e.createPod(name, change...)
	e.step(scheduleDelay, startDelay)
}

func (e *env) delete(res *objects.Resource, namespace, name string, grace ...int64) {
	e.t.Helper()
	options := &metav1.DeleteOptions{}
	if len(grace) > 0 {
		options.GracePeriodSeconds = &grace[0]
	}
	e.store.Update(func(tx store.Tx) {
		obj := tx.Get(res, types.NamespacedName{Namespace: namespace, Name: name})
		require.NotNil(e.t, obj)
		_, err := e.controller.Delete(tx, res, obj, options)
		require.NoError(e.t, err)
	})
	e.controller.ReconcileDue()
}

// inject activates a fault, and returns a function that removes it.
func (e *env) inject(f faults.Fault) (remove func()) {
	e.t.Helper()
	added, err := e.faults.Add(f)
	require.NoError(e.t, err)
	e.store.Update(e.controller.EnqueueFaulty)
	e.controller.ReconcileDue()
	return func() {
		require.True(e.t, e.faults.Remove(added.ID))
		e.store.Update(e.controller.EnqueueFaulty)
		e.controller.ReconcileDue()
	}
}

// step moves the clock, and reconciles what is due after each step.
func (e *env) step(durations ...time.Duration) {
	for _, d := range durations {
		e.clock.Step(d)
		e.controller.ReconcileDue()
	}
}

func (e *env) get(res *objects.Resource, namespace, name string) objects.Object {
	var obj objects.Object
	e.store.View(func(v store.View) { obj = v.Get(res, types.NamespacedName{Namespace: namespace, Name: name}) })
	return obj
}

func (e *env) pod(name string) *objects.Pod {
	pod, _ := e.get(objects.Pods, "ns", name).(*objects.Pod)
	return pod
}

// json returns the encoding of a Pod.
func (e *env) json(name string) string {
	e.t.Helper()
	raw, err := json.Marshal(e.pod(name))
	require.NoError(e.t, err)
	return string(raw)
}

// status returns the status of the only container of a Pod.
func (e *env) status(name string) corev1.ContainerStatus {
	e.t.Helper()
	pod := e.pod(name)
	require.NotNil(e.t, pod)
	require.Len(e.t, pod.Status.ContainerStatuses, 1)
	return pod.Status.ContainerStatuses[0]
}

func (e *env) networkStatus() string { return e.network().Status.Status }

func (e *env) network() *objects.Network {
	return e.get(objects.Networks, "ns", "net").(*objects.Network)
}

// setSubnets changes the subnets of the network.
func (e *env) setSubnets(ids ...string) {
	e.t.Helper()
	next := e.network().CopyObject().(*objects.Network)
	next.Spec.Subnets = nil
	for _, id := range ids {
		next.Spec.Subnets = append(next.Spec.Subnets, objects.NetworkSubnet{SubnetID: id})
	}
	e.store.Update(func(tx store.Tx) {
		_, err := tx.Put(objects.Networks, next)
		require.NoError(e.t, err)
		e.controller.Stored(tx, objects.Networks, next)
	})
	e.controller.ReconcileDue()
}

func condition(pod *objects.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// reasons returns how often each reason was reported in the Events about a Pod.
func (e *env) reasons(pod string) map[string]int32 {
	out := map[string]int32{}
	e.store.View(func(v store.View) {
		for obj := range v.All(objects.Events) {
			if event := obj.(*objects.Event); event.InvolvedObject.Name == pod {
				out[event.Reason] += event.Count
			}
		}
	})
	return out
}

// logText returns the lines of a container's present log.
func (e *env) logText(pod, container string) []string {
	e.t.Helper()
	var log *Log
	e.store.View(func(v store.View) { log, _ = e.controller.Logs(v, v.Pod("ns", pod), container) })
	require.NotNil(e.t, log)
	lines, _, _, _ := log.Read(0)
	var out []string
	for _, line := range lines {
		out = append(out, line.Text)
	}
	return out
}
