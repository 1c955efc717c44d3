package integration

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

	"github.com/spillway-k8s/spillway/admission/app"
	"github.com/spillway-k8s/spillway/admission/config"
	"github.com/spillway-k8s/spillway/admission/webhook"
	loader "github.com/spillway-k8s/spillway/internal/config"
	"github.com/spillway-k8s/spillway/internal/logging/loggingtest"
	"github.com/spillway-k8s/spillway/internal/run"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// The tests of this package run the admission program in their own process against a real control plane: etcd, API
// server, controller manager and scheduler. Nodes are bare objects, so Pods are bound but never run. There is no
// extender: the scheduler is configured to ignore the marker resource.
var trial *system.System

const virtualNode = "virtual-node-cci-0"

// cloudCost is the deletion cost of cloud Pods by default.
const cloudCost = "-1000000"

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
				URLPrefix: "http://127.0.0.1:1", // It has no verbs and is never called.
				ManagedResources: []schedulerv1.ExtenderManagedResource{
					{Name: string(policy.PlacementResource), IgnoredByScheduler: true},
				},
			}}
		},
	}, prepare))
}

// program is what the main package of admission does.
func program(ctx context.Context, args []string) error {
	cfg := config.Default()
	if err := loader.Load("admission", args, cfg); err != nil {
		return err
	}
	a, err := app.New(cfg, "host", slog.New(slog.NewTextHandler(os.Stderr, nil)))
	if err != nil {
		return err
	}
	return a.Run(ctx)
}

// prepare creates a virtual node and registers the webhooks.
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
	listener := admissionregistrationv1.WebhookClientConfig{
		URL: new(trial.Endpoint(system.Admission)), CABundle: authority,
	}
	registrations := client.AdmissionregistrationV1()
	excluded := []string{metav1.NamespaceSystem, system.ProgramNamespace}
	_, errMutating := registrations.MutatingWebhookConfigurations().
		Create(ctx, webhook.Registration(listener, excluded...), metav1.CreateOptions{})
	_, errValidating := registrations.ValidatingWebhookConfigurations().
		Create(ctx, webhook.ValidatingRegistration(listener, system.ProgramNamespace, excluded...),
			metav1.CreateOptions{})
	return errors.Join(errMutating, errValidating)
}

// virtual returns a virtual node as vnode creates it. No vnode runs behind it.
func virtual() *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: virtualNode, Labels: policy.VirtualNodeLabels()},
		Spec:       corev1.NodeSpec{Taints: []corev1.Taint{policy.ProviderTaint()}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue},
		}},
	}
	node.Status.Capacity = corev1.ResourceList{
		corev1.ResourceCPU:    resource.MustParse("1000"),
		corev1.ResourceMemory: resource.MustParse("4000Gi"),
		corev1.ResourcePods:   resource.MustParse("1000"),
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

// start runs the program with the permissions of its ServiceAccount until the test ends or stop is called. It returns
// when the API server calls the webhook for new Pods.
func start(t *testing.T, change ...func(*config.Config)) *process {
	t.Helper()
	p := launch(t, func(c *config.Config) {
		c.Listen = strings.TrimPrefix(trial.Endpoint(system.Admission), "https://")
		c.HealthListen = strings.TrimPrefix(trial.HealthEndpoint(system.Admission), "http://")
		for _, f := range change {
			f(c)
		}
	})
	eventually(t, func() error {
		prepared, err := dryRun(t, probe("1"))
		if err == nil && !policy.NeedsPlacement(&prepared.Spec) {
			err = errors.New("the webhook is not called yet")
		}
		return err
	})
	return p
}

// probe returns a managed Pod with a local quota.
func probe(quota string) *corev1.Pod {
	pod := small("probe")
	pod.Annotations = map[string]string{policy.LocalReplicasAnnotation: quota}
	return pod
}

// dryRun returns the Pod as the API server would create it in the default namespace.
func dryRun(t *testing.T, pod *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	return trial.Client().CoreV1().Pods(metav1.NamespaceDefault).
		Create(t.Context(), pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
}

// launch runs the program with the webhook on a random port, which the API server does not know.
func launch(t *testing.T, change func(*config.Config)) *process {
	t.Helper()
	cfg := config.Default()
	cfg.Kube.Kubeconfig = trialFile("admission.kubeconfig")
	cfg.Listen = "127.0.0.1:0"
	cfg.TLSCertFile, cfg.TLSPrivateKeyFile = pki("admission.crt"), pki("admission.key")
	change(cfg)
	require.NoError(t, cfg.Validate())
	p := &process{ended: make(chan error, 1), health: "http://" + cfg.HealthListen, logs: &programtest.Log{}}
	text := slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug})
	logger := slog.New(loggingtest.Handler(t, text))
	a, err := app.New(cfg, "host", logger)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	go func() { p.ended <- a.Run(ctx) }()
	t.Cleanup(func() {
		p.stop(t)
		if t.Failed() {
			t.Log("Log of the program:\n" + p.logs.String())
		}
	})
	eventually(t, func() error { return p.get("/readyz") })
	return p
}

// stop stops the program gracefully. It may be called again.
func (p *process) stop(t *testing.T) {
	p.cancel()
	select {
	case err := <-p.ended:
		assert.NoError(t, err)
		p.ended <- nil
	case <-time.After(programtest.Timeout):
		t.Error("the program does not stop")
	}
	assert.NotContains(t, p.logs.String(), "forbidden", "the program lacks a permission")
}

// get sends a request to the health port.
func (p *process) get(path string) error {
	_, err := programtest.Get(p.health + path)
	return err
}

// metric returns the value of a counter or gauge: the sum over the series with the label values.
func (p *process) metric(t *testing.T, name string, labels ...string) float64 {
	t.Helper()
	return programtest.Metric(t, p.health, name, labels...)
}

// eventually waits until check succeeds.
func eventually(t *testing.T, check func() error) {
	t.Helper()
	programtest.Eventually(t, check)
}

// namespace creates a namespace that is ready for Pods. It deletes the namespace and its Pods at the end of the test.
func namespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	client := trial.Client().CoreV1()
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "test-", Labels: labels}}
	created, err := client.Namespaces().Create(t.Context(), object, metav1.CreateOptions{})
	require.NoError(t, err)
	t.Cleanup(func() {
		assert.NoError(t, client.Namespaces().Delete(context.Background(), created.Name, metav1.DeleteOptions{}))
		// No kubelet runs the Pods, so none deletes them. In a terminating namespace, no controller recreates them.
		now := metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
		assert.NoError(t, client.Pods(created.Name).DeleteCollection(context.Background(), now, metav1.ListOptions{}))
	})
	eventually(t, func() error {
		_, err := client.ServiceAccounts(created.Name).Get(t.Context(), "default", metav1.GetOptions{})
		return err
	})
	return created.Name
}

// setSwitch sets the global switch for the test and removes it afterwards.
func setSwitch(t *testing.T, value string) {
	t.Helper()
	maps := trial.Client().CoreV1().ConfigMaps(policy.SwitchConfigMapNamespace)
	write(t, maps, value)
	t.Cleanup(func() {
		assert.NoError(t, maps.Delete(context.Background(), policy.SwitchConfigMapName, metav1.DeleteOptions{}))
	})
}

// write creates or updates the ConfigMap of the global switch.
func write(t *testing.T, maps interface {
	Create(context.Context, *corev1.ConfigMap, metav1.CreateOptions) (*corev1.ConfigMap, error)
	Update(context.Context, *corev1.ConfigMap, metav1.UpdateOptions) (*corev1.ConfigMap, error)
}, value string,
) {
	t.Helper()
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: policy.SwitchConfigMapName},
		Data:       map[string]string{policy.SwitchKey: value},
	}
	_, err := maps.Create(t.Context(), object, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = maps.Update(t.Context(), object, metav1.UpdateOptions{})
	}
	require.NoError(t, err)
}

// small returns a Pod that fits on a local node.
func small(name string) *corev1.Pod { return podOf(name, "10m") }

// big returns a Pod that fits on a virtual node only.
func big(name string) *corev1.Pod { return podOf(name, "8") }

func podOf(name, cpu string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", Image: "web", Resources: corev1.ResourceRequirements{
				Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)},
			},
		}}},
	}
}

func create(t *testing.T, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := trial.Client().CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return created
}

func get(t *testing.T, namespace, name string) *corev1.Pod {
	t.Helper()
	pod, err := trial.Client().CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
	require.NoError(t, err)
	return pod
}

// pods waits until the namespace has the number of Pods and returns them.
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

// onNode waits until the Pod is bound and returns its node.
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

// ourEvents returns the Events of admission about the Pod.
func ourEvents(t *testing.T, namespace, name string) []corev1.Event {
	t.Helper()
	list, err := trial.Client().CoreV1().Events(namespace).List(t.Context(), metav1.ListOptions{
		FieldSelector: "involvedObject.name=" + name + ",source=spillway-admission",
	})
	require.NoError(t, err)
	return list.Items
}

// eventOf waits for an Event with the reason and returns it.
func eventOf(t *testing.T, namespace, name, reason string) corev1.Event {
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

// runPart runs a part of the program until the test ends.
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

// ready returns an error unless a part is ready.
func ready(isReady bool) error {
	if !isReady {
		return errors.New("it is not ready")
	}
	return nil
}
