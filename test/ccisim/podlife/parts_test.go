package podlife

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/spillway-k8s/spillway/test/ccisim/objects"
	"github.com/spillway-k8s/spillway/test/ccisim/store"
)

func TestQueueOrdersByTime(t *testing.T) {
	q := newQueue()
	at := func(name string) target { return target{objects.Pods, types.NamespacedName{Name: name}} }
	assert.True(t, q.set(at("b"), start.Add(2)))
	assert.False(t, q.set(at("c"), start.Add(3)))
	assert.True(t, q.set(at("a"), start.Add(1)))
	assert.True(t, q.set(at("c"), start), "a target can become the earliest")
	assert.False(t, q.set(at("b"), time.Time{}), "a zero time removes it")
	assert.Equal(t, start, q.next())
	first, ok := q.pop(start)
	require.True(t, ok)
	assert.Equal(t, at("c"), first)
	_, ok = q.pop(start)
	assert.False(t, ok, "the next is not due")
	second, _ := q.pop(start.Add(1))
	assert.Equal(t, at("a"), second)
	assert.True(t, q.next().IsZero())
}

func TestAddressPool(t *testing.T) {
	all := newPools(netip.MustParsePrefix("10.0.0.0/29"), nil)
	p := all.others
	all.reserve("10.0.0.3")
	var got []string
	for {
		addr, ok := p.allocate()
		if !ok {
			break
		}
		got = append(got, addr.String())
	}
	assert.Equal(t, []string{"10.0.0.2", "10.0.0.4", "10.0.0.5", "10.0.0.6"}, got)
	assert.False(t, all.release("10.9.9.9"))
	assert.True(t, all.release("10.0.0.4"), "no address was free before")
	assert.False(t, all.release("10.0.0.5"))
	assert.Equal(t, 2, p.free())
}

func TestLogIsBounded(t *testing.T) {
	log := newLog(false)
	for i := range maxLogLines + 1 {
		require.True(t, log.append(start, fmt.Sprint(i)))
	}
	lines, total, changed, ended := log.Read(0)
	assert.Len(t, lines, maxLogLines/2)
	assert.Equal(t, maxLogLines+1, total)
	assert.Equal(t, fmt.Sprint(maxLogLines), lines[len(lines)-1].Text)
	assert.False(t, ended)
	lines, _, _, _ = log.Read(total - 1)
	assert.Len(t, lines, 1)

	log.end()
	<-changed
	_, _, _, ended = log.Read(total)
	assert.True(t, ended)
	assert.False(t, log.append(start, "late"))
}

func TestLogWriterSplitsLines(t *testing.T) {
	log := newLog(true)
	w := &logWriter{log: log, now: func() time.Time { return start }}
	for _, piece := range []string{"one\ntw", "o\n\nthr", "ee"} {
		n, err := w.Write([]byte(piece))
		require.NoError(t, err)
		assert.Len(t, piece, n)
	}
	w.end()
	lines, _, _, _ := log.Read(0)
	var texts []string
	for _, line := range lines {
		texts = append(texts, line.Text)
	}
	assert.Equal(t, []string{"one", "two", "", "three"}, texts)
}

func TestAppendLog(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web", with(BehaviorLogLines, "0"))
	require.NoError(t, e.controller.AppendLog("ns", "web", "web", "one\ntwo\n"))
	assert.Equal(t, []string{"one", "two"}, e.logText("web", "web"))
	assert.ErrorContains(t, e.controller.AppendLog("ns", "other", "web", "x"), "no such pod")
	assert.ErrorContains(t, e.controller.AppendLog("ns", "web", "other", "x"), "is not running")
	e.delete(objects.Pods, "ns", "web", 0)
	assert.ErrorContains(t, e.controller.AppendLog("ns", "web", "web", "x"), "is not running")
}

func TestBehavior(t *testing.T) {
	e := newEnv(t)
	probe := &corev1.Probe{InitialDelaySeconds: 7}
	cases := map[string]struct {
		change func(*objects.Pod)
		want   behavior
	}{
		"the default": {func(*objects.Pod) {}, behavior{runFor: never, stopIn: stopDelay, logLines: 1}},
		"a job":       {neverRestarts, behavior{runFor: runTime, stopIn: stopDelay, logLines: 1}},
		"a run time": {
			with(BehaviorRunSeconds, "2.5"), behavior{runFor: 2500 * time.Millisecond, stopIn: stopDelay, logLines: 1},
		},
		"of another container": {
			with(BehaviorRunSeconds+".other", "1"), behavior{runFor: never, stopIn: stopDelay, logLines: 1},
		},
		"a crash loop": {
			with(BehaviorCrashLoop, "true"), behavior{runFor: startDelay, exitCode: 1, stopIn: stopDelay, logLines: 1},
		},
		"a missing image": {
			with(BehaviorImage, "missing"), behavior{runFor: never, stopIn: stopDelay, logLines: 1, noImage: true},
		},
		"a readiness probe": {
			func(pod *objects.Pod) { pod.Spec.Containers[0].ReadinessProbe = probe },
			behavior{runFor: never, readyIn: 7 * time.Second, stopIn: stopDelay, logLines: 1},
		},
		"a container that ignores SIGTERM": {
			with(BehaviorStopSeconds, "never"), behavior{runFor: never, stopIn: never, logLines: 1},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			pod := newPod("web", tc.change)
			got, err := e.controller.behaviorOf(pod, &pod.Spec.Containers[0])
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestInvalidBehavior(t *testing.T) {
	e := newEnv(t)
	for annotation, value := range map[string]string{
		BehaviorRunSeconds: "soon", BehaviorReadySeconds: "-1", BehaviorStopSeconds: "forever",
		BehaviorExitCode: "256", BehaviorStopCode: "x", BehaviorLogLines: "10001",
	} {
		t.Run(annotation, func(t *testing.T) {
			assert.ErrorContains(t, e.controller.CheckBehavior(newPod("web", with(annotation, value))), annotation)
		})
	}
	pod := newPod("web", with(BehaviorExitCode, "x"))
	assert.Equal(t, never, e.controller.effectiveBehavior(pod, &pod.Spec.Containers[0]).runFor)
}

func TestMissingImages(t *testing.T) {
	for image, want := range map[string]bool{
		"registry/missing": true, "registry/missing-app:v1": true, "registry/a/missing": true,
		"missing/app": false, "nginx": false,
	} {
		assert.Equal(t, want, missingImage(image), image)
	}
}

func TestEnvironment(t *testing.T) {
	e := newNamespaceEnv(t)
	config, secret := &objects.ConfigMap{}, &objects.Secret{}
	config.Namespace, config.Name, config.Data = "ns", "config", map[string]string{"A": "1", "B": "2"}
	secret.Namespace, secret.Name, secret.Data = "ns", "secret", map[string][]byte{"k": []byte("hidden")}
	e.create(objects.ConfigMaps, config)
	e.create(objects.Secrets, secret)
	pod := newPod("web")
	pod.Status.PodIP = "10.0.0.9"
	container := &pod.Spec.Containers[0]
	from := corev1.EnvFromSource{Prefix: "MY_", ConfigMapRef: &corev1.ConfigMapEnvSource{}}
	from.ConfigMapRef.Name = "config"
	container.EnvFrom = []corev1.EnvFromSource{from}
	key := &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "k"}}
	key.SecretKeyRef.Name = "secret"
	none := &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{Key: "k"}}
	none.ConfigMapKeyRef.Name = "none"
	address := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}
	container.Env = []corev1.EnvVar{
		{Name: "MY_B", Value: "3"}, {Name: "KEY", ValueFrom: key}, {Name: "NONE", ValueFrom: none}, {Name: "IP",
			ValueFrom: address},
	}
	e.store.Update(func(tx store.Tx) {
		assert.Equal(t, "MY_A=1 MY_B=2 MY_B=3 KEY=hidden IP=10.0.0.9", strings.Join(environment(tx, pod, container), " "))
	})
}

func TestMetrics(t *testing.T) {
	e := newNamespaceEnv(t)
	e.createRunning("web", with(BehaviorCPU, "2"), with(BehaviorMemory, "4096"))
	e.step(10 * time.Second)
	e.store.View(func(v store.View) {
		text := string(e.controller.metricsOf(v, v.Pod("ns", "web")))
		assert.Contains(t, text, `container_cpu_usage_seconds_total{container="web",cpu="total",`+
			`image="registry/nginx:1",namespace="ns",pod="web"} 20`)
		assert.Contains(t, text, `container_memory_working_set_bytes{container="web",`+
			`image="registry/nginx:1",namespace="ns",pod="web"} 4096`)
	})
}
