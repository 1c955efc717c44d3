package policy

import "strings"

// Switch is the state of AUTO_SCALE_EKS, global or local.
type Switch int

const (
	// SwitchUnset: the key is not there.
	SwitchUnset Switch = iota
	// SwitchOn: "true".
	SwitchOn
	// SwitchOff: "false".
	SwitchOff
)

// ParseSwitch reads the value of the key SwitchKey in a map of annotations or ConfigMap data. A missing key is SwitchUnset.
// Case and surrounding space do not matter. Anything but true and false is an error, and the switch returned with it is
// SwitchOff: what cannot be read must not cost money.
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
	return SwitchOff, invalidValue(SwitchKey, "", value, "must be \"true\" or \"false\"")
}

// MayBurst is the table of the seeds (seed 0, nine rows): bursting is off only where the global switch is off and the
// local one is not on. A local "false" under a global "true" does burst; the burst label "off" is the way to say never.
func MayBurst(global, local Switch) bool {
	return global != SwitchOff || local == SwitchOn
}

// String is the word for people.
func (s Switch) String() string {
	switch s {
	case SwitchOn:
		return "true"
	case SwitchOff:
		return "false"
	default:
		return "unset"
	}
}
