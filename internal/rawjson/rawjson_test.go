package rawjson

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// inPod returns a Pod with a JSON value as the CPU of a container.
func inPod(value string) string {
	return `{"metadata":{"labels":{"commit":"1234e567"}},` +
		`"spec":{"containers":[{"name":"web","resources":{"requests":{"cpu":` + value + `}}}]}}`
}

func TestQuantitiesThatTakeLongToParseAreRejected(t *testing.T) {
	for name, pod := range map[string]string{
		"a negative exponent":       inPod(`"1e-4000000"`),
		"a positive exponent":       inPod(`"1E4000000"`),
		"a sign of the exponent":    inPod(`"1e+4000000"`),
		"zeros before the exponent": inPod(`"1e-000000000000004000000"`),
		"a JSON number":             inPod(`1e-4000000`),
		"a negative JSON number":    inPod(`-1.5E-4000000`),
		"spaces around":             inPod("\" \u00a01e-4000000\u0085\""),
		"a sign":                    inPod(`"+1e-4000000"`),
		"no digit before the point": inPod(`".5e-4000000"`),
		"many digits":               inPod(`"` + strings.Repeat("9", 100_000) + `"`),
		"many digits in a number":   inPod(strings.Repeat("9", 100_000)),
		"many digits of a fraction": inPod(`"0.` + strings.Repeat("0", 100_000) + `1"`),
		"other cases in the path":   `{"Spec":{"CONTAINERS":[{"reſourceS":{"limits":{"cpu":"1e-4000000"}}}]}}`,
		"escapes in the path":       `{"sp\u0065c":{"containers":[{"resources":{"limits":{"cpu":"1e-4000000"}}}]}}`,
		"the overhead":              `{"spec":{"overhead":{"cpu":"1e-4000000"}}}`,
		"the limit of a volume":     `{"spec":{"volumes":[{"emptyDir":{"sizeLimit":"1e-4000000"}}]}}`,
		"the divisor of a variable": `{"spec":{"containers":[{"env":[{"valueFrom":` +
			`{"resourceFieldRef":{"divisor":"1e-4000000"}}}]}]}}`,
		"the claim of a volume": `{"spec":{"volumes":[{"ephemeral":{"volumeClaimTemplate":{"spec":` +
			`{"resources":{"requests":{"storage":"1e-4000000"}}}}}}]}}`,
		"the status":                 `{"status":{"containerStatuses":[{"allocatedResources":{"cpu":"1e-4000000"}}]}}`,
		"the second of the same key": `{"spec":{"overhead":{"cpu":"1"}},"spec":{"overhead":{"cpu":"1e-4000000"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			started := time.Now()
			var pod1 corev1.Pod
			var limit *LimitError
			require.ErrorAs(t, Unmarshal([]byte(pod), &pod1), &limit)
			assert.ErrorContains(t, limit, "invalid quantity")
			assert.Equal(t, corev1.Pod{}, pod1, "nothing is decoded")
			var args extenderv1.ExtenderArgs
			require.ErrorAs(t, Unmarshal([]byte(`{"Pod":`+pod+`}`), &args), &limit)
			assert.Less(t, time.Since(started), time.Second)
		})
	}
}

func TestTheErrorNamesTheFieldAndTheValue(t *testing.T) {
	assert.EqualError(t, Unmarshal([]byte(inPod(`"1e-4000000"`)), &corev1.Pod{}),
		`spec.containers.resources.requests.cpu: invalid quantity "1e-4000000": `+
			`must have at most 64 digits, and an exponent of at most 2 digits`)
}

func TestWhatIsNotAQuantityIsDecoded(t *testing.T) {
	for name, text := range map[string]string{
		"a hash in a label":          `{"metadata":{"labels":{"commit":"1234e567"}}}`,
		"a hash in a variable":       `{"spec":{"containers":[{"env":[{"name":"A","value":"12e4567890123"}]}]}}`,
		"digits in an annotation":    `{"metadata":{"annotations":{"a":"` + strings.Repeat("9", 1000) + `"}}}`,
		"a quantity in a string":     `{"metadata":{"annotations":{"a":"{\"limits\":{\"cpu\":\"1e-4000000\"}}"}}}`,
		"an exponent of two digits":  inPod(`"1e-10"`),
		"zeros before the exponent":  inPod(`"1e-00000000000000000003"`),
		"a binary suffix":            inPod(`"1Ei"`),
		"a decimal suffix":           inPod(`"1E"`),
		"a number":                   inPod(`0.25`),
		"an unknown field":           `{"spec":{"requests":{"cpu":"1e-4000000"}}}`,
		"fields of managed fields":   `{"metadata":{"managedFields":[{"fieldsV1":{"f:spec":{"cpu":"1e-4000000"}}}]}}`,
		"a target port":              `{"spec":{"containers":[{"livenessProbe":{"httpGet":{"port":8080}}}]}}`,
		"a text with escaped quotes": `{"metadata":{"annotations":{"a":"\\\"[[[{\\","b":"\\\\"}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			var want, got corev1.Pod
			require.NoError(t, json.Unmarshal([]byte(text), &want))
			require.NoError(t, Unmarshal([]byte(text), &got))
			assert.Equal(t, want, got)
		})
	}
}

func TestTheStructureIsBounded(t *testing.T) {
	many := func(element string, n int) string { return strings.Repeat(element+",", n-1) + element }
	for name, test := range map[string]struct{ text, want string }{
		"many containers": {
			`{"spec":{"containers":[` + many("1", maxElements+1) + `]}}`,
			"the JSON has 50001 elements in its lists: must be at most 50000",
		},
		"many lists": {
			`{"spec":{` + many(`"containers":[{}]`, maxElements+1) + `}}`, "the JSON has 50001 elements",
		},
		"lists in lists":      {`{"spec":{"containers":` + strings.Repeat("[", 100), "more than 64 levels deep"},
		"objects in objects":  {strings.Repeat(`{"a":`, 5_000_000), "more than 64 levels deep"},
		"as many as possible": {`{"spec":{"containers":[` + many("{}", maxElements) + `]}}`, ""},
		"names of nodes":      {`{"NodeNames":[` + many(`"a"`, 2*maxElements) + `]}`, ""},
		"commas in a string":  {`{"spec":{"nodeSelector":{"a":"` + many("[", 2*maxElements) + `"}}}`, ""},
		"keys of an object":   {`{"spec":{"nodeSelector":{` + many(`"a":""`, 2*maxElements) + `}}}`, ""},
		"a deep, usual object": {
			strings.Repeat(`{"spec":`, maxDepth) + "1" + strings.Repeat("}", maxDepth), "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Scan([]byte(test.text))
			if test.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestMemoryGrowsWithLengthAndElements(t *testing.T) {
	text, err := Scan([]byte(`{"a":{"b":["c","d"]}}`))
	require.NoError(t, err)
	assert.Equal(t, int64(10*21+2*1000), text.Memory())
}

func TestScanAllocatesNothing(t *testing.T) {
	pod := []byte(inPod(`"100m"`))
	assert.Zero(t, testing.AllocsPerRun(10, func() { _, _ = Scan(pod) }))
}

// FuzzUnmarshal searches for texts that take longer than their length explains, and for differences from encoding/json.
func FuzzUnmarshal(f *testing.F) {
	for _, value := range []string{
		`"1e-4000000"`, `1e4000000`, `"1\u0065-4000000"`, `" 1e-4000000"`, `"9999999999999999999999999"`, `"-.5E99"`, `null`,
		`{"a":1}`, `[1e-4000000]`, `"1Mi"`, `"1e-99"`, `"0.0000000001"`,
	} {
		f.Add([]byte(inPod(value)))
	}
	f.Add([]byte(`{"spec":{"containers":[1,1,1]},"SPEC":{"containers":[[[]]]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		started := time.Now()
		var got, want corev1.Pod
		err := Unmarshal(text, &got)
		limit := 100*time.Millisecond + time.Duration(len(text))*10*time.Microsecond
		require.Less(t, time.Since(started), limit, "%q", text)
		if _, rejected := err.(*LimitError); rejected {
			return
		}
		wantErr := json.Unmarshal(text, &want)
		require.Equal(t, wantErr == nil, err == nil, "%v: %v", wantErr, err)
		require.Equal(t, want, got)
	})
}

// FuzzQuantity searches for quantities that are not suspicious and take long to parse.
func FuzzQuantity(f *testing.F) {
	for _, value := range []string{"1e-4000000", "1e4000000", "1e-99", " 1e99", "1Ei", "+.5E-099", "1e99999999999"} {
		f.Add(value)
	}
	f.Fuzz(func(t *testing.T, value string) {
		if isSuspicious([]byte(value)) {
			return
		}
		limit := 50*time.Millisecond + time.Duration(len(value))*time.Microsecond
		var took time.Duration
		for range 3 { // A busy machine may interrupt one of them.
			started := time.Now()
			if q, err := resource.ParseQuantity(strings.TrimSpace(value)); err == nil {
				q.Add(resource.MustParse("1"))
				q.Cmp(resource.MustParse("1Gi"))
				_ = q.String()
			}
			if took = time.Since(started); took < limit {
				return
			}
		}
		t.Fatalf("%q takes %s", value, took)
	})
}

func benchmarked() []byte {
	pod := corev1.Pod{}
	pod.Labels = map[string]string{"app": "web", "pod-template-hash": "7d9f8c6b5d", "commit": "1a2b3c4d"}
	pod.Annotations = map[string]string{"LOCAL_REPLICAS": "3", "note": strings.Repeat("a text without any number ", 20)}
	for _, name := range []string{"web", "proxy", "log"} {
		c := corev1.Container{Name: name, Image: "registry.example.com/team/" + name + ":1.2.3"}
		for _, key := range []string{"A", "B", "C", "D", "E", "F", "G", "H"} {
			c.Env = append(c.Env, corev1.EnvVar{Name: key, Value: "http://service.namespace.svc:8080/" + key})
		}
		c.Resources.Requests = corev1.ResourceList{"cpu": resource.MustParse("250m"), "memory": resource.MustParse("512Mi")}
		c.Resources.Limits = c.Resources.Requests
		c.VolumeMounts = []corev1.VolumeMount{{Name: "data", MountPath: "/data"}, {Name: "tmp", MountPath: "/tmp"}}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	text, err := json.Marshal(pod)
	if err != nil {
		panic(err)
	}
	return text
}

func BenchmarkScan(b *testing.B) {
	text := benchmarked()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		_, _ = Scan(text)
	}
}

func BenchmarkUnmarshal(b *testing.B) {
	text := benchmarked()
	for name, unmarshal := range map[string]func([]byte, any) error{
		"guarded": Unmarshal, "encoding-json": json.Unmarshal,
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if err := unmarshal(text, &corev1.Pod{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
