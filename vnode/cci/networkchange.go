package cci

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// NetworkChange is a change of a live network.
type NetworkChange struct {
	// Subnets are added, unless the network has them.
	Subnets []Subnet
	// Annotations are set. An empty value removes the annotation.
	Annotations map[string]string
}

// IsEmpty reports whether nothing is to be changed.
func (n NetworkChange) IsEmpty() bool { return len(n.Subnets) == 0 && len(n.Annotations) == 0 }

// apply changes a network as the cloud has sent it, and reports whether it differs then. What this client does not know
// of the network stays as it is, byte for byte.
func (n NetworkChange) apply(network map[string]json.RawMessage) (changed bool, err error) {
	added, err := edit(network, "spec", n.addSubnets)
	if err != nil {
		return false, err
	}
	annotated, err := edit(network, "metadata", func(metadata map[string]json.RawMessage) (bool, error) {
		if len(n.Annotations) == 0 {
			return false, nil
		}
		return edit(metadata, "annotations", n.annotate)
	})
	return added || annotated, err
}

func (n NetworkChange) addSubnets(spec map[string]json.RawMessage) (changed bool, err error) {
	var all []json.RawMessage
	var known []Subnet
	if text := spec["subnets"]; text != nil {
		if err := errors.Join(json.Unmarshal(text, &all), json.Unmarshal(text, &known)); err != nil {
			return false, fmt.Errorf("subnets: %w", err)
		}
	}
	for _, subnet := range n.Subnets {
		if slices.Contains(known, subnet) {
			continue
		}
		text, err := encode(subnet)
		if err != nil {
			return false, err
		}
		all = append(all, text)
	}
	if len(all) == len(known) {
		return false, nil
	}
	spec["subnets"], err = encode(all)
	return true, err
}

func (n NetworkChange) annotate(annotations map[string]json.RawMessage) (changed bool, err error) {
	for key, value := range n.Annotations {
		var known string
		if text := annotations[key]; text != nil {
			if err := json.Unmarshal(text, &known); err != nil {
				return false, fmt.Errorf("annotation %s: %w", key, err)
			}
		}
		if known == value {
			continue
		}
		changed = true
		if value == "" {
			delete(annotations, key)
			continue
		}
		if annotations[key], err = encode(value); err != nil {
			return false, err
		}
	}
	return changed, nil
}

// edit decodes a field that is an object, calls change with it, and encodes it again if it has changed.
func edit(
	of map[string]json.RawMessage, field string, change func(map[string]json.RawMessage) (changed bool, err error),
) (changed bool, err error) {
	value := map[string]json.RawMessage{}
	if text := of[field]; text != nil {
		if err := json.Unmarshal(text, &value); err != nil {
			return false, fmt.Errorf("%s: %w", field, err)
		}
	}
	if value == nil { // The field is null.
		value = map[string]json.RawMessage{}
	}
	if changed, err = change(value); err != nil || !changed {
		return false, err
	}
	of[field], err = encode(value)
	return true, err
}
