package policy

import (
	"slices"
	"strings"
)

// Mode is the value of a burst label. Source: seed 2, CCI manual cci_01_0025.
type Mode string

const (
	// ModeNone: no burst label; the switches decide.
	ModeNone Mode = ""
	// ModeEnforce: virtual nodes only.
	ModeEnforce Mode = "enforce"
	// ModeLocalPrefer: virtual nodes only when no local node fits.
	ModeLocalPrefer Mode = "localPrefer"
	// ModeAuto: scores decide, leaning local.
	ModeAuto Mode = "auto"
	// ModeOff: never.
	ModeOff Mode = "off"
)

var modes = []Mode{ModeEnforce, ModeLocalPrefer, ModeAuto, ModeOff}

// ParseMode reads the burst label of one object. BurstLabel wins over its alias; neither is ModeNone. A value that is no
// mode is an error, and the mode returned with it is ModeOff.
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

func joinModes() string {
	words := make([]string, 0, len(modes))
	for _, m := range modes {
		words = append(words, string(m))
	}
	return strings.Join(words, ", ")
}

// ResolveMode says which mode holds for a Pod that is being created: its own label, else its workload's, else the label of
// its namespace. The first label found decides, also when it is malformed.
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
