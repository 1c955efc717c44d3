package services

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// loadVariable makes the test program the clients of a load, which run in a process of their own: the memory and the
// CPU time of the server are then those of the process of the test.
const loadVariable = "SPILLWAY_TEST_LOAD_CLIENTS"

func TestMain(m *testing.M) {
	if os.Getenv(loadVariable) != "" {
		if err := runClients(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// load describes the clients.
type load struct {
	Address string
	CA      []byte
	Tokens  []string
	Queries []string
}

// loadStream is one stream of a client. It only counts bytes: 3,000 clients on one machine cannot decode all that they
// get as fast as 3,000 machines.
type loadStream struct {
	mu    sync.Mutex
	bytes int
	last  time.Time
}

func (s *loadStream) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.bytes += len(p)
	s.last = time.Now()
	return len(p), nil
}

// runClients reads a load and then commands, one a line. "report" answers with the streams, the bytes that they have,
// and the time of the last byte of each.
func runClients(in io.Reader, out io.Writer) error {
	commands := bufio.NewReaderSize(in, 1<<20)
	line, err := commands.ReadBytes('\n')
	if err != nil {
		return err
	}
	var l load
	if err := json.Unmarshal(line, &l); err != nil {
		return err
	}
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(l.CA)
	var mu sync.Mutex
	var streams []*loadStream
	failed := make(chan error, 1)
	starting := make(chan struct{}, 50)
	for _, token := range l.Tokens {
		client := &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: authorities, ServerName: ServerName},
		}}
		starting <- struct{}{}
		go func() {
			for _, query := range l.Queries {
				stream := &loadStream{}
				body, err := openStream(client, "https://"+l.Address+query, token)
				if err != nil {
					failed <- err
					return
				}
				mu.Lock()
				streams = append(streams, stream)
				mu.Unlock()
				go func() {
					_, err := io.Copy(stream, body)
					failed <- fmt.Errorf("a stream has ended: %w", err)
				}()
			}
			<-starting
		}()
	}
	for {
		if _, err := commands.ReadBytes('\n'); err != nil {
			return nil // The test has ended.
		}
		select {
		case err := <-failed:
			return err
		default:
		}
		var report []int64
		mu.Lock()
		for _, stream := range streams {
			stream.mu.Lock()
			report = append(report, int64(stream.bytes), stream.last.UnixNano())
			stream.mu.Unlock()
		}
		mu.Unlock()
		if err := json.NewEncoder(out).Encode(report); err != nil {
			return err
		}
	}
}

func openStream(client *http.Client, url, token string) (io.Reader, error) {
	request, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+token)
	request.Header.Set("Accept-Encoding", "gzip")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the server answers %s", response.Status)
	}
	return response.Body, nil
}

// clients are the clients of a load.
type clients struct {
	*testing.B
	in  io.Writer
	out *bufio.Reader
}

// report returns the bytes of each stream, and when the last one came.
func (c *clients) report() (bytes []int64, last []time.Time) {
	c.Helper()
	_, err := io.WriteString(c.in, "report\n")
	require.NoError(c, err)
	line, err := c.out.ReadBytes('\n')
	require.NoError(c, err)
	var report []int64
	require.NoError(c, json.Unmarshal(line, &report))
	for pair := range slices.Chunk(report, 2) {
		bytes, last = append(bytes, pair[0]), append(last, time.Unix(0, pair[1]))
	}
	return bytes, last
}

// await waits until all streams have more than some bytes, and nothing has come for a moment.
func (c *clients) await(streams int, more func(i int) int64) (bytes []int64, last time.Time) {
	c.Helper()
	for deadline := time.Now().Add(3 * time.Minute); time.Now().Before(deadline); time.Sleep(100 * time.Millisecond) {
		bytes, times := c.report()
		if len(bytes) < streams {
			continue
		}
		all := true
		for i := range bytes {
			all = all && bytes[i] > more(i)
		}
		if last := slices.MaxFunc(times, time.Time.Compare); all && time.Since(last) > time.Second {
			return bytes, last
		}
	}
	c.Fatal("the clients have not got everything in time")
	return nil, time.Time{}
}

// BenchmarkThousandsOfPods serves 5,000 Services, with an EndpointSlice each, to up to 3,000 Pods. An operation is a
// change of a Service and its 100 endpoints that reaches all of them.
func BenchmarkThousandsOfPods(b *testing.B) {
	for _, pods := range []int{30, 300, 3000} {
		b.Run(fmt.Sprintf("pods=%d", pods), func(b *testing.B) { benchmarkPods(b, pods, 5000) })
	}
}

func benchmarkPods(b *testing.B, pods, services int) {
	w, c := startLoad(b, pods, services)
	streams := pods * len(loadQueries)
	before := cpu()
	began := time.Now()
	bytes, last := c.await(streams, func(int) int64 { return 1000 })
	started, startCPU, startBytes := last.Sub(began), cpu()-before, sum(bytes)/int64(streams)
	heap, resident := memory()
	var slowest time.Duration
	before = cpu()
	for i := 0; b.Loop(); i++ {
		service := w.service("shop-0", "service-0")
		slice := w.slice("shop-0", "service-0", "service-0-abcde", 100+i%2)
		began := time.Now()
		w.put(service)
		w.put(slice)
		after, last := c.await(streams, func(i int) int64 { return bytes[i] })
		bytes = after
		slowest = max(slowest, last.Sub(began))
	}
	b.ReportMetric(slowest.Seconds(), "s/slowest")
	b.ReportMetric((cpu()-before).Seconds()/float64(b.N), "cpu-s/op")
	b.ReportMetric(started.Seconds(), "s/start")
	b.ReportMetric(startCPU.Seconds(), "cpu-s/start")
	b.ReportMetric(float64(startBytes), "B/stream")
	b.ReportMetric(float64(heap-w.heap)/float64(pods)/1e3, "kB/pod")
	b.ReportMetric(float64(w.heap)/1e6, "MB/empty")
	b.ReportMetric(float64(resident)/1e6, "MB/resident")
}

// loadQueries are the streams of each Pod, as client-go's reflector opens them.
var loadQueries = []string{
	pathServices + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
	pathSlices + "?watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan",
}

// startLoad runs a server and its clients.
func startLoad(b *testing.B, pods, services int) (*world, *clients) {
	b.Helper()
	w := newCluster(b, func(c *Config) { c.Pods = pods })
	var items, slices []any
	for i := range services {
		namespace, name := fmt.Sprintf("shop-%d", i%100), fmt.Sprintf("service-%d", i)
		items = append(items, w.service(namespace, name, func(s *corev1.Service) {
			s.Labels = map[string]string{
				"app.kubernetes.io/name": name, "app.kubernetes.io/instance": namespace, "helm.sh/chart": name + "-1.2.3",
				"app.kubernetes.io/managed-by": "Helm", "app.kubernetes.io/version": "1.2.3",
			}
			s.Spec.Selector = map[string]string{"app.kubernetes.io/name": name, "app.kubernetes.io/instance": namespace}
		}))
		slices = append(slices, w.slice(namespace, name, name+"-abcde", 3))
	}
	version := strconv.FormatUint(w.next(), 10)
	require.NoError(b, w.server.services.resources.Replace(items, version))
	require.NoError(b, w.server.slices.resources.Replace(slices, version))
	var l load
	for i := range pods {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: fmt.Sprintf("shop-%d", i%100), Name: fmt.Sprintf("pod-%d", i)},
			Spec:       corev1.PodSpec{NodeName: nodeName},
		}
		pod.UID = types.UID("uid-of-" + pod.Name)
		w.pods.Add(pod)
		l.Tokens = append(l.Tokens, pod.Name)
	}
	w.run()
	keys := w.server.secret.Load()
	for i := range l.Tokens {
		l.Tokens[i] = keys.key.Token(Pod{
			Namespace: fmt.Sprintf("shop-%d", i%100), Name: l.Tokens[i], UID: types.UID("uid-of-" + l.Tokens[i]), Node: nodeName,
		})
	}
	l.Address, l.CA, l.Queries = w.server.config.Address, keys.content[secretCA], loadQueries
	w.heap, _ = memory()
	return w, startClients(b, l)
}

func startClients(b *testing.B, l load) *clients {
	b.Helper()
	program := exec.Command(os.Args[0])
	program.Env = append(os.Environ(), loadVariable+"=true")
	program.Stderr = os.Stderr
	in, err := program.StdinPipe()
	require.NoError(b, err)
	out, err := program.StdoutPipe()
	require.NoError(b, err)
	require.NoError(b, program.Start())
	b.Cleanup(func() {
		require.NoError(b, in.Close())
		require.NoError(b, program.Wait())
	})
	require.NoError(b, json.NewEncoder(in).Encode(l))
	return &clients{b, in, bufio.NewReaderSize(out, 1<<20)}
}

func sum(numbers []int64) (total int64) {
	for _, number := range numbers {
		total += number
	}
	return total
}

func memory() (heap, resident int64) {
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kib, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			resident = kib << 10
		}
	}
	return int64(stats.HeapInuse + stats.StackInuse), resident
}

func cpu() time.Duration {
	var usage syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &usage) != nil {
		return 0
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
