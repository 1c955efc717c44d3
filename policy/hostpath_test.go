package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

const replacementAnnotation = "coordinator.cci.io/hostpath-replacement"

func TestParseReplacements(t *testing.T) {
	limit := func(text string) *policy.ReplacementDir {
		quantity := resource.MustParse(text)
		return &policy.ReplacementDir{SizeLimit: &quantity}
	}
	cases := map[string]struct {
		value string
		want  []policy.Replacement
	}{
		"CCE bursting: one becomes an emptyDir": {
			`[{"name":"source-hostpath-volume-3","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}}]`,
			[]policy.Replacement{{Name: "source-hostpath-volume-3", PolicyType: "replaceByEmptyDir", EmptyDir: limit("10Gi")}},
		},
		"CCE bursting: one is removed": {
			`[{"name":"source-hostpath-volume-1","policyType":"remove"}]`,
			[]policy.Replacement{{Name: "source-hostpath-volume-1", PolicyType: "remove"}},
		},
		"CCE bursting: all are removed": {
			`[{"name":"*","policyType":"remove"}]`,
			[]policy.Replacement{{Name: "*", PolicyType: "remove"}},
		},
		"CCE bursting: several": {
			`[{"name":"source-hostpath-volume-1","policyType":"remove"},{"name":"source-hostpath-volume-3",` +
				`"policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10Gi"}}]`,
			[]policy.Replacement{
				{Name: "source-hostpath-volume-1", PolicyType: "remove"},
				{Name: "source-hostpath-volume-3", PolicyType: "replaceByEmptyDir", EmptyDir: limit("10Gi")},
			},
		},
		"CCE bursting: with the spaces of its Deployment": {
			`[{"name": "test-log2", "policyType": "remove"}, {"name": "test-log", "policyType": "replaceByEmptyDir", ` +
				`"emptyDir":{"sizeLimit":"10Gi"}}, {"name": "test-log1", "policyType": "remove" }]`,
			[]policy.Replacement{
				{Name: "test-log2", PolicyType: "remove"},
				{Name: "test-log", PolicyType: "replaceByEmptyDir", EmptyDir: limit("10Gi")},
				{Name: "test-log1", PolicyType: "remove"},
			},
		},
		"an empty list":   {`[]`, []policy.Replacement{}},
		"null is no list": {`null`, nil},
		"an emptyDir of any size": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{}}]`,
			[]policy.Replacement{{Name: "a", PolicyType: "replaceByEmptyDir", EmptyDir: &policy.ReplacementDir{}}},
		},
		"a limit of null": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":null}}]`,
			[]policy.Replacement{{Name: "a", PolicyType: "replaceByEmptyDir", EmptyDir: &policy.ReplacementDir{}}},
		},
		"a limit in bytes": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":1073741824}}]`,
			[]policy.Replacement{{Name: "a", PolicyType: "replaceByEmptyDir", EmptyDir: limit("1073741824")}},
		},
		"a fraction": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"1.5Gi"}}]`,
			[]policy.Replacement{{Name: "a", PolicyType: "replaceByEmptyDir", EmptyDir: limit("1536Mi")}},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ParseReplacements(map[string]string{replacementAnnotation: tc.value})
			require.NoError(t, err)
			require.Len(t, got, len(tc.want))
			for i := range tc.want {
				assert.Equal(t, tc.want[i].Name, got[i].Name)
				assert.Equal(t, tc.want[i].PolicyType, got[i].PolicyType)
				if tc.want[i].EmptyDir == nil || tc.want[i].EmptyDir.SizeLimit == nil {
					assert.Equal(t, tc.want[i].EmptyDir, got[i].EmptyDir)
					continue
				}
				assert.Equal(t, tc.want[i].EmptyDir.SizeLimit.String(), got[i].EmptyDir.SizeLimit.String())
			}
		})
	}
	got, err := policy.ParseReplacements(nil)
	require.NoError(t, err)
	assert.Empty(t, got, "without the annotation there are none")
}

func TestParseReplacementsSaysWhatIsWrong(t *testing.T) {
	cases := map[string]struct {
		value string
		want  []string
	}{
		"no text": {
			``,
			[]string{`: invalid value "": must be a JSON list such as [{"name":"VOLUME","policyType":"remove"}]`},
		},
		"no JSON":                  {`remove`, []string{`: invalid value "remove": must be a JSON list`}},
		"an object":                {`{"name":"*","policyType":"remove"}`, []string{`must be a JSON list`}},
		"cut in the middle":        {`[{"name":"a"`, []string{`must be a JSON list`, `unexpected EOF`}},
		"more text after the list": {`[] []`, []string{`must be a JSON list`, `there is more text after the JSON value`}},
		"a field misspelt":         {`[{"name":"a","policy":"remove"}]`, []string{`unknown field "policy"`}},
		"a field of the emptyDir": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"medium":"Memory"}}]`,
			[]string{`unknown field "medium"`},
		},
		"an entry of null": {
			`[null]`,
			[]string{`[0].name: must be the name of a volume or "*"`, `[0].policyType: invalid value ""`},
		},
		"a policy that is none": {
			`[{"name":"a","policyType":"Remove"}]`,
			[]string{`[0].policyType: invalid value "Remove": must be remove or replaceByEmptyDir`},
		},
		"a name twice": {
			`[{"name":"a","policyType":"remove"},{"name":"a","policyType":"remove"}]`,
			[]string{`[1].name: duplicate value "a": each volume has one replacement`},
		},
		"* twice": {
			`[{"name":"*","policyType":"remove"},{"name":"*","policyType":"replaceByEmptyDir"}]`,
			[]string{`[1].name: duplicate value "*"`},
		},
		"every fault of the list": {
			`[{"policyType":"remove"},{"name":"a","policyType":"x"},{"name":"b","policyType":"replaceByEmptyDir",` +
				`"emptyDir":{"sizeLimit":"0Gi"}}]`,
			[]string{
				`[0].name: must be`,
				`[1].policyType: invalid value "x"`,
				`[2].emptyDir.sizeLimit: invalid value "0": must be above zero`,
			},
		},
		"a negative limit": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"-1Gi"}}]`,
			[]string{`sizeLimit: invalid value "-1Gi": must be a quantity such as 10Gi`},
		},
		"a limit with a wrong unit": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":"10GB"}}]`,
			[]string{`sizeLimit: invalid value "10GB"`},
		},
		"a limit without a value": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":""}}]`,
			[]string{`sizeLimit: invalid value ""`},
		},
		"a limit that takes minutes": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":1e-100000000}}]`,
			[]string{`sizeLimit: invalid value "1e-100000000"`},
		},
		"a limit that is an object": {
			`[{"name":"a","policyType":"replaceByEmptyDir","emptyDir":{"sizeLimit":{}}}]`,
			[]string{`sizeLimit: invalid value "{}"`},
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ParseReplacements(map[string]string{replacementAnnotation: tc.value})
			require.Error(t, err)
			assert.Nil(t, got)
			for _, words := range tc.want {
				assert.ErrorContains(t, err, words)
			}
			assert.ErrorContains(t, err, replacementAnnotation)
		})
	}
}

// A caller may change the result, but the Pod belongs to a cache.
func TestReplaceHostPathsReturnsACopy(t *testing.T) {
	for name, value := range map[string]string{
		"without replacements": "", "with": `[{"name":"*","policyType":"remove"}]`, "malformed": "{",
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "web", VolumeMounts: []corev1.VolumeMount{{Name: "conf"}, {Name: "logs"}}}},
				Volumes: []corev1.Volume{
					{Name: "logs", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}},
					{Name: "conf", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{}}},
				},
			}}
			if value != "" {
				pod.ObjectMeta = metav1.ObjectMeta{Annotations: map[string]string{replacementAnnotation: value}}
			}
			before := pod.DeepCopy()
			spec, _ := policy.ReplaceHostPaths(pod)
			spec.Containers[0].Name = "changed"
			spec.Containers[0].VolumeMounts[0].Name = "changed"
			spec.Volumes[0].Name = "changed"
			assert.Equal(t, before, pod)
		})
	}
}
