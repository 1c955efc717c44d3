package webhook

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	k8sruntime "k8s.io/apimachinery/pkg/runtime"

	"github.com/spillway-k8s/spillway/internal/costtest"
	"github.com/spillway-k8s/spillway/policy"
)

// many returns n copies of an element of a list.
func many(element string, n int) string {
	return strings.TrimSuffix(strings.Repeat(element+",", n), ",")
}

// attacks are Pods that a tenant, or who can reach the port, could send to slow down or stop admission.
var attacks = map[string]string{
	"a quantity of four million digits": limited(`"1e-4000000"`),
	"a number of four million digits":   limited(`1e-4000000`),
	"many such quantities": `{"kind":"Pod","spec":{"containers":[{"resources":{"limits":{` +
		many(`"a":"1e-4000000"`, 100_000) + `}}}]}}`,
	"a long quantity": `{"kind":"Pod","spec":{"overhead":{"cpu":"` + strings.Repeat("9", 1<<20) + `"}}}`,
	"many quantities that are just allowed": `{"kind":"Pod","spec":{"overhead":{` +
		many(`"a":"`+strings.Repeat("9", 60)+`e-99"`, 30_000) + `}}}`,
	"deep nesting":            `{"kind":"Pod","spec":` + strings.Repeat(`{"a":`, 500_000) + `1`,
	"containers of two bytes": `{"kind":"Pod","spec":{"containers":[` + many("1", 1_500_000) + `]}}`,
	"empty containers":        `{"kind":"Pod","spec":{"containers":[` + many("{}", 50_000) + `]}}`,
	"empty volumes":           `{"kind":"Pod","spec":{"volumes":[` + many("{}", 50_000) + `]}}`,
	"many labels":             `{"kind":"Pod","metadata":{"labels":{` + manyKeys(100_000) + `}}}`,
	"many resources":          `{"kind":"Pod","spec":{"overhead":{` + manyKeys(100_000) + `}}}`,
	"many tolerations":        `{"kind":"Pod","spec":{"tolerations":[` + many(`{"key":"a"}`, 50_000) + `]}}`,
	"many terms of an affinity": enforced(`"affinity":{"nodeAffinity":` +
		`{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` +
		many(`{"matchExpressions":[{"key":"a","operator":"Exists"}]}`, 20_000) + `]}}}`),
	"many ignored selectors": enforced(`"affinity":{"nodeAffinity":` +
		`{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[` + manyTerms(10_000) + `]}}}`),
	"many hostPaths": enforced(`"volumes":[` +
		many(`{"name":"a","hostPath":{"path":"/a"}}`, 40_000) + `]`),
	"many owners": `{"kind":"Pod","metadata":{"ownerReferences":[` +
		many(`{"kind":"ReplicaSet","controller":true}`, 40_000) + `]}}`,
	"a long quota":      annotated("LOCAL_REPLICAS", strings.Repeat("9", 100_000)),
	"a long switch":     annotated("AUTO_SCALE_EKS", strings.Repeat("a", 100_000)),
	"deep replacements": annotated("coordinator.cci.io/hostpath-replacement", strings.Repeat("[", 200_000)),
	"many replacements": annotated("coordinator.cci.io/hostpath-replacement", "["+many("{}", 80_000)+"]"),
	"a replacement of 1e-4000000": annotated("coordinator.cci.io/hostpath-replacement",
		`[{"name":"*","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"1e-4000000"}}]`),
	"many matching replacements": `{"kind":"Pod","metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"enforce"},` +
		`"annotations":{"coordinator.cci.io/hostpath-replacement":` +
		quoted("["+manyNamed(256)+"]") + `}},"spec":{"volumes":[` +
		many(`{"name":"z","hostPath":{"path":"/a"}}`, 20_000) + `],"containers":[{}]}}`,
}

// limited returns a Pod with a JSON value as its limit of CPU.
func limited(value string) string {
	return `{"kind":"Pod","spec":{"containers":[{"resources":{"limits":{"cpu":` + value + `}}}]}}`
}

func manyKeys(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `"a%d":"1",`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func manyNamed(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"name":"a%d","policyType":"remove"},`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

// manyTerms returns different terms with a requirement that virtual nodes ignore.
func manyTerms(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b,
			`{"matchExpressions":[{"key":"disktype","operator":"Exists"},{"key":"a%d","operator":"Exists"}]},`, i)
	}
	return strings.TrimSuffix(b.String(), ",")
}

func quoted(text string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return string(quoted)
}

func annotated(key, value string) string {
	return `{"kind":"Pod","metadata":{"annotations":{"` + key + `":` + quoted(value) + `}},` +
		`"spec":{"volumes":[{"name":"a","hostPath":{"path":"/a"}}],"containers":[{"name":"c"}]}}`
}

func enforced(spec string) string {
	return `{"kind":"Pod","metadata":{"labels":{"virtual-kubelet.io/burst-to-cci":"enforce"}},` +
		`"spec":{"containers":[{"name":"c","resources":{}}],` + spec + `}}`
}

// requests wraps an object in the request of each path.
func requests(object string) map[string]*admissionv1.AdmissionRequest {
	of := func(o admissionv1.Operation, group, resource, kind string) *admissionv1.AdmissionRequest {
		return &admissionv1.AdmissionRequest{
			UID: "u", Operation: o, Namespace: "shop", Object: k8sruntime.RawExtension{Raw: []byte(object)},
			Kind:     metav1.GroupVersionKind{Group: group, Version: "v1", Kind: kind},
			Resource: metav1.GroupVersionResource{Group: group, Version: "v1", Resource: resource},
		}
	}
	template := `{"spec":{"template":` + object + `}}`
	set := of(admissionv1.Create, "apps", "daemonsets", "DaemonSet")
	set.Object.Raw = []byte(template)
	workload := of(admissionv1.Update, "apps", "deployments", "Deployment")
	workload.Object.Raw, workload.OldObject.Raw = []byte(template), []byte(template)
	guarded := of(admissionv1.Delete, "", "configmaps", "ConfigMap")
	guarded.Object.Raw, guarded.OldObject.Raw = nil, []byte(object)
	return map[string]*admissionv1.AdmissionRequest{
		PodPath:        of(admissionv1.Create, "", "pods", "Pod"),
		DaemonSetPath:  set,
		ValidationPath: workload,
		UninstallPath:  guarded,
	}
}

// bodyOf encodes a review by hand: json.Marshal would reject objects that are not valid JSON.
func bodyOf(t testing.TB, request *admissionv1.AdmissionRequest) []byte {
	t.Helper()
	object, old := request.Object.Raw, request.OldObject.Raw
	request.Object.Raw, request.OldObject.Raw = nil, nil
	head, err := json.Marshal(request)
	require.NoError(t, err)
	body := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":` +
		strings.TrimSuffix(string(head), "}")
	for key, raw := range map[string][]byte{"object": object, "oldObject": old} {
		if raw != nil {
			body += `,"` + key + `":` + string(raw)
		}
	}
	return []byte(body + "}}")
}

const (
	// maxCPU is the processor time that a review may take under the race detector, which makes it 10 to 20 times as
	// long. The quantities in attacks take half an hour without it.
	maxCPU = 20 * time.Second
	// maxAlloc is what a review may allocate in all. It allocates it in steps and frees most of it meanwhile.
	maxAlloc = 300 << 20
	// maxAnswer is how long an answer may be, in bytes.
	maxAnswer = 32 << 10
)

func TestAttacksTakeLittleTimeAndMemory(t *testing.T) {
	h := world{Ignored: []string{"disktype"}}.handler(t)
	for name, object := range attacks {
		for path, request := range requests(object) {
			t.Run(name+path, func(t *testing.T) {
				body := bodyOf(t, request)
				var recorder *httptest.ResponseRecorder
				cost := costtest.Of(func() { recorder = post(h, path, body) })
				t.Logf("status %d, %s, %d KiB for %d KiB: %.300s",
					recorder.Code, cost.CPU, cost.Memory>>10, len(body)>>10, recorder.Body)
				assert.Less(t, cost.CPU, maxCPU)
				assert.Less(t, cost.Memory, uint64(maxAlloc))
				assert.Less(t, recorder.Body.Len(), maxAnswer)
				assert.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, recorder.Code)
			})
		}
	}
}

func TestAQuantityThatTakesLongToParseIsRejectedWithItsName(t *testing.T) {
	registry := prometheus.NewRegistry()
	h, err := New(Config{
		Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: nothing, Guard: guard,
	}, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	for path, field := range map[string]string{
		PodPath: "spec.", DaemonSetPath: "spec.template.spec.", ValidationPath: "spec.template.spec.",
	} {
		request := requests(attacks["a quantity of four million digits"])[path]
		recorder := post(h, path, bodyOf(t, request))
		require.Equal(t, http.StatusOK, recorder.Code, recorder.Body.String())
		var review admissionv1.AdmissionReview
		require.NoError(t, json.Unmarshal(recorder.Body.Bytes(), &review))
		assert.False(t, review.Response.Allowed)
		assert.Equal(t, int32(http.StatusUnprocessableEntity), review.Response.Result.Code)
		assert.Contains(t, review.Response.Result.Message,
			field+`containers.resources.limits.cpu: invalid quantity "1e-4000000"`)
	}
	assert.InDelta(t, 3, metric(t, registry, outcomeRefused), 0)
}

// Reviews that wait for memory get status 503 after a second. The API server then ignores the webhook.
func TestTooManyReviewsAtOnceGetStatus503(t *testing.T) {
	registry := prometheus.NewRegistry()
	h, err := New(Config{
		Evaluator: world{}.evaluator(t), Validator: validatorOf(t), InCloud: nothing, Guard: guard,
	}, registry, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	body := bodyOf(t, requests(enforcedPod)[PodPath])
	pods, _ := h.(*http.ServeMux).Handler(httptest.NewRequest(http.MethodPost, PodPath, nil))
	others := httptest.NewRequest(http.MethodPost, PodPath, nil) // The same client: httptest has one address.
	held := pods.(*handler).memory.For(others)
	require.NoError(t, held.Grow(t.Context(), maxMemory))
	recorder := post(h, PodPath, body)
	assert.Equal(t, http.StatusServiceUnavailable, recorder.Code)
	assert.Equal(t, "1", recorder.Header().Get("Retry-After"))
	assert.InDelta(t, 1, metric(t, registry, outcomeBusy), 0)
	held.Release()
	assert.Equal(t, http.StatusOK, post(h, PodPath, body).Code)
}

// FuzzReviews searches for panics, and for reviews that take much time or memory: any body gets a review or status 400.
func FuzzReviews(f *testing.F) {
	paths := []string{PodPath, DaemonSetPath, ValidationPath, UninstallPath}
	for _, object := range attacks {
		if len(object) > 10_000 {
			continue // Those are too long to mutate. TestAttacksTakeLittleTimeAndMemory has them.
		}
		for i, path := range paths {
			f.Add(uint8(i), bodyOf(f, requests(object)[path]))
		}
	}
	for i, path := range paths {
		f.Add(uint8(i), bodyOf(f, requests(enforcedPod)[path]))
	}
	h, _ := handlerFor(f, world{}.evaluator(f))
	f.Fuzz(func(t *testing.T, path uint8, body []byte) {
		var recorder *httptest.ResponseRecorder
		costtest.AtMost(t, uint64(8<<20+1000*len(body)), func() {
			recorder = post(h, paths[int(path)%len(paths)], body)
		})
		require.Contains(t, []int{http.StatusOK, http.StatusBadRequest}, recorder.Code)
	})
}

// BenchmarkReview is the time of the webhook for a usual Pod of a ReplicaSet.
func BenchmarkReview(b *testing.B) {
	for name, keys := range map[string]metav1.ObjectMeta{
		"without keys": {},
		"quota":        {Annotations: map[string]string{policy.LocalReplicasAnnotation: "1"}},
		"enforced":     {Labels: map[string]string{policy.BurstLabel: string(policy.ModeEnforce)}},
	} {
		b.Run(name, func(b *testing.B) {
			object, err := json.Marshal(usualPod(keys))
			require.NoError(b, err)
			body := reviewOf(b, object)
			h, _ := handlerFor(b, world{}.evaluator(b))
			b.ReportAllocs()
			for b.Loop() {
				if recorder := post(h, PodPath, body); recorder.Code != http.StatusOK {
					b.Fatal(recorder.Body)
				}
			}
		})
	}
}

// usualPod returns a Pod with keys as the API server sends it for review.
func usualPod(keys metav1.ObjectMeta) *corev1.Pod {
	labels := map[string]string{"app": "web", "pod-template-hash": "77b9b9bc97"}
	maps.Copy(labels, keys.Labels)
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "web-77b9b9bc97-", Namespace: "shop", Labels: labels, Annotations: keys.Annotations,
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-77b9b9bc97", UID: "1", Controller: new(true),
			}},
		},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{
			{Name: "data", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{}}},
			{Name: "settings", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
			}}},
		}},
	}
	for _, name := range []string{"web", "proxy", "log", "metrics"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + ":1.2.3"}
		for _, key := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
			c.Env = append(c.Env, corev1.EnvVar{Name: key, Value: "http://service.namespace.svc:8080/" + key})
		}
		c.VolumeMounts = []corev1.VolumeMount{
			{Name: "data", MountPath: "/data"}, {Name: "settings", MountPath: "/etc/web"},
		}
		c.Resources.Requests = corev1.ResourceList{
			corev1.ResourceCPU: resource.MustParse("100m"), corev1.ResourceMemory: resource.MustParse("64Mi"),
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}
