package validation_test

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/admission/validation"
	"github.com/spillway-k8s/spillway/internal/schedulers"
	"github.com/spillway-k8s/spillway/policy"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// claims are the kinds of the volumes behind claims.
type claims map[string]string

func (c claims) Claims(*corev1.Pod) map[string]string { return c }

// nodes are the virtual nodes.
type nodes []policy.VirtualNode

func (n nodes) Ours() []policy.VirtualNode { return n }

// annotations are those of the namespace.
type annotations map[string]string

func (a annotations) CachedNamespace(string) map[string]string { return a }

// input is the input of a review.
type input struct {
	// Policy changes the rules of the policy; empty for the default.
	Policy *policy.Config `json:"policy,omitempty"`
	// Claims are the kinds of the volumes behind claims.
	Claims claims `json:"claims,omitempty"`
	// Nodes are the virtual nodes.
	Nodes nodes `json:"nodes,omitempty"`
	// Namespace are the annotations of the namespace.
	Namespace annotations `json:"namespaceAnnotations,omitempty"`
	// Schedulers are those that call the extender; empty for the default scheduler.
	Schedulers schedulers.Schedulers `json:"schedulers,omitempty"`
	// Old is the previous version of the object; empty at creation.
	Old json.RawMessage `json:"old,omitempty"`
	// Object is the object to review.
	Object json.RawMessage `json:"object"`
}

// output is the result of a review.
type output struct {
	Errors   []string `json:"errors"`
	Warnings []string `json:"warnings"`
}

// TestReview reviews the object of each testdata/*.input.yaml and compares the result with .output.yaml, which -update
// rewrites.
func TestReview(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, inputs)
	for _, file := range inputs {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".input.yaml"), func(t *testing.T) {
			content, err := os.ReadFile(file)
			require.NoError(t, err)
			var in input
			require.NoError(t, yaml.UnmarshalStrict(content, &in))
			got, err := yaml.Marshal(review(t, in))
			require.NoError(t, err)
			golden := strings.Replace(file, ".input.", ".output.", 1)
			if *update {
				require.NoError(t, os.WriteFile(golden, got, 0o644))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			assert.YAMLEq(t, string(want), string(got))
		})
	}
}

func review(t *testing.T, in input) output {
	t.Helper()
	if in.Policy == nil {
		in.Policy = new(policy.DefaultConfig())
	}
	rules, err := policy.New(*in.Policy)
	require.NoError(t, err)
	var old *validation.Subject
	if in.Old != nil {
		old = decode(t, in.Old)
	}
	v := validation.New(rules, in.Claims, in.Nodes, in.Namespace, in.Schedulers)
	errs, warnings := v.Review("shop", decode(t, in.Object), old)
	out := output{Warnings: warnings}
	for _, err := range errs {
		out.Errors = append(out.Errors, err.Error())
	}
	return out
}

func decode(t *testing.T, raw []byte) *validation.Subject {
	t.Helper()
	var head struct{ Kind string }
	require.NoError(t, json.Unmarshal(raw, &head))
	subject, err := validation.Decode(head.Kind, raw)
	require.NoError(t, err)
	return subject
}

// TestEveryMalformedKeyIsAnErrorOnEveryKind sets each malformed key in every place of every kind where it has an
// effect.
func TestEveryMalformedKeyIsAnErrorOnEveryKind(t *testing.T) {
	type keys struct{ labels, annotations map[string]string }
	malformed := map[string]keys{
		policy.LocalReplicasAnnotation: {annotations: map[string]string{policy.LocalReplicasAnnotation: "two"}},
		policy.SwitchKey:               {annotations: map[string]string{policy.SwitchKey: "yes"}},
		policy.HostPathReplacementAnnotation: {
			annotations: map[string]string{policy.HostPathReplacementAnnotation: "remove"},
		},
		policy.OnSoldOutAnnotation:     {annotations: map[string]string{policy.OnSoldOutAnnotation: "leave"}},
		policy.ServicesAnnotation:      {annotations: map[string]string{policy.ServicesAnnotation: "Proxy"}},
		policy.ReservedPortsAnnotation: {annotations: map[string]string{policy.ReservedPortsAnnotation: "http"}},
		policy.LocalMinAnnotation:      {annotations: map[string]string{policy.LocalMinAnnotation: "one"}},
		policy.LocalMaxAnnotation:      {annotations: map[string]string{policy.LocalMaxAnnotation: "101%"}},
		policy.CloudMaxAnnotation:      {annotations: map[string]string{policy.CloudMaxAnnotation: "-1"}},
		policy.BurstAfterAnnotation:    {annotations: map[string]string{policy.BurstAfterAnnotation: "soon"}},
		policy.WayHomeAnnotation:       {annotations: map[string]string{policy.WayHomeAnnotation: "yes"}},
		policy.BurstLabel:              {labels: map[string]string{policy.BurstLabel: "always"}},
		policy.BurstLabelAlias:         {labels: map[string]string{policy.BurstLabelAlias: "always"}},
	}
	for _, key := range policy.PodAnnotations() {
		require.Contains(t, malformed, key, "each annotation is validated")
	}
	template := "spec.template.metadata"
	for kind, places := range map[string]map[string]bool{ // The value reports whether annotations have an effect there.
		"Pod":                   {"metadata": true},
		"ReplicaSet":            {"metadata": false, template: true},
		"ReplicationController": {"metadata": false, template: true},
		"Deployment":            {"metadata": false, template: true},
		"StatefulSet":           {"metadata": false, template: true},
		"Job":                   {"metadata": false, template: true},
		"CronJob": {
			"metadata": false, "spec.jobTemplate.metadata": false, "spec.jobTemplate.spec.template.metadata": true,
		},
	} {
		for place, read := range places {
			for key, k := range malformed {
				if k.annotations != nil && !read && !slices.Contains(policy.InheritedAnnotations(), key) {
					continue
				}
				t.Run(kind+" "+place+" "+key, func(t *testing.T) {
					meta := map[string]any{"labels": k.labels, "annotations": k.annotations}
					raw, err := json.Marshal(objectWith(kind, place, meta))
					require.NoError(t, err)
					field := place + ".annotations"
					if k.labels != nil {
						field = place + ".labels"
					}

					created := review(t, input{Object: raw})
					require.Len(t, created.Errors, 1)
					assert.Contains(t, created.Errors[0], field+"["+key+"]: Invalid value: ")
					assert.Contains(t, created.Errors[0], ": must be ")

					bare, err := json.Marshal(objectWith(kind, place, map[string]any{}))
					require.NoError(t, err)
					assert.Equal(
						t,
						created.Errors,
						review(t, input{Old: bare, Object: raw}).Errors,
						"an update that adds the key",
					)
					assert.Empty(t, review(t, input{Old: raw, Object: bare}), "an update that removes the key")
					assert.Empty(t, review(t, input{Old: raw, Object: raw}), "an update of something else")
				})
			}
		}
	}
}

func TestWarningsNameSomeOfManyMistypedKeys(t *testing.T) {
	annotations := map[string]string{}
	for i := range 20_000 {
		annotations["spillway.io/"+strconv.Itoa(i)] = ""
	}
	raw, err := json.Marshal(objectWith("Pod", "metadata", map[string]any{"annotations": annotations}))
	require.NoError(t, err)
	assert.Len(t, review(t, input{Object: raw}).Warnings, 10)
}

// objectWith returns an object with metadata at a place.
func objectWith(kind, place string, meta map[string]any) map[string]any {
	object := map[string]any{"kind": kind}
	at := object
	path := strings.Split(place, ".")
	for _, field := range path[:len(path)-1] {
		next := map[string]any{}
		at[field] = next
		at = next
	}
	at["metadata"] = meta
	return object
}

func TestDecodeRejectsOtherKindsAndMalformedObjects(t *testing.T) {
	_, err := validation.Decode("Node", []byte(`{}`))
	require.ErrorContains(t, err, `kind "Node": must be one of `+
		`[Pod ReplicationController ReplicaSet Deployment StatefulSet DaemonSet Job CronJob]`)
	for _, kind := range []string{"Pod", "ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"} {
		for _, raw := range []string{"", "[]", `{"spec":[]}`} {
			_, err := validation.Decode(kind, []byte(raw))
			require.ErrorContains(t, err, "decoding a "+kind)
		}
	}
}

// FuzzReview searches for panics with random objects.
func FuzzReview(f *testing.F) {
	inputs, err := filepath.Glob("testdata/*.input.yaml")
	require.NoError(f, err)
	for _, file := range inputs {
		content, err := os.ReadFile(file)
		require.NoError(f, err)
		var in input
		require.NoError(f, yaml.Unmarshal(content, &in))
		var head struct{ Kind string }
		require.NoError(f, json.Unmarshal(in.Object, &head))
		f.Add(head.Kind, []byte(in.Object), []byte(in.Old))
	}
	rules, err := policy.New(policy.DefaultConfig())
	require.NoError(f, err)
	v := validation.New(rules, claims{}, nodes{}, annotations{}, schedulers.Schedulers{})
	f.Fuzz(func(t *testing.T, kind string, object, old []byte) {
		is, err := validation.Decode(kind, object)
		if err != nil {
			return
		}
		was, err := validation.Decode(kind, old)
		if err != nil {
			was = nil
		}
		v.Review("shop", is, was)
		errs, _ := v.Review("shop", is, is)
		assert.Empty(t, errs, "an update that changes nothing is never rejected")
	})
}

func TestQuantitiesThatTakeLongAreNotDecoded(t *testing.T) {
	raw := []byte(`{"spec":{"template":{"spec":{"containers":[{"resources":{"limits":{"cpu":"1e1000000000"}}}]}}}}`)
	for _, kind := range []string{"ReplicaSet", "Deployment", "StatefulSet", "DaemonSet", "Job"} {
		_, err := validation.Decode(kind, raw)
		require.ErrorContains(t, err,
			`spec.template.spec.containers.resources.limits.cpu: invalid quantity "1e1000000000"`)
	}
}
