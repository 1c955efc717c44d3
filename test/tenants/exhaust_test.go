package tenants

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/test/programtest"
	"github.com/spillway-k8s/spillway/test/system"
)

// messageBound bounds what Spillway says about one Pod: a message is at most about 1 KiB, with some room for the text
// around it.
const messageBound = 2 << 10

func TestOnePodMustNotExhaustAProgram(t *testing.T) {
	attack(t, "a Pod whose translation would be a thousand times its size is refused", func(t *testing.T,
		client kubernetes.Interface) {
		pod := enforced("expands")
		pod.Annotations["large"] = strings.Repeat("x", 240<<10)
		for i := range 1100 {
			// Two sources, which are too large together. Files of one source share an annotation.
			source := []string{"metadata.annotations", "metadata.annotations['large']"}[i%2]
			pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", i),
				VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
					Items: []corev1.DownwardAPIVolumeFile{{
						Path: "annotations", FieldRef: &corev1.ObjectFieldSelector{FieldPath: source},
					}},
				}},
			})
		}
		seesRefusal(t, create(t, client, mallory, pod))
	})
	attack(t, "a Pod with thousands of errors gets a message that can be read", func(t *testing.T,
		client kubernetes.Interface) {
		pod := enforced("errors")
		pod.Spec.Containers = nil
		for i := range 400 {
			container := corev1.Container{Name: fmt.Sprintf("c%d", i), Image: "nginx"}
			for port := range 10 {
				container.Ports = append(container.Ports, corev1.ContainerPort{
					Name: fmt.Sprintf("p%d-%d", i, port), ContainerPort: int32(61000 + i*10 + port),
				})
			}
			pod.Spec.Containers = append(pod.Spec.Containers, container)
		}
		// nodeName passes over the scheduler, so that vnode has to say it.
		seesRefusal(t, byNodeName(t, client, pod))
	})
	attack(t, "quantities that take seconds to parse do not reach a parser of Spillway", func(t *testing.T,
		_ kubernetes.Interface) {
		started := time.Now()
		var list []string
		for i := range 2000 {
			list = append(list, fmt.Sprintf(
				`{"name":"c%d","image":"a","resources":{"requests":{"cpu":"1e-4000000"}}}`, i))
		}
		pod := `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","namespace":"mallory"},"spec":{"containers":[` +
			strings.Join(list, ",") + `]}}`
		review := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"1","kind":{` +
			`"version":"v1","kind":"Pod"},"resource":{"version":"v1","resource":"pods"},"namespace":"mallory",` +
			`"operation":"CREATE","object":` + pod + `}}`
		for endpoint, body := range map[string]string{
			cluster.Endpoint(system.Admission) + "/mutate-pods": review,
			cluster.Endpoint(system.Extender) + "/filter":       `{"Pod":` + pod + `,"NodeNames":["local-0"]}`,
		} {
			answer := post(t, endpoint, body)
			assert.NotContains(t, answer, `"allowed":true`)
			assert.Less(t, len(answer), messageBound)
		}
		assert.Less(t, time.Since(started), 20*time.Second, "thousands of these would take minutes to parse")
	})
	attack(t, "a thousand ConfigMaps of one tenant do not delay the others", func(t *testing.T,
		client kubernetes.Interface) {
		const pods, each = 20, 50
		var made errgroup.Group
		made.SetLimit(10)
		for i := range pods * each {
			made.Go(func() error {
				_, err := client.CoreV1().ConfigMaps(mallory).Create(t.Context(), &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{
						Name: fmt.Sprintf("many-%d", i), Labels: map[string]string{"attack": "mirrors"},
					},
					Data: map[string]string{"key": strings.Repeat("x", 1<<10)},
				}, metav1.CreateOptions{})
				return err
			})
		}
		require.NoError(t, made.Wait())
		for i := range pods {
			pod := enforced("many")
			for j := range each {
				name := fmt.Sprintf("many-%d", i*each+j)
				pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("v%d", j),
					VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
						LocalObjectReference: corev1.LocalObjectReference{Name: name},
					}},
				})
			}
			create(t, client, mallory, pod)
		}
		started := time.Now()
		aliceBursts(t)
		assert.Less(t, time.Since(started), programtest.Timeout/2)
	})
}

// seesRefusal waits until the status of a Pod says why it cannot run, and checks that the status is small.
func seesRefusal(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	var said string
	pod = awaitPod(t, pod, "say why it cannot run", func(p *corev1.Pod) bool {
		said = p.Status.Message
		for _, status := range p.Status.ContainerStatuses {
			if status.State.Waiting != nil && len(status.State.Waiting.Message) > len(said) {
				said = status.State.Waiting.Message
			}
		}
		if said == "" && p.Spec.NodeName == "" {
			said = conditionOf(p)
		}
		return said != ""
	})
	t.Logf("%s reads: %s", mallory, said)
	assert.Less(t, len(said), messageBound)
	status, err := json.Marshal(pod.Status)
	require.NoError(t, err)
	assert.Less(t, len(status), 256<<10, "the status of a Pod with %d containers", len(pod.Spec.Containers))
}

// post sends a body and returns the beginning of the answer.
func post(t *testing.T, endpoint, body string) string {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, strings.NewReader(body))
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/json")
	response, err := cluster.HTTPClient().Do(request)
	require.NoError(t, err, "%s", endpoint)
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	require.NoError(t, err)
	return string(answer)
}

// address returns host and port of a program.
func address(t *testing.T, program string) string {
	t.Helper()
	endpoint, err := url.Parse(cluster.Endpoint(program))
	require.NoError(t, err)
	return endpoint.Host
}

func TestAPodOnTheNetworkMustNotStopAProgram(t *testing.T) {
	attack(t, "connections that send nothing are cut off", func(t *testing.T, _ kubernetes.Interface) {
		for _, program := range []string{system.Extender, system.Admission, system.VNode(0)} {
			silent, cut := 600, 0
			var connections []net.Conn
			for range silent {
				connection, err := net.DialTimeout("tcp", address(t, program), 5*time.Second)
				if err != nil {
					cut++ // The program has as many connections as it takes.
					continue
				}
				connections = append(connections, connection)
			}
			aliceBursts(t)
			var cuts sync.WaitGroup
			for _, connection := range connections {
				cuts.Go(func() {
					defer connection.Close()
					require.NoError(t, connection.SetReadDeadline(time.Now().Add(2*programtest.Timeout)))
					_, err := io.Copy(io.Discard, connection)
					assert.False(t, errors.Is(err, os.ErrDeadlineExceeded), "%s keeps a silent connection", program)
				})
			}
			cuts.Wait()
			t.Logf("%s cut off %d silent connections, and accepted %d", program, silent, silent-cut)
		}
	})
	attack(t, "headers that arrive one byte a second are cut off", func(t *testing.T, _ kubernetes.Interface) {
		for _, program := range []string{system.Admission, system.VNode(0)} {
			connection, err := tls.Dial("tcp", address(t, program), &tls.Config{InsecureSkipVerify: true})
			require.NoError(t, err)
			defer connection.Close()
			started := time.Now()
			_, err = connection.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n"))
			for err == nil && time.Since(started) < 2*programtest.Timeout {
				_, err = connection.Write([]byte("X"))
				<-time.After(time.Second)
			}
			assert.Error(t, err, "%s reads headers without end", program)
			t.Logf("%s cut off slow headers after %s", program, time.Since(started).Round(time.Second))
		}
	})
	attack(t, "a thousand random tokens a second at the kubelet port do not delay a status", func(t *testing.T,
		_ kubernetes.Interface) {
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		var flood sync.WaitGroup
		client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, MaxIdleConnsPerHost: 50,
		}}
		thousand := rate.NewLimiter(1000, 50)
		for i := range 50 {
			flood.Go(func() {
				for thousand.Wait(ctx) == nil {
					token := make([]byte, 16)
					_, _ = rand.Read(token) // It never fails.
					target := cluster.Endpoint(system.VNode(i%2)) + "/containerLogs/alice/canary/app"
					request, err := http.NewRequestWithContext(ctx, http.MethodGet, target, bytes.NewReader(nil))
					if err != nil {
						return
					}
					request.Header.Set("Authorization", "Bearer "+hex.EncodeToString(token))
					if response, err := client.Do(request); err == nil {
						_, _ = io.Copy(io.Discard, response.Body) // Whatever it says.
						response.Body.Close()
					}
				}
			})
		}
		started := time.Now()
		for range 3 {
			aliceBursts(t)
		}
		took := time.Since(started) / 3
		stop()
		flood.Wait()
		assert.Less(t, took, programtest.Timeout/2)
		t.Logf("under the flood a Pod of %s took %s", alice, took.Round(time.Millisecond))
	})
}

func TestMessagesOfSpillwayNameNoOtherTenant(t *testing.T) {
	pod := create(t, as(t, alice), alice, enforced("secret-name"))
	awaitPod(t, pod, "run", func(p *corev1.Pod) bool { return p.Status.Phase == corev1.PodRunning })
	attack(t, "a ConfigMap with the label of the uninstall guard is deleted as any other", func(t *testing.T,
		client kubernetes.Interface) {
		made, err := client.CoreV1().ConfigMaps(mallory).Create(t.Context(), &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{
				Name: "guard", Labels: map[string]string{policy.UninstallLabel: policy.UninstallGuarded,
					"attack": "guard"},
			},
		}, metav1.CreateOptions{})
		require.NoError(t, err)
		err = client.CoreV1().ConfigMaps(mallory).Delete(t.Context(), made.Name, metav1.DeleteOptions{})
		require.NoError(t, err)
	})
}
