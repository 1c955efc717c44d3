package translate_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
	"github.com/spillway-k8s/spillway/vnode/cci"
	"github.com/spillway-k8s/spillway/vnode/translate"
)

// attacks are Pods that a tenant can create, and that would need much more memory or time than their size. Each has a
// part of what makes it large: one of 1 is an attack, one of a thousand a small Pod of the same form.
func attacks(part int) map[string]*corev1.Pod {
	some := func(all int) int { return max(3, all/part) }
	large := strings.Repeat("x", some(240<<10))
	annotated := func(count int, change func(c *corev1.Container, i int)) *corev1.Pod {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Namespace: "ns", Name: "big", UID: "uid", Annotations: map[string]string{"large": large},
		}}
		pod.Spec.Containers = []corev1.Container{{Name: "c0", Image: "image"}}
		for i := range some(count) {
			change(&pod.Spec.Containers[0], i)
		}
		return pod
	}
	file := func(i int, path string) corev1.DownwardAPIVolumeFile {
		return corev1.DownwardAPIVolumeFile{
			Path: fmt.Sprintf("f%d", i), FieldRef: &corev1.ObjectFieldSelector{FieldPath: path},
		}
	}
	nothing := func(*corev1.Container, int) {}
	fileAttack := annotated(0, nothing)
	fileAttack.Annotations["large"] = large[:some(100<<10)]
	volumeAttack := fileAttack.DeepCopy()
	files := &corev1.DownwardAPIVolumeSource{}
	for i := range some(1100) {
		files.Items = append(files.Items, file(i, "metadata.annotations"))
		volumeAttack.Spec.Volumes = append(volumeAttack.Spec.Volumes, corev1.Volume{
			Name: fmt.Sprintf("v%d", i), VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
				Items: []corev1.DownwardAPIVolumeFile{file(0, "metadata.annotations"), file(1, "metadata.labels")},
			}},
		})
	}
	fileAttack.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{DownwardAPI: files}}}
	tooLarge := fileAttack.DeepCopy()
	tooLarge.Annotations["large"] = large
	tooLarge.Spec.Volumes[0].DownwardAPI.Items[0] = file(0, "metadata.annotations['large']")

	containers := annotated(0, nothing)
	delete(containers.Annotations, "large")
	sidecars := containers.DeepCopy()
	options := containers.DeepCopy()
	options.Spec.DNSConfig = &corev1.PodDNSConfig{}
	for i := range some(4000) {
		name, always := fmt.Sprintf("c%d", i+1), corev1.ContainerRestartPolicyAlways
		containers.Spec.Containers = append(containers.Spec.Containers, corev1.Container{
			Name:  name,
			Ports: []corev1.ContainerPort{{HostPort: 1}, {HostPort: 2}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				GRPC: &corev1.GRPCAction{Port: intstr.FromInt32(1).IntVal},
			}},
		})
		sidecars.Spec.InitContainers = append(sidecars.Spec.InitContainers,
			corev1.Container{Name: name, RestartPolicy: &always})
		options.Spec.DNSConfig.Options = append(options.Spec.DNSConfig.Options, corev1.PodDNSConfigOption{Name: name})
	}
	return map[string]*corev1.Pod{
		"files of the annotations":             fileAttack,
		"volumes of the annotations":           volumeAttack,
		"files of annotations of 240 KB":       tooLarge,
		"containers with ten thousand faults":  containers,
		"thousands of sidecars":                sidecars,
		"thousands of options of the resolver": options,
		"variables of an annotation": annotated(1000, func(c *corev1.Container, i int) {
			from := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['large']"}}
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), ValueFrom: from})
		}),
		"variables of dollars": func() *corev1.Pod {
			pod := annotated(1000, func(c *corev1.Container, i int) {
				from := &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.annotations['large']"}}
				c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), ValueFrom: from})
			})
			pod.Annotations["large"] = strings.Repeat("$", some(240<<10))
			return pod
		}(),
		"variables that double": annotated(30, func(c *corev1.Container, i int) {
			c.Env = append(c.Env, corev1.EnvVar{
				Name: fmt.Sprintf("V%d", i+1), Value: strings.Repeat(fmt.Sprintf("$(V%d)", i), 2),
			})
		}),
		"references to thousands of Secrets": annotated(4000, func(c *corev1.Container, i int) {
			c.EnvFrom = append(c.EnvFrom, corev1.EnvFromSource{SecretRef: &corev1.SecretEnvSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("s%d", i)},
			}})
		}),
		"resources of another container": annotated(4000, func(c *corev1.Container, i int) {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), ValueFrom: &corev1.EnvVarSource{
				ResourceFieldRef: &corev1.ResourceFieldSelector{ContainerName: "c0", Resource: "limits.cpu"},
			}})
		}),
	}
}

// maxFactor is how many bytes the translation may allocate for each byte of the Pod, and base what it may allocate for
// the smallest Pod.
const maxFactor, base = 60, 2 << 20

// translatorOfAll returns a translator with everything configured that adds to a Pod.
func translatorOfAll(t testing.TB) *translate.Translator {
	return newTranslator(t, input{
		TimeZone: "Asia/Shanghai", APIServer: "10.0.0.5:6443", ClusterDNS: []string{"10.0.0.10"},
		Services: translate.ServicesConfig{Mode: policy.ServicesProxy, ProxyImage: "proxy", KubeProxyImage: "kube-proxy"},
	})
}

// translateWithin translates a Pod within a bound on memory and processor time, and checks the result.
func translateWithin(t *testing.T, translator *translate.Translator, pod *corev1.Pod, size int) {
	t.Helper()
	var result translate.Result
	var encoded []byte
	var err error
	costtest.AtMost(t, uint64(size)*maxFactor+base, func() {
		result, err = translator.Pod(pod, translate.Cluster{})
		_ = translator.References(pod)
		if err == nil {
			encoded, err = json.Marshal(result.Pod)
		}
	})
	if refused, ok := errors.AsType[*translate.Refused](err); ok {
		assert.NotEmpty(t, refused.Messages)
		assert.LessOrEqual(t, len(refused.Error()), policy.MaxMessage)
		return
	}
	require.NoError(t, err)
	assert.LessOrEqual(t, len(policy.Summary(result.Warnings)), policy.MaxMessage)
	assert.Less(t, len(encoded), 10*size+maxGenerated, "the cloud Pod")
	total := 0
	for key, value := range result.Pod.Annotations {
		total += len(key) + len(value)
	}
	assert.LessOrEqual(t, total, 256<<10, "the annotations")
}

// maxGenerated is what the translation may add to a Pod: annotations and values of variables of 256 KiB each, whose
// characters can have six bytes in JSON.
const maxGenerated = 6 * (512 << 10)

func TestAttacksAreTranslatedWithinBounds(t *testing.T) {
	for name, pod := range attacks(1) {
		t.Run(name, func(t *testing.T) {
			size := sizeOf(t, pod)
			translator := newTranslator(t, input{})
			cost := costtest.Of(func() {
				result, err := translator.Pod(pod, translate.Cluster{})
				if err == nil {
					_, err = json.Marshal(result.Pod)
				}
				t.Logf("%v", err)
			})
			t.Logf("a Pod of %d KB: %.1f MB, %s", size/1000, float64(cost.Memory)/1e6, cost.CPU)
			translateWithin(t, translatorOfAll(t), pod, size)
			status := translate.WaitingStatus(pod, "Reason", strings.Repeat("message ", 1000), "10.0.0.9", metav1.Now())
			assert.Less(t, sizeOf(t, status), 4*size+(8<<10), "the status has each message once")
		})
	}
}

func TestLargeTextsAreRefusedWithWords(t *testing.T) {
	pods := attacks(1)
	for name, want := range map[string]string{
		"files of annotations of 240 KB": "the annotations of the cloud Pod would have 481 KiB, of which files of the " +
			"downward API are a part: the cloud takes 256 KiB; shorten the annotations, or mount fewer of them",
		"variables of an annotation": "the values of all variables with a fieldRef or a resourceFieldRef have more than " +
			"256 KiB: refer to fewer or shorter labels and annotations",
	} {
		_, err := newTranslator(t, input{}).Pod(pods[name], translate.Cluster{})
		assert.EqualError(t, err, want, name)
	}
	result, err := newTranslator(t, input{}).Pod(pods["files of the annotations"], translate.Cluster{})
	require.NoError(t, err, "the content of a thousand files is one annotation")
	first := result.Pod.Spec.Volumes[0].DownwardAPI.Items
	require.Len(t, first, 1100)
	assert.Equal(t, first[0].FieldRef, first[1099].FieldRef)
}

func sizeOf(t *testing.T, object any) int {
	t.Helper()
	text, err := json.Marshal(object)
	require.NoError(t, err)
	return len(text)
}

// exponent is in quantities that apimachinery parses for minutes. The API server has parsed every quantity of a Pod.
var exponent = regexp.MustCompile(`[0-9][eE][+-]?[0-9]{3}`)

func FuzzPod(f *testing.F) {
	// Small seeds: the fuzzer runs each before it begins, and changes bytes of them. The test above has the large ones.
	for _, pod := range attacks(1000) {
		text, err := json.Marshal(pod)
		require.NoError(f, err)
		f.Add(text)
	}
	translator := translatorOfAll(f)
	f.Fuzz(func(t *testing.T, text []byte) {
		var pod corev1.Pod
		if exponent.Match(text) || json.Unmarshal(text, &pod) != nil {
			return
		}
		translateWithin(t, translator, &pod, len(text))
	})
}

// hostile returns a status that a cloud could answer.
func hostile() *cci.Pod {
	long := strings.Repeat("x", 1<<20)
	pod := &cci.Pod{ObjectMeta: metav1.ObjectMeta{Name: "big"}}
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodPhase(long), Reason: long, Message: long, PodIP: long,
		PodIPs: []corev1.PodIP{{IP: "169.254.169.254"}, {IP: "10.0.0.1"}, {IP: "10.0.0.2"}},
	}
	for i := range 5000 {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: fmt.Sprintf("c%d", i%200), Image: long, ImageID: long, ContainerID: long,
			State:                corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: long, Message: long}},
			LastTerminationState: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: long}},
		})
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(long)})
	}
	return pod
}

// statusWithin translates a status within a bound on memory and processor time, and checks the result.
func statusWithin(t *testing.T, pod *corev1.Pod, cloud *cci.Pod) {
	t.Helper()
	var status corev1.PodStatus
	costtest.AtMost(t, 8<<20, func() { status = translate.Status(pod, cloud, "10.0.0.9", metav1.Now()) })
	assert.Len(t, status.ContainerStatuses, len(pod.Spec.Containers))
	assert.Less(t, sizeOf(t, status), 6*(512<<10))
	for _, ip := range status.PodIPs {
		assert.LessOrEqual(t, len(ip.IP), 128)
	}
}

func TestAHostileStatusIsBounded(t *testing.T) {
	pod := &corev1.Pod{}
	for i := range 400 {
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: fmt.Sprintf("c%d", i)})
	}
	statusWithin(t, pod, hostile())
}

func FuzzStatus(f *testing.F) {
	f.Add([]byte(`{"status":{"phase":"Running","podIP":"10.0.0.1","containerStatuses":[{"name":"c","ready":true}]}}`))
	f.Add([]byte(`{"status":{"phase":"Stopped","initContainerStatuses":[{"name":"c"},{"name":"c"}]}}`))
	pod := &corev1.Pod{Spec: corev1.PodSpec{
		InitContainers: []corev1.Container{{Name: "init"}}, Containers: []corev1.Container{{Name: "c"}},
	}}
	f.Fuzz(func(t *testing.T, text []byte) {
		var cloud cci.Pod
		if exponent.Match(text) || json.Unmarshal(text, &cloud) != nil {
			return
		}
		statusWithin(t, pod, &cloud)
		once := cci.Bound(cloud.Status)
		assert.Equal(t, once, cci.Bound(once))
	})
}
