package webhook

import (
	"encoding/json"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/admission/verdict"
)

// patchFor is the JSON patch that makes of the Pod, whose text is raw, what the verdict wants; nil where that changes nothing.
//
// The patch is made from what this program knows of Pods, so fields of a newer Kubernetes stay as they are. It is tried before
// it is answered: the API server fails the creation for a patch that does not fit, whatever the failure policy says.
func patchFor(raw []byte, pod *corev1.Pod, v verdict.Verdict) ([]byte, error) {
	out := mutate(pod, v)
	if out == pod {
		return nil, nil
	}
	before, err := json.Marshal(pod)
	if err != nil {
		return nil, fmt.Errorf("encoding the Pod: %w", err)
	}
	after, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encoding the changed Pod: %w", err)
	}
	operations, err := jsonpatch.CreatePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("comparing the Pod with the changed one: %w", err)
	}
	if len(operations) == 0 {
		return nil, nil
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	if err := try(patch, raw); err != nil {
		return nil, err
	}
	return patch, nil
}

func try(patch, raw []byte) error {
	decoded, err := evanphx.DecodePatch(patch)
	if err != nil {
		return fmt.Errorf("reading the patch: %w", err)
	}
	if _, err := decoded.Apply(raw); err != nil {
		return fmt.Errorf("trying the patch: %w", err)
	}
	return nil
}
