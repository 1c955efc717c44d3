package webhook

import (
	"encoding/json"
	"fmt"

	"gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"
)

// patchFor is the JSON patch that makes out of in, whose text is raw; nil where they are the same.
//
// The patch is made from what this program knows of the object, so fields of a newer Kubernetes stay as they are. It is tried before
// it is answered: the API server fails the creation for a patch that does not fit, whatever the failure policy says.
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
		return nil, fmt.Errorf("encoding the changed object: %w", err)
	}
	operations, err := jsonpatch.CreatePatch(before, after)
	if err != nil {
		return nil, fmt.Errorf("comparing the object with the changed one: %w", err)
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
