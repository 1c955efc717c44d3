package webhook

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"gomodules.xyz/jsonpatch/v2"
	evanphx "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/spillway-k8s/spillway/internal/rawjson"
)

// maxOperations is the greatest number of operations in a patch. For each element that a patch adds to a list, the list
// is copied: 10,000 operations took 1.2 GB here, and would take as much in the API server. A usual Pod needs some ten.
const maxOperations = 1000

// maxLookUps is the greatest number of operations for which surelyApplies searches the object.
const maxLookUps = 32

// patchForPod is patchFor for Pods. It compares only what differs: to encode all of a usual Pod twice, and to decode
// that again, takes longer than everything else that a review needs.
func patchForPod(raw []byte, in, out *corev1.Pod) ([]byte, error) {
	if out == in {
		return nil, nil
	}
	before, after := *in, *out
	dropEqual(&before.ObjectMeta, &after.ObjectMeta)
	dropEqual(&before.Spec, &after.Spec)
	dropEqual(&before.Status, &after.Status)
	dropEqualElements(&before.Spec.Containers, &after.Spec.Containers)
	dropEqualElements(&before.Spec.InitContainers, &after.Spec.InitContainers)
	return patchFor(raw, &before, &after)
}

// dropEqual clears the fields that two structs have in common. They have the same encoding in both then too, so the
// patch from one to the other stays the same. What the fields refer to stays unchanged.
func dropEqual[T any](before, after *T) {
	b, a := reflect.ValueOf(before).Elem(), reflect.ValueOf(after).Elem()
	for i := range b.NumField() {
		if reflect.DeepEqual(b.Field(i).Interface(), a.Field(i).Interface()) {
			b.Field(i).SetZero()
			a.Field(i).SetZero()
		}
	}
}

// dropEqualElements clears the fields that elements of two lists have in common at the same index. It leaves lists of
// different lengths, of which the patch adds or removes elements.
func dropEqualElements[T any](before, after *[]T) {
	if len(*before) != len(*after) {
		return
	}
	b, a := slices.Clone(*before), slices.Clone(*after)
	for i := range b {
		dropEqual(&b[i], &a[i])
	}
	*before, *after = b, a
}

// patchFor returns the JSON patch that changes in to out, nil if they are equal. raw is the encoding of in that the
// API server sent.
//
// The patch covers only the fields that this program knows, so fields of a newer Kubernetes stay unchanged. patchFor
// makes sure that the patch applies to raw before it returns it: if a patch does not apply, the API server fails the
// creation, whatever the failure policy is.
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
	if surelyApplies(operations, raw) {
		return patch, nil
	}
	if err := check(patch, raw); err != nil {
		return nil, err
	}
	return patch, nil
}

// surelyApplies reports whether it is certain that operations apply to an object, which must be valid JSON. It only
// looks up where they apply, while check decodes and encodes the object. No operation may change what another one
// needs: that holds for those of jsonpatch.CreatePatch, which are about different values, except that they add and
// remove elements of the same list.
func surelyApplies(operations []jsonpatch.Operation, raw []byte) bool {
	if len(operations) > maxLookUps {
		return false
	}
	added := map[string]int{} // How many elements were added to the end of a list, by its path.
	for _, o := range operations {
		path := strings.Split(o.Path, "/")
		for i, part := range path {
			path[i] = unescape.Replace(part)
		}
		if len(path) < 2 {
			return false
		}
		last := len(path) - 1
		parent := rawjson.Find(raw, path[1:last]...)
		if len(parent) == 0 || parent[0] != '{' && parent[0] != '[' {
			return false
		}
		isList := parent[0] == '['
		switch {
		case o.Operation == "add" && isList:
			list := strings.Join(path[:last], "/")
			if path[last] != strconv.Itoa(rawjson.Len(parent)+added[list]) {
				return false
			}
			added[list]++
		case o.Operation == "add":
		case o.Operation == "replace", o.Operation == "remove" && !isList:
			if rawjson.Find(parent, path[last]) == nil {
				return false
			}
		default:
			return false
		}
	}
	return true
}

// unescape decodes a part of a path (RFC 6901, section 4).
var unescape = strings.NewReplacer("~1", "/", "~0", "~")

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
