package app

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	miekg "github.com/miekg/dns"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/proxy/dns"
	"github.com/spillway-k8s/spillway/proxy/podtest"
	"github.com/spillway-k8s/spillway/proxy/proxytest"
)

// The figures of docs/proxy.md are those of these benchmarks:
//
//	go test ./proxy/app -run '^$' -bench . -benchtime 2s

// build builds the program as for its image.
func build(b *testing.B) string {
	b.Helper()
	program := filepath.Join(b.TempDir(), "proxy")
	command := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", program, "..")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	output, err := command.CombinedOutput()
	require.NoError(b, err, string(output))
	return program
}

// process is a running proxy.
type process struct {
	b       *testing.B
	address string
	command *exec.Cmd
}

func launch(b *testing.B, program string, cluster *proxytest.Cluster) *process {
	b.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	require.NoError(b, err)
	p := &process{b: b, address: listener.Addr().String()}
	require.NoError(b, listener.Close())
	p.command = exec.Command(program, "--dns-address="+p.address, "--node=virtual-0", "--zone=zone-a",
		"--kubeconfig="+proxytest.Kubeconfig(b, proxytest.Token, cluster.Start(b)))
	p.command.Stderr = os.Stderr
	if !testing.Verbose() {
		p.command.Stderr = io.Discard
	}
	require.NoError(b, p.command.Start())
	ready := func() bool { return dns.Check(b.Context(), p.address) == nil }
	require.Eventually(b, ready, podtest.Soon, 5*time.Millisecond)
	return p
}

func (p *process) stop() {
	p.b.Helper()
	require.NoError(p.b, p.command.Process.Signal(syscall.SIGTERM))
	require.NoError(p.b, p.command.Wait())
}

// memory returns the resident memory of the process, and the part of it that is not the program's file, in MiB.
func (p *process) memory() (resident, anonymous float64) {
	p.b.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	require.NoError(p.b, err)
	lines := bufio.NewScanner(bytes.NewReader(content))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "VmRSS:" && fields[0] != "RssAnon:" {
			continue
		}
		kilobytes, err := strconv.ParseFloat(fields[1], 64)
		require.NoError(p.b, err)
		if fields[0] == "VmRSS:" {
			resident = kilobytes / 1024
		} else {
			anonymous = kilobytes / 1024
		}
	}
	return resident, anonymous
}

// settled returns the memory of the process once it does not change any more.
func (p *process) settled() (resident, anonymous float64) {
	p.b.Helper()
	last := -1.0
	require.Eventually(p.b, func() bool {
		resident, anonymous = p.memory()
		same := resident == last
		last = resident
		return same
	}, podtest.Soon, 300*time.Millisecond)
	return resident, anonymous
}

// cpu returns the processor time of the process so far.
func (p *process) cpu() time.Duration {
	p.b.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.command.Process.Pid))
	require.NoError(p.b, err)
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')'):]))
	user, err := strconv.Atoi(fields[12])
	require.NoError(p.b, err)
	system, err := strconv.Atoi(fields[13])
	require.NoError(p.b, err)
	const tick = 10 * time.Millisecond // USER_HZ is 100.
	return time.Duration(user+system) * tick
}

// full returns a Service and its slice with 5 endpoints, with the fields that an API server sends.
func full(i int) (*corev1.Service, *discoveryv1.EndpointSlice) {
	name := fmt.Sprintf("team-%d/service-%d", i%50, i)
	ports := []string{"http:80:8080", "metrics:9090"}
	service := proxytest.Service(name, ports...)
	labels := map[string]string{"app.kubernetes.io/name": service.Name, "app.kubernetes.io/managed-by": "Helm"}
	service.UID, service.Labels, service.Spec.Selector = types.UID(fmt.Sprintf("%036d", i)), labels, labels
	service.Spec.ClusterIPs = []string{service.Spec.ClusterIP}
	service.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	service.Spec.InternalTrafficPolicy = new(corev1.ServiceInternalTrafficPolicyCluster)
	var addresses []string
	for j := range 5 {
		addresses = append(addresses, fmt.Sprintf("10.%d.%d.%d", i/50, i%50, j+1))
	}
	slice := proxytest.Slice(service.Name+"-x7k2p", name, ports, addresses...)
	for j := range slice.Endpoints {
		one := &slice.Endpoints[j]
		one.Conditions.Serving, one.Conditions.Terminating = new(true), new(false)
		one.NodeName, one.Zone = new(fmt.Sprintf("node-%d", j)), new("zone-a")
		one.TargetRef = &corev1.ObjectReference{
			Kind: "Pod", Namespace: service.Namespace, Name: fmt.Sprintf("%s-5d9c7b8f6-%05d", service.Name, j),
			UID: types.UID(fmt.Sprintf("%036d", j)),
		}
	}
	return service, slice
}

// BenchmarkServices measures a proxy that has just started, and what a change of an endpoint costs it.
func BenchmarkServices(b *testing.B) {
	program := build(b)
	for _, n := range []int{10, 1000, 5000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			cluster := proxytest.NewCluster()
			var slices []*discoveryv1.EndpointSlice
			for i := range n {
				service, slice := full(i)
				cluster.Put(service, slice)
				slices = append(slices, slice)
			}
			cluster.Forget()
			const changes = 2000
			var resident, anonymous, after float64
			var start, change time.Duration
			for b.Loop() {
				p := launch(b, program, cluster)
				r, a := p.settled()
				begun := p.cpu()
				for i := range changes {
					slice := slices[i%n]
					slice.Endpoints[0].Conditions.Ready = new(i%2 == 0)
					cluster.Put(slice)
				}
				// A headless Service has a name as soon as it has an endpoint.
				last, lastSlice := proxytest.Service("bench/last"), proxytest.Slice("last", "bench/last", nil, "10.0.0.1")
				last.Spec.ClusterIP = corev1.ClusterIPNone
				cluster.Put(last, lastSlice)
				waitFor(b, p, "last.bench.svc.cluster.local.")
				cluster.Delete(last, lastSlice)
				later, _ := p.settled()
				resident, anonymous, after = resident+r, anonymous+a, after+later
				start, change = start+begun, change+p.cpu()-begun
				cluster.Forget()
				p.stop()
			}
			each := float64(b.N)
			b.ReportMetric(resident/each, "MiB")
			b.ReportMetric(anonymous/each, "MiB-anonymous")
			b.ReportMetric(after/each, "MiB-after-changes")
			b.ReportMetric(float64(start.Milliseconds())/each, "ms-cpu-start")
			b.ReportMetric(float64(change.Microseconds())/each/changes, "µs-cpu/change")
		})
	}
}

// waitFor waits until a name exists.
func waitFor(b *testing.B, p *process, name string) {
	b.Helper()
	query := new(miekg.Msg)
	query.SetQuestion(name, miekg.TypeAAAA)
	require.Eventually(b, func() bool {
		response, err := miekg.Exchange(query, p.address)
		return err == nil && response.Rcode == miekg.RcodeSuccess
	}, podtest.Soon, 5*time.Millisecond)
}

// serving is a proxy with a Service whose endpoint echoes, and both addresses.
func serving(b *testing.B, program string) (p *process, direct, proxied string) {
	b.Helper()
	listener, err := net.Listen("tcp4", "127.0.8.1:0")
	require.NoError(b, err)
	b.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				buffer := make([]byte, 256<<10)
				for {
					n, err := conn.Read(buffer)
					if err != nil {
						return
					}
					// A request is one byte. Larger ones are only received.
					if n == 1 {
						_, _ = conn.Write(buffer[:1])
					}
				}
			}()
		}
	}()
	direct = listener.Addr().String()
	port, target := portOf(direct), portOf(direct)
	ports := []string{"http:" + port + ":" + target}
	cluster := proxytest.NewCluster()
	cluster.Put(proxytest.Service("shop/cart", ports...), proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.1"))
	p = launch(b, program, cluster)
	query := new(miekg.Msg)
	query.SetQuestion("cart.shop.svc.cluster.local.", miekg.TypeA)
	response, err := miekg.Exchange(query, p.address)
	require.NoError(b, err)
	require.Len(b, response.Answer, 1)
	return p, direct, net.JoinHostPort(response.Answer[0].(*miekg.A).A.String(), port)
}

func dial(b *testing.B, address string) net.Conn {
	b.Helper()
	conn, err := net.Dial("tcp", address)
	require.NoError(b, err)
	return conn
}

// exchange sends a byte and waits for it.
func exchange(b *testing.B, conn net.Conn) {
	b.Helper()
	one := []byte{1}
	_, err := conn.Write(one)
	require.NoError(b, err)
	_, err = io.ReadFull(conn, one)
	require.NoError(b, err)
}

// measure runs an operation, and reports its median time and the processor time of the proxy. The machine may do other
// work, which changes the mean.
func measure(b *testing.B, p *process, operation func()) {
	b.Helper()
	var times []time.Duration
	before := p.cpu()
	for b.Loop() {
		begun := time.Now()
		operation()
		times = append(times, time.Since(begun))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Nanoseconds())/1000, "µs-median")
	b.ReportMetric(float64((p.cpu()-before).Microseconds())/float64(b.N), "µs-cpu-proxy/op")
}

func BenchmarkForwarding(b *testing.B) {
	p, direct, proxied := serving(b, build(b))
	defer p.stop()
	for _, way := range []struct{ name, address string }{{"direct", direct}, {"proxied", proxied}} {
		b.Run("connection/"+way.name, func(b *testing.B) {
			measure(b, p, func() {
				conn := dial(b, way.address)
				exchange(b, conn)
				require.NoError(b, conn.Close())
			})
		})
		b.Run("request/"+way.name, func(b *testing.B) {
			conn := dial(b, way.address)
			defer func() { _ = conn.Close() }()
			measure(b, p, func() { exchange(b, conn) })
		})
		b.Run("transfer/"+way.name, func(b *testing.B) {
			conn := dial(b, way.address)
			defer func() { _ = conn.Close() }()
			data := make([]byte, 256<<10)
			b.SetBytes(int64(len(data)))
			measure(b, p, func() {
				_, err := conn.Write(data)
				require.NoError(b, err)
			})
		})
	}
	b.Run("lookup", func(b *testing.B) {
		query := new(miekg.Msg)
		query.SetQuestion("cart.shop.svc.cluster.local.", miekg.TypeA)
		measure(b, p, func() {
			_, err := miekg.Exchange(query, p.address)
			require.NoError(b, err)
		})
	})
}

// BenchmarkIdleConnections measures what open connections without traffic take.
func BenchmarkIdleConnections(b *testing.B) {
	program := build(b)
	const n = 1000
	var taken float64
	for b.Loop() {
		p, _, proxied := serving(b, program)
		_, before := p.settled()
		var conns []net.Conn
		for range n {
			conn := dial(b, proxied)
			exchange(b, conn)
			conns = append(conns, conn)
		}
		_, after := p.settled()
		taken += (after - before) * 1024 / n
		for _, conn := range conns {
			require.NoError(b, conn.Close())
		}
		p.stop()
	}
	b.ReportMetric(taken/float64(b.N), "KiB/connection")
}

// BenchmarkServicesInUse measures what a Service takes whose two ports listen.
func BenchmarkServicesInUse(b *testing.B) {
	program := build(b)
	const n = 500
	cluster := proxytest.NewCluster()
	for i := range n {
		service, slice := full(i)
		service.Spec.Ports[0].Port, service.Spec.Ports[1].Port = 10080, 10090 // Ports that need no capability.
		cluster.Put(service, slice)
	}
	cluster.Forget()
	var taken float64
	for b.Loop() {
		p := launch(b, program, cluster)
		_, before := p.settled()
		for i := range n {
			query := new(miekg.Msg)
			query.SetQuestion(fmt.Sprintf("service-%d.team-%d.svc.cluster.local.", i, i%50), miekg.TypeA)
			response, err := miekg.Exchange(query, p.address)
			require.NoError(b, err)
			require.Len(b, response.Answer, 1)
		}
		_, after := p.settled()
		taken += (after - before) * 1024 / n
		p.stop()
	}
	b.ReportMetric(taken/float64(b.N), "KiB/Service")
}

// BenchmarkFlood measures the memory of a proxy while programs send as many queries as they can.
func BenchmarkFlood(b *testing.B) {
	program := build(b)
	for _, name := range []string{"cart.shop.svc.cluster.local.", "large.shop.svc.cluster.local.", "www.example.com."} {
		b.Run(name, func(b *testing.B) {
			cluster := proxytest.NewCluster()
			ports := []string{"http:10080:8080"}
			cluster.Put(proxytest.Service("shop/cart", ports...), proxytest.Slice("cart-a", "shop/cart", ports, "127.0.8.1"))
			large := proxytest.Service("shop/large", ports...)
			large.Spec.ClusterIP = "None"
			var many []string
			for i := range 5000 {
				many = append(many, "10.0."+strconv.Itoa(i/250)+"."+strconv.Itoa(i%250+1))
			}
			cluster.Put(large, proxytest.Slice("large-a", "shop/large", ports, many...))
			p := launch(b, program, cluster)
			query := new(miekg.Msg)
			query.SetQuestion(name, miekg.TypeA)
			query.SetEdns0(4096, false)
			packet, err := query.Pack()
			require.NoError(b, err)
			resident, _ := p.settled()
			highest, sent := resident, 0
			for b.Loop() {
				end := time.Now().Add(5 * time.Second)
				done := make(chan int)
				for range 4 {
					conn, err := net.Dial("udp", p.address)
					require.NoError(b, err)
					go func() {
						n := 0
						for time.Now().Before(end) {
							for range 64 {
								_, _ = conn.Write(packet)
								n++
							}
						}
						_ = conn.Close()
						done <- n
					}()
				}
				for time.Now().Before(end) {
					r, _ := p.memory()
					highest = max(highest, r)
					time.Sleep(20 * time.Millisecond)
				}
				for range 4 {
					sent += <-done
				}
			}
			began := time.Now()
			require.Eventually(b, func() bool { return dns.Check(b.Context(), p.address) == nil }, time.Minute, time.Millisecond)
			b.ReportMetric(float64(time.Since(began).Milliseconds()), "ms-until-answer")
			b.ReportMetric(resident, "MiB-before")
			b.ReportMetric(highest, "MiB-highest")
			b.ReportMetric(float64(sent), "queries")
			p.stop()
		})
	}
}
