// Package tenants plays attacks of one tenant against another, and against the account that pays, on a real control
// plane with all of Spillway's programs. Each tenant has the ClusterRole edit in its own namespace and nothing else.
// The virtual nodes run with the memory limit of the chart. docs/security.md says which attack each test plays.
package tenants

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// The tenants. mallory attacks, alice is to notice nothing.
const (
	mallory = "mallory"
	alice   = "alice"
)

// cluster is the system on which all attacks are played, and admin the client of its administrator.
var (
	cluster *system.System
	admin   kubernetes.Interface
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "tenants")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	limited, remove, err := limitVNode(dir)
	if err != nil {
		fmt.Fprintln(os.Stderr, "limiting the memory of the virtual nodes:", err)
		os.Exit(1)
	}
	shape := system.DefaultShape()
	shape.LocalNodes, shape.VirtualNodes = 2, 2
	code := programtest.Main(m, system.Config{
		Shape: shape, Binaries: map[string]string{"vnode": limited},
	}, prepare)
	remove()
	_ = os.RemoveAll(dir) // A temporary directory: nothing depends on it.
	os.Exit(code)
}

// prepare creates the tenants.
func prepare(ctx context.Context, s *system.System) error {
	cluster, admin = s, s.Client()
	for _, tenant := range []string{mallory, alice} {
		if _, err := admin.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{
			ObjectMeta: metav1.ObjectMeta{Name: tenant},
		}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("creating the namespace of %s: %w", tenant, err)
		}
		if _, err := admin.RbacV1().RoleBindings(tenant).Create(ctx, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: "edit"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "edit"},
			Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: tenant}},
		}, metav1.CreateOptions{}); err != nil {
			return fmt.Errorf("giving %s the role edit: %w", tenant, err)
		}
	}
	return nil
}

// as returns a client with the rights of a tenant.
func as(t *testing.T, tenant string) kubernetes.Interface {
	t.Helper()
	config := cluster.RESTConfig()
	config.Impersonate = rest.ImpersonationConfig{UserName: tenant, Groups: []string{"system:authenticated"}}
	client, err := kubernetes.NewForConfig(config)
	require.NoError(t, err)
	return client
}

// chartLimit returns the memory limit of a virtual node in the chart, in bytes.
func chartLimit() (int64, error) {
	content, err := os.ReadFile("../../charts/spillway/values.yaml")
	if err != nil {
		return 0, fmt.Errorf("reading the values of the chart: %w", err)
	}
	var values struct {
		VNode struct {
			Resources corev1.ResourceRequirements `json:"resources"`
		} `json:"vnode"`
	}
	if err := yaml.Unmarshal(content, &values); err != nil {
		return 0, fmt.Errorf("decoding the values of the chart: %w", err)
	}
	limit := values.VNode.Resources.Limits.Memory()
	if limit.CmpInt64(1<<20) < 0 {
		return 0, fmt.Errorf("vnode.resources.limits.memory of the chart is %s", limit)
	}
	return limit.Value(), nil
}

// limitVNode returns a program that runs vnode in a memory control group with the limit of the chart, and a function
// that removes the groups. The kernel kills a virtual node that needs more.
func limitVNode(dir string) (program string, remove func(), err error) {
	limit, err := chartLimit()
	if err != nil {
		return "", nil, err
	}
	bin, err := system.FindBinDir()
	if err != nil {
		return "", nil, err
	}
	parent, file := "/sys/fs/cgroup/memory", "memory.limit_in_bytes"
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil {
		parent, file = "/sys/fs/cgroup", "memory.max"
	}
	group := filepath.Join(parent, filepath.Base(dir))
	if err := os.Mkdir(group, 0o755); err != nil {
		return "", nil, fmt.Errorf("creating a control group, which needs root: %w", err)
	}
	// Each virtual node has a group of its own, as its container has.
	script := fmt.Sprintf("#!/bin/sh\nset -e\nmkdir %[1]s/$$\necho %[2]d >%[1]s/$$/%[3]s\n"+
		"echo $$ >%[1]s/$$/cgroup.procs\nexec %[4]s \"$@\"\n", group, limit, file, filepath.Join(bin, "vnode"))
	program = filepath.Join(dir, "vnode")
	remove = func() {
		children, _ := filepath.Glob(group + "/[0-9]*") // The pattern is valid.
		for _, child := range append(children, group) {
			if err := os.Remove(child); err != nil {
				fmt.Fprintln(os.Stderr, "removing a control group:", err)
			}
		}
	}
	return program, remove, os.WriteFile(program, []byte(script), 0o755)
}

// attack plays one attack, and then checks that no other tenant was hurt: every program is the process that it was
// before, the virtual nodes kept to their memory, and a new Pod of alice runs in the cloud.
func attack(t *testing.T, title string, play func(t *testing.T, client kubernetes.Interface)) {
	t.Helper()
	t.Run(title, func(t *testing.T) {
		before := pids()
		play(t, as(t, mallory))
		removeAll(t, mallory)
		assert.Equal(t, before, pids(), "a program has ended")
		aliceBursts(t)
		limit, err := chartLimit()
		require.NoError(t, err)
		for name := range before {
			if strings.HasPrefix(name, "vnode") {
				peak := peakMemory(t, before[name])
				t.Logf("%s has needed %d MiB at most, of %d", name, peak>>20, limit>>20)
				assert.Less(t, peak, limit*3/4, "a quarter of the limit is left")
			}
		}
	})
}

// pids returns the process IDs of Spillway's programs.
func pids() map[string]int {
	found := map[string]int{}
	for _, name := range []string{system.Extender, system.Admission, system.VNode(0), system.VNode(1)} {
		found[name] = cluster.PID(name)
	}
	return found
}

// peakMemory returns the largest resident memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int64 {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(t, err)
	_, rest, found := bytes.Cut(status, []byte("VmHWM:"))
	require.True(t, found)
	kib, err := strconv.ParseInt(string(bytes.Fields(rest)[0]), 10, 64)
	require.NoError(t, err)
	return kib << 10
}

// aliceBursts runs a Pod of alice in the cloud and deletes it.
func aliceBursts(t *testing.T) {
	t.Helper()
	started := time.Now()
	pod := create(t, as(t, alice), alice, enforced("canary"))
	awaitPod(t, pod, "run in the cloud", func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodRunning && isVirtual(p.Spec.NodeName)
	})
	t.Logf("a new Pod of %s ran in the cloud after %s", alice, time.Since(started).Round(time.Millisecond))
	removeAll(t, alice)
}

func isVirtual(node string) bool { return strings.HasPrefix(node, system.VirtualNodePrefix) }

// plain returns a small Pod without keys.
func plain(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: name + "-", Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: new(int64),
			Containers: []corev1.Container{{
				Name: "app", Image: "nginx", Resources: requests("250m", "256Mi"),
			}},
		},
	}
}

// enforced returns a small Pod that runs in the cloud only.
func enforced(name string) *corev1.Pod {
	pod := plain(name)
	pod.Labels[policy.BurstLabel] = string(policy.ModeEnforce)
	return pod
}

func requests(cpu, memory string) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: corev1.ResourceList{
		corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory),
	}}
}

func create(t *testing.T, client kubernetes.Interface, namespace string, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	created, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	require.NoError(t, err)
	return created
}

// awaitPod waits until a Pod is as it should be, and returns it.
func awaitPod(t *testing.T, pod *corev1.Pod, should string, is func(*corev1.Pod) bool) *corev1.Pod {
	t.Helper()
	var last *corev1.Pod
	require.Eventually(t, func() bool {
		var err error
		last, err = admin.CoreV1().Pods(pod.Namespace).Get(t.Context(), pod.Name, metav1.GetOptions{})
		return err == nil && is(last)
	}, 2*programtest.Timeout, 100*time.Millisecond, "pod %s should %s", pod.Name, should)
	return last
}

// awaitEvent waits for an Event of a Pod whose reason or message contains a text, and returns its message.
func awaitEvent(t *testing.T, pod *corev1.Pod, text string) string {
	t.Helper()
	var found string
	require.Eventually(t, func() bool {
		events, err := admin.CoreV1().Events(pod.Namespace).List(t.Context(), metav1.ListOptions{
			FieldSelector: "involvedObject.uid=" + string(pod.UID),
		})
		if err != nil {
			return false
		}
		for _, event := range events.Items {
			if event.Reason == text || strings.Contains(event.Message, text) {
				found = event.Message
				return true
			}
		}
		return false
	}, programtest.Timeout, 100*time.Millisecond, "an Event of pod %s should say %s", pod.Name, text)
	return found
}

// removeAll deletes everything that a tenant has made and waits until its Pods are gone, in the cloud too.
func removeAll(t *testing.T, tenant string) {
	t.Helper()
	ctx, now := t.Context(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}
	all := metav1.ListOptions{}
	background := metav1.DeletePropagationBackground
	apps, core := admin.AppsV1(), admin.CoreV1()
	for _, err := range []error{
		apps.Deployments(tenant).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, all),
		apps.ReplicaSets(tenant).DeleteCollection(ctx, metav1.DeleteOptions{PropagationPolicy: &background}, all),
		core.Pods(tenant).DeleteCollection(ctx, now, all),
		core.ConfigMaps(tenant).DeleteCollection(ctx, now, metav1.ListOptions{LabelSelector: "attack"}),
	} {
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		pods, err := core.Pods(tenant).List(ctx, all)
		return err == nil && len(pods.Items) == 0
	}, 3*programtest.Timeout, 200*time.Millisecond, "the Pods of %s should be gone", tenant)
}

// cloudPod returns the cloud Pod of a Pod, nil if there is none.
func cloudPod(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	for _, cloud := range cloudPods(t) {
		if cloud.Annotations[policy.CloudUIDAnnotation] == string(pod.UID) {
			return &cloud
		}
	}
	return nil
}

func cloudPods(t *testing.T) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	require.NoError(t, cluster.Cloud().List(t.Context(), "pods", &list))
	return list.Items
}

// tick is the time between two looks at a condition.
const tick = 100 * time.Millisecond

// cleanup returns a context for what a test undoes when it has ended.
func cleanup() context.Context { return context.Background() }

// simulate injects a fault into the simulated cloud until the test ends.
func simulate(t *testing.T, fault string) {
	t.Helper()
	require.NoError(t, cluster.Cloud().Simulate(t.Context(), http.MethodPost, "faults", json.RawMessage(fault), nil))
	t.Cleanup(func() {
		assert.NoError(t, cluster.Cloud().Simulate(cleanup(), http.MethodDelete, "faults", nil, nil))
	})
}
