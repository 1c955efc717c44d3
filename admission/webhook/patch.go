package webhook

import (
	"encoding/json"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"
)

// maxOperations is the greatest number of operations in a patch. For each element that a patch adds to a list, the list
// is copied: 10,000 operations took 1.2 GB here, and would take as much in the API server. A usual Pod needs some ten.
const maxOperations = 1000

// patchFor returns the JSON patch that changes in to out, nil if they are equal. raw is the encoding of in that the
// API server sent.
//
// The patch covers only the fields that this program knows, so fields of a newer Kubernetes stay unchanged. patchFor
// applies the patch to raw before it returns it: if a patch does not apply, the API server fails the creation,
// whatever the failure policy is.
func patchFor[T any](raw []byte, in, out *T) ([]byte, error) {
	if out == in {
		return nil, nil
	}
	before, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("encoding the object: %w", err)
	}
	after, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encoding the mutated object: %w", err)
	}
	operations, err := jsonpatch.CreatePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("comparing the object with the mutated one: %w", err)
	}
	if len(operations) == 0 {
		return nil, nil
	}
	if len(operations) > maxOperations {
		return nil, fmt.Errorf("the patch would have %d operations: at most %d", len(operations), maxOperations)
	}
	patch, err := json.Marshal(operations)
	if err != nil {
		return nil, fmt.Errorf("encoding the patch: %w", err)
	}
	if err := check(patch, raw); err != nil {
		return nil, err
	}
	return patch, nil
}

// check applies the patch.
func check(patch, raw []byte) error {
	decoded, err := evanphx.DecodePatch(patch)
	if err != nil {
		return fmt.Errorf("decoding the patch: %w", err)
	}
	if _, err := decoded.Apply(raw); err != nil {
		return fmt.Errorf("applying the patch: %w", err)
	}
	return nil
}
