package policy

import (
	"slices"
	"strings"
)

// Mode is the value of a burst label. Source: CCE bursting, CCI manual cci_01_0025.
type Mode string

const (
	// ModeNone: no burst label. The switches decide.
	ModeNone Mode = ""
	// ModeEnforce: virtual nodes only.
	ModeEnforce Mode = "enforce"
	// ModeLocalPrefer: virtual nodes only if no local node fits.
	ModeLocalPrefer Mode = "localPrefer"
	// ModeAuto: scores decide, with a preference for local nodes.
	ModeAuto Mode = "auto"
	// ModeOff: local nodes only.
	ModeOff Mode = "off"
)

var modes = []Mode{ModeEnforce, ModeLocalPrefer, ModeAuto, ModeOff}

// ParseMode reads the burst label of one object. BurstLabel takes precedence over its alias. Without either it returns
// ModeNone. An unknown value is an error, and the mode returned with it is ModeOff.
func ParseMode(labels map[string]string) (Mode, error) {
	for _, key := range []string{BurstLabel, BurstLabelAlias} {
		value, ok := labels[key]
		if !ok {
			continue
		}
		if mode := Mode(value); slices.Contains(modes, mode) {
			return mode, nil
		}
		return ModeOff, invalidValue(key, "", value, "must be one of "+joinModes())
	}
	return ModeNone, nil
}

// HasBurstLabel reports whether an object has a burst label. A malformed one counts: it decides too.
func HasBurstLabel(labels map[string]string) bool {
	mode, err := ParseMode(labels)
	return err != nil || mode != ModeNone
}

func joinModes() string {
	names := make([]string, 0, len(modes))
	for _, m := range modes {
		names = append(names, string(m))
	}
	return strings.Join(names, ", ")
}

// ResolveMode returns the mode of a Pod that is being created: from its own label, else from the label of its workload,
// else from the label of its namespace. The first label that is found decides, even if it is malformed.
func ResolveMode(pod, workload, namespace map[string]string) (Mode, error) {
	for _, labels := range []map[string]string{pod, workload} {
		if mode, err := ParseMode(labels); err != nil || mode != ModeNone {
			return mode, err
		}
	}
	if namespace[NamespaceEnforceLabel] == NamespaceEnforceValue {
		return ModeEnforce, nil
	}
	return ModeNone, nil
}
