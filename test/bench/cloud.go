package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim"
	"github.com/spillway-k8s/spillway/test/system"
	"github.com/spillway-k8s/spillway/vnode/cci"
)

// cloudCase is a number of Pods on a number of virtual nodes.
type cloudCase struct{ pods, nodes int }

// cloudResult is the result of a case.
type cloudResult struct {
	cloudCase
	// floor is the time for the minimum that any virtual node must do: one request to the cloud and one status update per
	// Pod, sent by the benchmark.
	floor time.Duration
	// created is the time until the last Pod was created, and running until the last one ran, from the first creation on.
	created, running time.Duration
	// memory is the increase of the virtual nodes' resident memory, per Pod.
	memory int
	// clusterCalls and cloudCalls are the requests per Pod, without lists and watches.
	clusterCalls, cloudCalls float64
}

// measureCloud measures each case on its own system.
func measureCloud(ctx context.Context, o options, out io.Writer) ([]cloudResult, error) {
	var results []cloudResult
	for _, text := range o.Cloud {
		tc, err := parseCloudCase(text)
		if err != nil {
			return nil, err
		}
		result, err := runCloud(ctx, tc, o, out)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", text, err)
		}
		results = append(results, result)
		fmt.Fprintf(out, "%d Pods on %d virtual nodes: all run after %s, floor %s\n", tc.pods, tc.nodes, result.running,
			result.floor)
	}
	return results, nil
}

// parseCloudCase parses PODS/NODES.
func parseCloudCase(text string) (cloudCase, error) {
	pods, nodes, found := strings.Cut(text, "/")
	c := cloudCase{}
	var errPods, errNodes error
	c.pods, errPods = strconv.Atoi(pods)
	c.nodes, errNodes = strconv.Atoi(nodes)
	if !found || errPods != nil || errNodes != nil || c.pods < 1 || c.nodes < 1 {
		return c, fmt.Errorf("invalid value %q: must be PODS/NODES, such as 3000/1", text)
	}
	return c, nil
}

// runCloud measures one case.
func runCloud(ctx context.Context, tc cloudCase, o options, out io.Writer) (r cloudResult, err error) {
	r.cloudCase = tc
	c, err := startCloudCluster(ctx, tc, o, out)
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, c.stop()) }()
	if r.floor, err = c.floor(ctx, tc.pods); err != nil {
		return r, fmt.Errorf("measuring the floor: %w", err)
	}
	before, err := c.meter(ctx, tc.nodes)
	if err != nil {
		return r, err
	}
	start := time.Now()
	if err := c.createCloudPods(ctx, "web", tc.pods, func(i int) string { return system.VirtualNode(i % tc.nodes) },
		nil); err != nil {
		return r, err
	}
	r.created = time.Since(start)
	if err := c.awaitRunning(ctx, tc); err != nil {
		return r, err
	}
	r.running = time.Since(start)
	after, err := c.meter(ctx, tc.nodes)
	if err != nil {
		return r, err
	}
	pods := float64(tc.pods)
	r.memory = (after.memory - before.memory) / tc.pods
	r.clusterCalls = (after.clusterCalls-before.clusterCalls)/pods - 1 // Without the benchmark's own creations.
	r.cloudCalls = (after.cloudCalls - before.cloudCalls) / pods
	return r, nil
}

// startCloudCluster starts etcd, an API server, the simulated cloud and the virtual nodes, all without rate limits.
func startCloudCluster(ctx context.Context, tc cloudCase, o options, out io.Writer) (*cluster, error) {
	dir := filepath.Join(o.Dir, "cloud")
	if err := errors.Join(system.Stop(ctx, dir), system.Remove(dir)); err != nil {
		return nil, err
	}
	shape := system.Shape{LocalCPU: "1", LocalMemory: "1Gi", VirtualNodes: tc.nodes}
	trial, err := system.Start(ctx, system.Config{
		Dir: dir, BinDir: o.BinDir, Shape: shape, BareNodes: true, DieWithParent: true, Progress: out,
		Without: []string{system.ControllerManager, system.Scheduler, system.KWOK, system.Extender, system.Admission},
		Args: map[string][]string{
			"vnode":       {"--cci-qps=10000", "--cci-burst=10000", "--kube-api-qps=10000", "--kube-api-burst=10000"},
			system.CCISim: {"--start-delay=10ms", "--subnet-cidr=10.0.0.0/8"},
		},
	})
	if err != nil {
		return nil, err
	}
	c := &cluster{System: trial, dir: dir}
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}
	core := c.Client().CoreV1()
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if _, err := core.Namespaces().Create(ctx, own, metav1.CreateOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("creating namespace %s: %w", namespace, err), c.stop())
	}
	if _, err := core.ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("creating the default ServiceAccount: %w", err), c.stop())
	}
	return c, nil
}

// createCloudPods creates Pods with a nodeName, and calls then for each of them.
func (c *cluster) createCloudPods(
	ctx context.Context, name string, count int, node func(int) string, then func(context.Context, *corev1.Pod) error,
) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * parallel)
	for i := range count {
		group.Go(func() error {
			pod := barePod(fmt.Sprintf("%s-%05d", name, i), metav1.OwnerReference{})
			pod.Spec.NodeName, pod.Spec.AutomountServiceAccountToken = node(i), new(false)
			created, err := c.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("creating pod %s: %w", pod.Name, err)
			}
			if then == nil {
				return nil
			}
			return then(ctx, created)
		})
	}
	return group.Wait()
}

// floor does for each Pod only what is necessary, on a node that no virtual node manages, and then deletes the cloud
// Pods.
func (c *cluster) floor(ctx context.Context, count int) (time.Duration, error) {
	at := c.Cloud()
	client, err := cci.New(cci.Config{
		Endpoint: at.Endpoint, Exec: cci.ExecConfig{IAMEndpoint: at.Endpoint}, ProjectID: at.ProjectID,
		Credentials: cci.Credentials{AccessKey: at.AccessKey, SecretKey: at.SecretKey},
		QPS:         10000, Burst: 10000, RequestTimeout: time.Minute, Tries: 1, RetryDelay: time.Second,
	})
	if err != nil {
		return 0, err
	}
	size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"),
		corev1.ResourceMemory: resource.MustParse("1Gi")}
	start := time.Now()
	noNode := func(int) string { return "unmanaged" }
	err = c.createCloudPods(ctx, "floor", count, noNode, func(ctx context.Context, pod *corev1.Pod) error {
		_, err := client.CreatePod(ctx, at.Namespace, &cci.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
			Spec: cci.PodSpec{Containers: []cci.Container{{
				Name: "main", Image: "nginx", Resources: cci.Resources{Limits: size, Requests: size},
			}}},
		})
		if err != nil {
			return err
		}
		pods, running := c.Client().CoreV1().Pods(namespace), []byte(`{"status":{"phase":"Running"}}`)
		_, err = pods.Patch(ctx, pod.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("patching the status of pod %s: %w", pod.Name, err)
		}
		return nil
	})
	took := time.Since(start)
	for i := 0; i < count && err == nil; i++ {
		options := cci.DeleteOptions{GraceSeconds: new(int64(0))}
		err = client.DeletePod(ctx, at.Namespace, fmt.Sprintf("floor-%05d", i), options)
	}
	return took, errors.Join(err, c.deletePods(ctx))
}

// awaitRunning blocks until the virtual nodes report that all their Pods run.
func (c *cluster) awaitRunning(ctx context.Context, tc cloudCase) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	for {
		running := 0
		for i := range tc.nodes {
			count, err := readMetric(ctx, c.HealthEndpoint(system.VNode(i)), "spillway_vnode_pods", "phase", "Running")
			if err != nil {
				return err
			}
			running += count
		}
		if running == tc.pods {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %d Pods to run: %d run: %w", tc.pods, running, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// meters are the figures that are compared before and after.
type meters struct {
	memory                   int
	clusterCalls, cloudCalls float64
}

func (c *cluster) meter(ctx context.Context, nodes int) (m meters, err error) {
	for i := range nodes {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID(system.VNode(i))))
		if err != nil {
			return m, fmt.Errorf("reading the memory of %s: %w", system.VNode(i), err)
		}
		kilobytes, err := residentKilobytes(string(status))
		if err != nil {
			return m, err
		}
		m.memory += kilobytes << 10
	}
	if m.clusterCalls, err = c.clusterCalls(ctx); err != nil {
		return m, err
	}
	m.cloudCalls, err = c.cloudCalls(ctx)
	return m, err
}

// residentKilobytes reads VmRSS (proc(5)).
func residentKilobytes(status string) (int, error) {
	for line := range strings.Lines(status) {
		if fields := strings.Fields(line); len(fields) == 3 && fields[0] == "VmRSS:" {
			return strconv.Atoi(fields[1])
		}
	}
	return 0, errors.New("reading the memory of a process: no VmRSS")
}

// clusterCalls returns the number of write requests for Pods and Events, as counted by the API server.
func (c *cluster) clusterCalls(ctx context.Context) (float64, error) {
	text, err := c.Client().Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of the API server: %w", err)
	}
	return sumMetric(string(text), "apiserver_request_total", func(labels map[string]string) bool {
		verb, of := labels["verb"], labels["resource"]
		excluded := []string{"LIST", "WATCH", "DELETE", "DELETECOLLECTION"}
		return (of == "pods" || of == "events") && !slices.Contains(excluded, verb)
	})
}

// cloudCalls returns the number of requests for Pods, as counted by the simulator.
func (c *cluster) cloudCalls(ctx context.Context) (float64, error) {
	text, err := get(ctx, c.Cloud().Endpoint+"/_sim/requests")
	if err != nil {
		return 0, err
	}
	var counts []ccisim.RequestCount
	if err := json.Unmarshal(text, &counts); err != nil {
		return 0, fmt.Errorf("decoding the requests of the simulator: %w", err)
	}
	sum := 0.0
	for _, count := range counts {
		if count.Verb != "list" && count.Verb != "watch" {
			sum += float64(count.Count)
		}
	}
	return sum, nil
}

// cloudTable returns the table of all cases.
func cloudTable(results []cloudResult) string {
	var b strings.Builder
	b.WriteString("| Pods | virtual nodes | floor, s | all created, s | all Running, s | ÷ floor | memory per Pod " +
		"| API calls per Pod: cluster | cloud |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %d | %d | %.1f | %.1f | %.1f | %.2f | %d KiB | %.2f | %.2f |\n", r.pods, r.nodes,
			r.floor.Seconds(), r.created.Seconds(),
			r.running.Seconds(), ratio(r.running, r.floor), r.memory>>10, r.clusterCalls, r.cloudCalls)
	}
	return b.String()
}
