package policy

import "strings"

// Switch is the state of AUTO_SCALE_EKS, global or local.
type Switch int

const (
	// SwitchUnset: the key does not exist.
	SwitchUnset Switch = iota
	// SwitchOn: "true".
	SwitchOn
	// SwitchOff: "false".
	SwitchOff
	// SwitchMalformed: anything else. It counts as off: a typo must not cost money.
	SwitchMalformed
)

// ParseSwitch reads the key SwitchKey of annotations or of the data of a ConfigMap. A missing key is SwitchUnset. Case
// and surrounding space are ignored. Anything but true and false is SwitchMalformed, with an error.
func ParseSwitch(values map[string]string) (Switch, error) {
	value, ok := values[SwitchKey]
	if !ok {
		return SwitchUnset, nil
	}
	switch strings.ToLower(strings.TrimSpace(value)) {
	case "true":
		return SwitchOn, nil
	case "false":
		return SwitchOff, nil
	}
	return SwitchMalformed, invalidValue(SwitchKey, "", value, "must be \"true\" or \"false\"")
}

// MayBurst reports whether the two switches allow bursting. They forbid it only if the global switch is off or
// malformed and the local one is not on. A local "false" under a global "true" allows it: use the burst label "off" to
// forbid it. Source: TKE Resilience, table of nine rows.
func MayBurst(global, local Switch) bool {
	return global == SwitchOn || global == SwitchUnset || local == SwitchOn
}

// String returns true, false, malformed or unset.
func (s Switch) String() string {
	switch s {
	case SwitchOn:
		return "true"
	case SwitchOff:
		return "false"
	case SwitchMalformed:
		return "malformed"
	default:
		return "unset"
	}
}

// why describes a global switch that forbids bursting.
func (s Switch) why() string {
	if s == SwitchMalformed {
		return `neither "true" nor "false", which counts as false`
	}
	return s.String()
}
