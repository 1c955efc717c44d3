package faults

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
)

// PoliciesVariable is the environment variable from which tests take the policies of their clouds, as JSON.
const PoliciesVariable = "CCISIM_POLICIES"

// FromEnvironment returns the policies of PoliciesVariable, the default ones if it is not set.
func FromEnvironment() (Policies, error) {
	var out Policies
	text := os.Getenv(PoliciesVariable)
	if text == "" {
		return out, nil
	}
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(&out)
	if err == nil && decoder.More() {
		err = errors.New("there is more text after the JSON value")
	}
	if err != nil {
		return out, fmt.Errorf("environment variable %s: %q: must be the policies of ccisim, as JSON: %w",
			PoliciesVariable, text, err)
	}
	return out, nil
}

// Set is a choice of policies under which a client of the service must work.
type Set struct {
	Name     string
	Policies Policies
}

// alone has one policy in each, with a value that is not its default.
var alone = []Policies{
	{Fields: RefuseFields},
	{Events: EventsWatched},
	{Events: EventsAbsent},
	{EqualRequests: true},
	{IgnoreLimit: true},
	{IgnorePreconditions: true},
	{GoneAsStatus: true},
	{NoVolumes: true},
	{NoSnapshots: true},
	{Unpublished: []string{"events", "persistentvolumes", "persistentvolumeclaims", "imagesnapshots", "pods/exec",
		"resourcequotas"}},
	{Unpublished: []string{"pods/log"}},
	{BareErrors: true},
	{RequireNetworkAnnotations: true},
	{SilentConditions: true},
	{SecretTypes: KubernetesLimits},
	{Searches: KubernetesLimits},
	{MaxContainers: 5},
	{RefuseLite: true},
	{RefuseNetAdmin: true},
	{IgnoreSecurityContext: true},
	{QuotaErrors: PlainQuota},
	{SignedExec: true},
}

// Sets returns the default, each policy alone with its other values, and all of these together. Of the values of one
// policy, the last one counts there.
func Sets() []Set {
	sets := []Set{{Name: "default"}}
	all := Set{Name: "all"}
	for _, policies := range alone {
		set := Set{Policies: policies}
		from, to := reflect.ValueOf(policies), reflect.ValueOf(&all.Policies).Elem()
		for i := range from.NumField() {
			if value := from.Field(i); !value.IsZero() {
				name, _, _ := strings.Cut(from.Type().Field(i).Tag.Get("json"), ",")
				set.Name = name + "=" + strings.Join(strings.Fields(strings.Trim(fmt.Sprint(value), "[]")), "+")
				to.Field(i).Set(value)
			}
		}
		sets = append(sets, set)
	}
	return append(sets, all)
}
