package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// cloudCase is so many Pods on so many virtual nodes.
type cloudCase struct{ pods, nodes int }

// cloudResult is what running them in the cloud has come to.
type cloudResult struct {
	cloudCase
	// floor is the time that the least takes that any virtual node must do: a request to the cloud and a status for each Pod, by the bench.
	floor time.Duration
	// created is when the last Pod was created, running when the last one ran, from the first creation on.
	created, running time.Duration
	// memory is what the virtual nodes took more for each Pod, of its resident pages.
	memory int
	// clusterCalls and cloudCalls are requests for each Pod, lists and watches left out.
	clusterCalls, cloudCalls float64
}

// measureCloud runs each case on a system of its own.
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
		fmt.Fprintf(out, "%d Pods on %d virtual nodes: all run after %s, floor %s\n", tc.pods, tc.nodes, result.running, result.floor)
	}
	return results, nil
}

// parseCloudCase reads PODS/NODES.
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
	if err := c.createCloudPods(ctx, "web", tc.pods, func(i int) string { return system.VirtualNode(i % tc.nodes) }, nil); err != nil {
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
	r.clusterCalls = (after.clusterCalls-before.clusterCalls)/pods - 1 // The bench's own creations.
	r.cloudCalls = (after.cloudCalls - before.cloudCalls) / pods
	return r, nil
}

// startCloudCluster starts etcd, an API server, the simulated cloud and the virtual nodes, none of which holds itself back.
func startCloudCluster(ctx context.Context, tc cloudCase, o options, out io.Writer) (*cluster, error) {
	dir := filepath.Join(o.Dir, "cloud")
	if err := errors.Join(system.Stop(ctx, dir), system.Remove(dir)); err != nil {
		return nil, err
	}
	binDir := o.BinDir
	if binDir == "" {
		var err error
		if binDir, err = system.FindBinDir(); err != nil {
			return nil, err
		}
	}
	shape := system.Shape{LocalCPU: "1", LocalMemory: "1Gi", VirtualNodes: tc.nodes}
	trial, err := system.Start(ctx, system.Config{
		Dir: dir, BinDir: binDir, Shape: shape, BareNodes: true, DieWithParent: true, Progress: out,
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
	if _, err := c.Client().CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("creating namespace %s: %w", namespace, err), c.stop())
	}
	if _, err := c.Client().CoreV1().ServiceAccounts(namespace).Create(ctx, account, metav1.CreateOptions{}); err != nil {
		return nil, errors.Join(fmt.Errorf("creating the default ServiceAccount: %w", err), c.stop())
	}
	return c, nil
}

// createCloudPods creates Pods that are bound already, and calls then for each.
func (c *cluster) createCloudPods(ctx context.Context, name string, count int, node func(int) string, then func(context.Context, *corev1.Pod) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(2 * parallel)
	for i := range count {
		group.Go(func() error {
			pod := barePod(fmt.Sprintf("%s-%05d", name, i), metav1.OwnerReference{})
			pod.Spec.NodeName, pod.Spec.AutomountServiceAccountToken = node(i), new(false)
			made, err := c.Client().CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
			if err != nil {
				return fmt.Errorf("creating pod %s: %w", pod.Name, err)
			}
			if then == nil {
				return nil
			}
			return then(ctx, made)
		})
	}
	return group.Wait()
}

// floor does for each Pod, on a node that nobody tends, what cannot be left out, and removes the cloud Pods again.
func (c *cluster) floor(ctx context.Context, count int) (time.Duration, error) {
	at := c.Cloud()
	client, err := cci.New(cci.Config{
		Endpoint: at.Endpoint, Exec: cci.ExecConfig{IAMEndpoint: at.Endpoint}, ProjectID: at.ProjectID, Credentials: cci.Credentials{AccessKey: at.AccessKey, SecretKey: at.SecretKey},
		QPS: 10000, Burst: 10000, RequestTimeout: time.Minute, Tries: 1, RetryDelay: time.Second,
	})
	if err != nil {
		return 0, err
	}
	size := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("1Gi")}
	start := time.Now()
	err = c.createCloudPods(ctx, "floor", count, func(int) string { return "nobody" }, func(ctx context.Context, pod *corev1.Pod) error {
		_, err := client.CreatePod(ctx, at.Namespace, &cci.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: pod.Name},
			Spec:       cci.PodSpec{Containers: []cci.Container{{Name: "main", Image: "nginx", Resources: cci.Resources{Limits: size, Requests: size}}}},
		})
		if err != nil {
			return err
		}
		_, err = c.Client().CoreV1().Pods(namespace).Patch(ctx, pod.Name, types.StrategicMergePatchType, []byte(`{"status":{"phase":"Running"}}`), metav1.PatchOptions{}, "status")
		if err != nil {
			return fmt.Errorf("writing the status of pod %s: %w", pod.Name, err)
		}
		return nil
	})
	took := time.Since(start)
	for i := 0; i < count && err == nil; i++ {
		err = client.DeletePod(ctx, at.Namespace, fmt.Sprintf("floor-%05d", i), cci.DeleteOptions{GraceSeconds: new(int64(0))})
	}
	return took, errors.Join(err, c.deletePods(ctx))
}

// awaitRunning blocks until the virtual nodes say that all their Pods run.
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
			return fmt.Errorf("waiting for %d Pods to run, %d do: %w", tc.pods, running, ctx.Err())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// meters are what is compared before and after.
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
	return 0, errors.New("reading the memory of a process: there is no VmRSS")
}

// clusterCalls are the requests about Pods and Events that change something, as the API server counts them.
func (c *cluster) clusterCalls(ctx context.Context) (float64, error) {
	text, err := c.Client().Discovery().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return 0, fmt.Errorf("reading the metrics of the API server: %w", err)
	}
	return sumMetric(string(text), "apiserver_request_total", func(labels map[string]string) bool {
		verb, about := labels["verb"], labels["resource"]
		return (about == "pods" || about == "events") && verb != "LIST" && verb != "WATCH" && verb != "DELETE" && verb != "DELETECOLLECTION"
	})
}

// cloudCalls are the requests about Pods, as the simulator counts them.
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

// cloudTable shows the cases side by side.
func cloudTable(results []cloudResult) string {
	var b strings.Builder
	b.WriteString("| Pods | virtual nodes | floor, s | all created, s | all Running, s | ÷ floor | memory per Pod | API calls per Pod: cluster | cloud |\n" +
		"|--:|--:|--:|--:|--:|--:|--:|--:|--:|\n")
	for _, r := range results {
		fmt.Fprintf(&b, "| %d | %d | %.1f | %.1f | %.1f | %.2f | %d KiB | %.2f | %.2f |\n", r.pods, r.nodes, r.floor.Seconds(), r.created.Seconds(),
			r.running.Seconds(), ratio(r.running, r.floor), r.memory>>10, r.clusterCalls, r.cloudCalls)
	}
	return b.String()
}
