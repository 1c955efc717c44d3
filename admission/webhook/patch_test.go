package webhook

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"gomodules.xyz/jsonpatch/v2"
	corev1 "k8s.io/api/core/v1"
)

// TestThePatchOfAPodIsThatOfTheWholePod compares with the patch between the whole encodings, for random Pods and
// changes.
func TestThePatchOfAPodIsThatOfTheWholePod(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 1000 {
		in, other := randomPod(random), randomPod(random)
		out := in.DeepCopy()
		for _, change := range []func(){
			func() { out.Labels = other.Labels },
			func() { out.Annotations = other.Annotations },
			func() { out.Spec.Tolerations = append(other.Spec.Tolerations, out.Spec.Tolerations...) },
			func() { out.Spec.Tolerations = append(out.Spec.Tolerations, other.Spec.Tolerations...) },
			func() { out.Spec.Affinity = other.Spec.Affinity },
			func() { out.Spec.NodeSelector = other.Spec.NodeSelector },
			func() { out.Spec.Volumes = other.Spec.Volumes },
			func() {
				out.Spec.Containers = append(slices.Clone(other.Spec.Containers), corev1.Container{Name: "further"})
			},
			func() {
				if len(out.Spec.Containers) > 0 {
					out.Spec.Containers[0].Resources.Limits = corev1.ResourceList{"spillway.io/placement": {}}
				}
			},
			func() { out.Spec.SchedulerName = other.Name + "-scheduler" },
		} {
			if random.IntN(3) == 0 {
				change()
			}
		}
		raw, err := json.Marshal(in)
		require.NoError(t, err)
		whole, err := patchFor(raw, in, out)
		require.NoError(t, err)
		of, err := patchForPod(raw, in, out)
		require.NoError(t, err)
		assert.ElementsMatch(t, operationsOf(t, whole), operationsOf(t, of), "Pod %d: %s", i, raw)
	}
}

func operationsOf(t *testing.T, patch []byte) []jsonpatch.Operation {
	t.Helper()
	var operations []jsonpatch.Operation
	if patch != nil {
		require.NoError(t, json.Unmarshal(patch, &operations))
	}
	return operations
}

// TestWhatSurelyAppliesApplies tries random operations on a few places of random objects.
func TestWhatSurelyAppliesApplies(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	objects := []string{
		`{"a":{"b":[1,{"c":2}],"x/y":{"~":[]}},"d":null}`, `{"a":{}}`, `{"a":[],"a":{"b":[]}}`, `{"a":{"b":{"0":1}}}`,
		` { "a" : { "b" : [ ] , "x/y" : 1 } } `, `{"a":"text"}`, `{}`,
	}
	sure := 0
	for range 20_000 {
		operation := jsonpatch.Operation{
			Operation: pick(random, "add", "replace", "remove"), Value: json.RawMessage(`7`),
			Path: "/" + strings.Join([]string{
				pick(random, "a", "d", "e"), pick(random, "b", "x~1y", "0"),
				pick(random, "0", "1", "2", "c", "~0", "-", "00"),
			}[:1+random.IntN(3)], "/"),
		}
		raw := []byte(pick(random, objects...))
		if !surelyApplies([]jsonpatch.Operation{operation}, raw) {
			continue
		}
		sure++
		patch, err := json.Marshal([]jsonpatch.Operation{operation})
		require.NoError(t, err)
		require.NoError(t, check(patch, raw), "%s on %s", patch, raw)
	}
	assert.Greater(t, sure, 1000)
}

func TestElementsAddedToTheEndOfAListSurelyApply(t *testing.T) {
	raw := []byte(`{"list":[0,1]}`)
	add := func(index int) jsonpatch.Operation {
		return jsonpatch.NewOperation("add", fmt.Sprintf("/list/%d", index), 1)
	}
	assert.True(t, surelyApplies([]jsonpatch.Operation{add(2), add(3)}, raw))
	for _, others := range [][]jsonpatch.Operation{
		{add(3)}, {add(2), add(2)}, {add(1)}, {jsonpatch.NewOperation("remove", "/list/0", nil)},
		slices.Repeat([]jsonpatch.Operation{jsonpatch.NewOperation("add", "/a", 1)}, maxLookUps+1),
	} {
		assert.False(t, surelyApplies(others, raw), "these are left to check: %v", others)
	}
}

func TestAUsualPodNeedsNoApplication(t *testing.T) {
	pod := usualPod(corev1.Pod{}.ObjectMeta)
	raw, err := json.Marshal(pod)
	require.NoError(t, err)
	out := pod.DeepCopy()
	out.Annotations = map[string]string{"a": "b"}
	out.Labels["a/b"] = "c"
	tolerateVirtualNodes(&out.Spec)
	requestPlacement(&out.Spec)
	patch, err := patchForPod(raw, pod, out)
	require.NoError(t, err)
	operations := operationsOf(t, patch)
	assert.Len(t, operations, 5)
	assert.True(t, surelyApplies(operations, raw), "%s", patch)
}
