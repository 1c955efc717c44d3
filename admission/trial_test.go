package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulerv1 "k8s.io/kube-scheduler/config/v1"

	"github.com/spillway-k8s/spillway/admission/webhook"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// Tests of this package run the admission program in their own process against a real control plane: etcd, API server,
// controller manager and scheduler. Nodes are bare objects, so Pods are bound but never run. There is no extender: the
// scheduler is told to overlook the mark of the Pods that it would ask about.
var trial *system.System

const virtualNode = "virtual-node-cci-0"

func TestMain(m *testing.M) {
	if os.Getenv(asProgram) != "" {
		os.Exit(run.Main(program))
	}
	os.Exit(programtest.Main(m, system.Config{
		BareNodes: true,
		Shape:     system.Shape{LocalNodes: 2, LocalCPU: "4", LocalMemory: "16Gi"},
		Without:   []string{system.KWOK, system.CCISim, system.Extender, system.Admission, "vnode"},
		Scheduler: func(c *schedulerv1.KubeSchedulerConfiguration) {
			c.Extenders = []schedulerv1.Extender{{
				URLPrefix:        "http://127.0.0.1:1", // It has no verbs and is never called.
				ManagedResources: []schedulerv1.ExtenderManagedResource{{Name: string(policy.PlacementResource), IgnoredByScheduler: true}},
			}}
		},
	}, prepare))
}

// prepare makes a virtual node and registers the webhooks.
func prepare(ctx context.Context, s *system.System) error {
	trial = s
	client := trial.Client()
	if _, err := client.CoreV1().Nodes().Create(ctx, virtual(), metav1.CreateOptions{}); err != nil {
		return err
	}
	authority, err := os.ReadFile(pki("ca.crt"))
	if err != nil {
		return err
	}
	listener := admissionregistrationv1.WebhookClientConfig{URL: new(trial.Endpoint(system.Admission)), CABundle: authority}
	_, errMutating := client.AdmissionregistrationV1().MutatingWebhookConfigurations().Create(ctx,
		webhook.Registration(listener, metav1.NamespaceSystem, system.ProgramNamespace), metav1.CreateOptions{})
	_, errValidating := client.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx,
		webhook.ValidatingRegistration(listener, metav1.NamespaceSystem, system.ProgramNamespace), metav1.CreateOptions{})
	return errors.Join(errMutating, errValidating)
}

// virtual is a virtual node as vnode makes it, with nobody behind.
func virtual() *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: virtualNode, Labels: map[string]string{policy.NodeTypeLabel: policy.NodeTypeVirtual, policy.CloudClusterKey: "trial"}},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{policy.ProviderTaint()}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
	}
	node.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse("1000"), corev1.ResourceMemory: resource.MustParse("4000Gi"), corev1.ResourcePods: resource.MustParse("1000"),
	}
	node.Status.Allocatable = node.Status.Capacity
	return node
}

func trialFile(elements ...string) string {
	return filepath.Join(append([]string{filepath.Dir(trial.Kubeconfig()), "data"}, elements...)...)
}

func pki(name string) string { return trialFile("pki", name) }

// process is a running admission program.
type process struct {
	cancel context.CancelFunc
	ended  chan error
	health string
	logs   *programtest.Log
}

// start runs the program with the rights of its ServiceAccount until the test ends or stop is called, and returns when the
// webhook is called for Pods that are created.
func start(t *testing.T, change ...func(*Config)) *process {
	t.Helper()
	p := launch(t, func(c *Config) {
		c.Listen = strings.TrimPrefix(trial.Endpoint(system.Admission), "https://")
		c.HealthListen = strings.TrimPrefix(trial.HealthEndpoint(system.Admission), "http://")
		for _, f := range change {
			f(c)
		}
	})
	eventually(t, func() error {
		pod := small("probe")
		pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: "1"}
		answer, err := trial.Client().CoreV1().Pods(metav1.NamespaceDefault).Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && !policy.NeedsPlacement(&answer.Spec) {
			err = errors.New("the webhook is not called yet")
		}
		return err
	})
	return p
}

// launch runs the program on a port of its own choice for the webhook, where the API server does not look.
func launch(t *testing.T, change func(*Config)) *process {
	t.Helper()
	cfg := defaultConfig()
	cfg.Kube.Kubeconfig = trialFile("admission.kubeconfig")
	cfg.Listen = "127.0.0.1:0"
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = pki("admission.crt"), pki("admission.key")
	change(cfg)
	require.NoError(t, cfg.Validate())
	p := &process{ended: make(chan error, 1), health: "http://" + cfg.HealthListen, logs: &programtest.Log{}}
	a, err := newAdmission(cfg, "host", slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- a.run(ctx) }()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Log("The log of the program:\n" + p.logs.String())
		}
	})
	eventually(t, func() error { return p.get("/readyz") })
	return p
}

// stop ends the program gracefully. It may be called again.
func (p *process) stop(t *testing.T) {
	p.cancel()
	select {
	case err := <-p.ended:
		assert.NoError(t, err)
		p.ended <- nil
	case <-time.After(programtest.Timeout):
		t.Error("the program does not end")
	}
	assert.NotContains(t, p.logs.String(), "forbidden", "the program lacks a right")
}

// get asks the health port.
func (p *process) get(path string) error {
	_, err := programtest.Get(p.health + path)
	return err
}

// metric is the value of a counter or gauge, the sum of those with the label values.
func (p *process) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	return programtest.Metric(t, p.health, name, labels...)
}

// eventually is short for what nearly every test here does.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	programtest.Eventually(t, check)
}

// namespace makes a namespace in which Pods can be created; it and they are gone when the test has ended.
func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	client := trial.Client().CoreV1()
	made, err := client.Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, client.Namespaces().Delete(context.Background(), made.Name, metav1.DeleteOptions{}))
		// Nobody runs the Pods, so nobody ends them. In a namespace that is going none is made anew.
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		assert.NoError(t, client.Pods(made.Name).DeleteCollection(context.Background(), now, metav1.ListOptions{}))
	})
	eventually(t, func() error {
		_, err := client.ServiceAccounts(made.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return made.Name
}

// setSwitch sets the global switch for the test, and takes it away afterwards. Empty is unset.
func setSwitch(t *testing.T, value string) {
	t.Helper()
	maps := trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	write(t, maps, value)
	t.Cleanup(func() {
		assert.NoError(t, maps.Delete(context.Background(), policy.SwitchConfigMapName, metav1.DeleteOptions{}))
	})
}

func write(t *testing.T, maps interface {
	Create(context.Context, *corev1.ConfigMap, metav1.CreateOptions) (*corev1.ConfigMap, error)
	Update(context.Context, *corev1.ConfigMap, metav1.UpdateOptions) (*corev1.ConfigMap, error)
}, value string,
) {
	t.Helper()
	object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: policy.SwitchConfigMapName}, Data: map[string]string{policy.SwitchKey: value}}
	_, err := maps.Create(t.Context(), object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(t.Context(), object, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
}

// small is a Pod that fits a local node, big one that fits a virtual node only.
func small(name string) *corev1.Pod { return podOf(name, "10m") }
func big(name string) *corev1.Pod   { return podOf(name, "8") }

func podOf(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "web", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}},
		}}},
	}
}

func create(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	made, err := trial.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return made
}

func get(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

// pods waits for the namespace to have that many Pods, and returns them.
func pods(t *testing.T, namespace string, count int) []corev1.Pod {
	t.Helper()
	var found []corev1.Pod
	eventually(t, func() error {
		list, err := trial.Client().CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		found = list.Items
		if len(found) != count {
			return fmt.Errorf("%d Pods instead of %d", len(found), count)
		}
		return nil
	})
	return found
}

// onNode waits for the Pod to be bound, and says where.
func onNode(t *testing.T, namespace, name string) string {
	t.Helper()
	eventually(t, func() error {
		if get(t, namespace, name).Spec.NodeName == "" {
			return fmt.Errorf("Pod %s is not bound", name)
		}
		return nil
	})
	return get(t, namespace, name).Spec.NodeName
}

// unschedulable waits until the scheduler has found no node for the Pod.
func unschedulable(t *testing.T, namespace, name string) {
	t.Helper()
	eventually(t, func() error {
		for _, c := range get(t, namespace, name).Status.Conditions {
			if c.Type == corev1.PodScheduled && c.Reason == corev1.PodReasonUnschedulable {
				return nil
			}
		}
		return fmt.Errorf("Pod %s is not yet unschedulable", name)
	})
}

// ourEvents are what this program tells about the Pod.
func ourEvents(t *testing.T, namespace, name string) []corev1.Event {
	t.Helper()
	list, err := trial.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + name + ",source=spillway-admission",
	})
	require.NoError(t, err)
	return list.Items
}

// told waits for an Event with the reason, and returns it.
func told(t *testing.T, namespace, name, reason string) corev1.Event {
	t.Helper()
	var found corev1.Event
	eventually(t, func() error {
		for _, e := range ourEvents(t, namespace, name) {
			if e.Reason == reason {
				found = e
				return nil
			}
		}
		return fmt.Errorf("Pod %s has no event %s", name, reason)
	})
	return found
}

// runPart runs a part until the test ends.
func runPart(t *testing.T, part func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- part(ctx) }()
	t.Cleanup(func() {
		cancel()
		assert.NoError(t, <-ended)
	})
}

func ready(is bool) error {
	if !is {
		return errors.New("it is not ready")
	}
	return nil
}
