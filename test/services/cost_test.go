package services

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/page"
	"github.com/spillway-k8s/spillway/test/services/peer"
)

// way is a way from a client to the same endpoint.
type way struct {
	name string
	from pod
	to   string
	// base is the name of the way without a Service to which this one is compared, empty for such a way.
	base   string
	speeds []peer.Speed
	// sidecar is how much memory the client's sidecar has and how much processor time it used, if there is one.
	sidecar usage
}

const (
	rounds = 5
	// measured is how long each way is measured in a round.
	measured = "2s"
)

// playCost measures the ways to an endpoint on a local node: all in turn, several times, so that each sees the same
// machine.
func (w *world) playCost(t *testing.T) {
	require.NoError(t, w.route(policy.ServicesRouted))
	for _, mode := range policy.ServicesModes() {
		// A kube-proxy that was started before vnode was replaced does not learn of the Service.
		w.run(t, "kubectl", "delete", "pod", "--namespace="+shop, "--ignore-not-found", "client-"+string(mode))
		w.createPods(t, inCloud(mode))
	}
	endpoint := w.servers(t, local)[0]
	service, err := w.Client().CoreV1().Services(shop).Create(t.Context(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "cost"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{"statefulset.kubernetes.io/pod-name": endpoint.Name},
			Ports:    []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromString("http")}},
		},
	}, metav1.CreateOptions{})
	require.NoError(t, err)
	direct := net.JoinHostPort(endpoint.Status.PodIP, strconv.Itoa(httpPort))
	number := net.JoinHostPort(service.Spec.ClusterIP, "80")
	const cloudDirect, localDirect = "cloud Pod, direct", "local Pod, direct"
	ways := []*way{
		{name: cloudDirect, from: w.client(t, string(policy.ServicesOff)), to: direct},
		{name: "cloud Pod, `routed`", from: w.client(t, string(policy.ServicesRouted)), to: number, base: cloudDirect},
		{name: "cloud Pod, `proxy`", from: w.client(t, string(policy.ServicesProxy)), to: "cost:80", base: cloudDirect},
		{name: "cloud Pod, `kube-proxy`", from: w.client(t, string(policy.ServicesKubeProxy)), to: number, base: cloudDirect},
		{name: localDirect, from: w.client(t, local), to: direct},
		{name: "local Pod, kube-proxy of the node", from: w.client(t, local), to: number, base: localDirect},
	}
	for _, way := range ways {
		w.eventually(t, way.name, func(ctx context.Context) error {
			_, err := ask[peer.Answer](ctx, way.from, "get", "http://"+way.to)
			return err
		})
	}
	for range rounds {
		for _, way := range ways {
			way.measure(t)
		}
	}
	text := figures(ways) + "\n" + page.Fill(machineState(t))
	t.Log("\n" + text)
	if *document != "" {
		require.NoError(t, page.Rewrite(*document, map[string]string{"services": text}))
	}
}

func (w *way) measure(t *testing.T) {
	t.Helper()
	before := w.usage(t)
	speed, err := ask[peer.Speed](t.Context(), w.from, "measure", w.to, "--for="+measured)
	require.NoError(t, err, w.name)
	w.speeds = append(w.speeds, speed)
	after := w.usage(t)
	w.sidecar.memory = after.memory
	w.sidecar.cpu += after.cpu - before.cpu
}

// usage is what a process uses.
type usage struct {
	// memory is the resident memory in MiB.
	memory float64
	cpu    time.Duration
}

// usage returns what the sidecar of the client uses, nothing if it has none.
func (w *way) usage(t *testing.T) usage {
	t.Helper()
	mode := policy.ServicesMode(w.from.Annotations[policy.ServicesAnnotation])
	if !mode.HasSidecar() {
		return usage{}
	}
	out, err := w.from.run(t.Context(), policy.ServicesContainer, "cat", "/proc/1/stat")
	require.NoError(t, err)
	fields := strings.Fields(out[strings.LastIndexByte(out, ')'):]) // The first one is the third of proc_pid_stat(5).
	number := func(i int) float64 {
		value, err := strconv.ParseFloat(fields[i-2], 64)
		require.NoError(t, err)
		return value
	}
	const tick = 10 * time.Millisecond // USER_HZ.
	return usage{
		memory: number(24) * float64(os.Getpagesize()) / (1 << 20),
		cpu:    time.Duration(number(14)+number(15)) * tick,
	}
}

// median returns the median of a figure over all rounds.
func (w *way) median(figure func(peer.Speed) float64) float64 {
	var values []float64
	for _, speed := range w.speeds {
		values = append(values, figure(speed))
	}
	slices.Sort(values)
	return values[len(values)/2]
}

// columns are the figures of a way.
var columns = []struct {
	name string
	of   func(peer.Speed) float64
}{
	{"median, µs", func(s peer.Speed) float64 { return float64(s.Median.Microseconds()) }},
	{"p99, µs", func(s peer.Speed) float64 { return float64(s.P99.Microseconds()) }},
	{"MB/s", func(s peer.Speed) float64 { return s.BytesPerSecond / 1e6 }},
}

// figures returns the table: each figure with its ratio to that of the direct way.
func figures(ways []*way) string {
	var text strings.Builder
	text.WriteString("| way | ")
	for _, column := range columns {
		text.WriteString(column.name + " | ratio | ")
	}
	text.WriteString("sidecar, MiB | sidecar, CPU |\n|---|" + strings.Repeat("--:|", 2*len(columns)+2) + "\n")
	for _, w := range ways {
		fmt.Fprintf(&text, "| %s |", w.name)
		base := ways[slices.IndexFunc(ways, func(other *way) bool { return other.name == cmp.Or(w.base, w.name) })]
		for _, column := range columns {
			value := w.median(column.of)
			fmt.Fprintf(&text, " %.0f | %.2f |", value, value/base.median(column.of))
		}
		if w.sidecar.memory == 0 {
			text.WriteString(" | |\n")
			continue
		}
		fmt.Fprintf(&text, " %.0f | %.1f s |\n", w.sidecar.memory, w.sidecar.cpu.Seconds())
	}
	return text.String()
}

// machineState says on what machine the figures were measured.
func machineState(t *testing.T) string {
	t.Helper()
	load, err := os.ReadFile("/proc/loadavg")
	require.NoError(t, err)
	return fmt.Sprintf("Median of %d rounds of %s for each way, with an endpoint on a local node, in one run on one "+
		"machine. CPU is that of all rounds together. Load average at the end: %s.", rounds, measured,
		strings.Fields(string(load))[0])
}

func TestFiguresAreComparedToTheDirectWay(t *testing.T) {
	speeds := func(median time.Duration) []peer.Speed {
		return []peer.Speed{{Median: median, P99: 4 * median, BytesPerSecond: 5e6}}
	}
	table := figures([]*way{
		{name: "direct", speeds: speeds(100 * time.Microsecond)},
		{name: "proxy", base: "direct", speeds: speeds(150 * time.Microsecond), sidecar: usage{memory: 15, cpu: time.Second}},
	})
	require.Equal(t, "| way | median, µs | ratio | p99, µs | ratio | MB/s | ratio | sidecar, MiB | sidecar, CPU |\n"+
		"|---|--:|--:|--:|--:|--:|--:|--:|--:|\n"+
		"| direct | 100 | 1.00 | 400 | 1.00 | 5 | 1.00 | | |\n"+
		"| proxy | 150 | 1.50 | 600 | 1.50 | 5 | 1.00 | 15 | 1.0 s |\n", table)
}
