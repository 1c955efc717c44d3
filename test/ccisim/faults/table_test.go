package faults

import (
	"reflect"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func newTable(t *testing.T, list ...Fault) *Table {
	t.Helper()
	table := NewTable(Policies{})
	for _, f := range list {
		_, err := table.Add(f)
		require.NoError(t, err)
	}
	return table
}

func delay(d time.Duration) metav1.Duration { return metav1.Duration{Duration: d} }

func TestInvalidFaults(t *testing.T) {
	cases := map[string]struct {
		fault Fault
		want  string
	}{
		"an unknown kind":         {Fault{Kind: "meteor"}, `kind: invalid value "meteor": must be one of agencyQuota, `},
		"an invalid path":         {Fault{Kind: Throttle, Path: "("}, "path: "},
		"a negative limit":        {Fault{Kind: Throttle, Times: -1}, "times: invalid value -1"},
		"a verb for the cloud":    {Fault{Kind: SoldOut, Verb: "get"}, "do not apply to soldOut"},
		"a limit for the cloud":   {Fault{Kind: ImagePull, Times: 1}, "do not apply to imagePull"},
		"latency without a delay": {Fault{Kind: Latency}, "delay: invalid value 0s"},
		"a status that succeeds":  {Fault{Kind: ServerError, Status: 200}, "status: invalid value 200"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			table := newTable(t)
			_, err := table.Add(tc.fault)
			assert.ErrorContains(t, err, tc.want)
			assert.Empty(t, table.List())
		})
	}
}

func TestFaultsMatchVerbAndPath(t *testing.T) {
	cases := map[string]struct {
		fault      Fault
		verb, path string
		want       bool
	}{
		"any request":          {Fault{}, "get", "/a", true},
		"the same verb":        {Fault{Verb: "get"}, "get", "/a", true},
		"another verb":         {Fault{Verb: "list"}, "get", "/a", false},
		"a part of the path":   {Fault{Path: "pods"}, "list", "/x/pods", true},
		"the end of the path":  {Fault{Path: "/pods$"}, "get", "/x/pods/web", false},
		"verb and path differ": {Fault{Verb: "list", Path: "/pods$"}, "get", "/x/pods", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			tc.fault.Kind = Arrears
			refusal := newTable(t, tc.fault).ForRequest(tc.verb, tc.path).Refusal
			assert.Equal(t, tc.want, refusal != nil)
		})
	}
}

func TestFaultsRemoveThemselvesAfterTheirLimit(t *testing.T) {
	table := newTable(t, Fault{Kind: LoseAnswer, Times: 2})
	assert.True(t, table.ForRequest("get", "/").LoseAnswer)
	assert.Equal(t, 1, table.List()[0].Times)
	assert.True(t, table.ForRequest("get", "/").LoseAnswer)
	assert.Empty(t, table.List())
	assert.False(t, table.ForRequest("get", "/").LoseAnswer)
}

func TestFaultsOfOneRequest(t *testing.T) {
	table := newTable(t,
		Fault{Kind: Latency, Delay: delay(time.Second)}, Fault{Kind: Latency, Delay: delay(2 * time.Second)},
		Fault{Kind: Arrears, Times: 1}, Fault{Kind: NoAgency, Times: 1},
		Fault{Kind: HalfBody}, Fault{Kind: DuplicateEvents}, Fault{Kind: SoldOut})
	first, second := table.ForRequest("get", "/"), table.ForRequest("get", "/")
	assert.Equal(t, 3*time.Second, first.Latency, "delays add up")
	assert.Equal(t, Arrears, first.Refusal.Kind, "the oldest fault refuses")
	assert.Equal(t, NoAgency, second.Refusal.Kind, "and uses up no other")
	assert.True(t, first.HalfBody)
	assert.False(t, first.LoseAnswer)
}

func TestRateLimit(t *testing.T) {
	table := newTable(t, Fault{Kind: Throttle, RatePerSecond: 0.001, Burst: 2})
	var refused []bool
	for range 4 {
		refused = append(refused, table.ForRequest("get", "/").Refusal != nil)
	}
	assert.Equal(t, []bool{false, false, true, true}, refused)
}

func TestFaultsOfStreams(t *testing.T) {
	cases := map[string]struct {
		kind Kind
		verb string
		want WriteFaults
	}{
		"half of a watch event":   {HalfBody, "watch", WriteFaults{Half: true}},
		"half of a log":           {HalfBody, "log", WriteFaults{Half: true}},
		"a watch event twice":     {DuplicateEvents, "watch", WriteFaults{Twice: true}},
		"logs are not sent again": {DuplicateEvents, "log", WriteFaults{}},
		"no error in the middle":  {ServerError, "watch", WriteFaults{}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			table := newTable(t, Fault{Kind: tc.kind})
			assert.Equal(t, tc.want, table.ForWrite(tc.verb, "/"))
			assert.False(t, table.ForRequest(tc.verb, "/").HalfBody, "the request itself is complete")
		})
	}
}

func TestFaultsOfTheCloud(t *testing.T) {
	table := newTable(t, Fault{Kind: SoldOut, Path: "/web$"}, Fault{Kind: Throttle})
	assert.True(t, table.Applies(SoldOut, "/pods/web"))
	assert.False(t, table.Applies(SoldOut, "/pods/other"))
	assert.False(t, table.Applies(ImagePull, "/pods/web"))
}

func TestIDs(t *testing.T) {
	table := newTable(t, Fault{Kind: SoldOut}, Fault{Kind: SoldOut})
	assert.Equal(t, "fault-2", table.List()[1].ID)
	assert.True(t, table.Remove("fault-1"))
	assert.False(t, table.Remove("fault-1"))
	kept, err := table.Add(Fault{ID: "fault-7", Kind: SoldOut})
	require.NoError(t, err)
	assert.Equal(t, "fault-7", kept.ID, "an ID from the state file is kept")
	next, err := table.Add(Fault{Kind: SoldOut})
	require.NoError(t, err)
	assert.Equal(t, "fault-8", next.ID)
	assert.True(t, table.Remove(""))
	assert.Empty(t, table.List())
}

// A new policy is played with each of its values, or the test fails.
func TestSetsFlipEachPolicyAloneAndAllTogether(t *testing.T) {
	sets := Sets()
	names, flipped := map[string]bool{}, map[string]bool{}
	for _, set := range sets {
		assert.False(t, names[set.Name], "%s is there twice", set.Name)
		names[set.Name] = true
		assert.Empty(t, set.Policies.Validate(field.NewPath(set.Name)))
	}
	assert.Equal(t, Set{Name: "default"}, sets[0])
	defaults := reflect.ValueOf(Policies{}.WithDefaults())
	for _, set := range sets[1 : len(sets)-1] {
		policies, changed := reflect.ValueOf(set.Policies.WithDefaults()), []string{}
		for i := range policies.NumField() {
			if !reflect.DeepEqual(policies.Field(i).Interface(), defaults.Field(i).Interface()) {
				changed = append(changed, policies.Type().Field(i).Name)
			}
		}
		if assert.Len(t, changed, 1, set.Name) {
			flipped[changed[0]] = true
		}
	}
	all := reflect.ValueOf(sets[len(sets)-1].Policies)
	for i := range all.NumField() {
		name := all.Type().Field(i).Name
		assert.True(t, flipped[name], "%s is flipped alone", name)
		assert.NotEqual(t, defaults.Field(i).Interface(), all.Field(i).Interface(), "%s is flipped in all", name)
	}
	assert.True(t, names["events=watch"] && names["events=none"] && names["unpublished=pods/log"], names)
}

func TestPoliciesOfTheEnvironment(t *testing.T) {
	t.Setenv(PoliciesVariable, "")
	got, err := FromEnvironment()
	require.NoError(t, err)
	assert.Equal(t, Policies{}, got)
	t.Setenv(PoliciesVariable, `{"fields":"refuse","unpublished":["pods/log"]}`)
	got, err = FromEnvironment()
	require.NoError(t, err)
	assert.Equal(t, Policies{Fields: RefuseFields, Unpublished: []string{"pods/log"}}, got)
	for _, wrong := range []string{`{"field":"refuse"}`, `{"fields":1}`, `{} {}`, `refuse`} {
		t.Setenv(PoliciesVariable, wrong)
		_, err = FromEnvironment()
		assert.ErrorContains(t, err, "environment variable "+PoliciesVariable, wrong)
	}
}

func TestPolicies(t *testing.T) {
	table := newTable(t)
	defaults := Policies{
		Fields: DropFields, Events: EventsListed, SecretTypes: DocumentedLimits, Searches: DocumentedLimits,
		QuotaErrors: KubernetesQuota,
	}
	assert.Equal(t, defaults, table.Policies())
	require.NoError(t, table.SetPolicies(Policies{Fields: RefuseFields, Searches: KubernetesLimits, SignedExec: true}))
	defaults.Fields, defaults.Searches, defaults.SignedExec = RefuseFields, KubernetesLimits, true
	assert.Equal(t, defaults, table.Policies())
	err := table.SetPolicies(Policies{Fields: "keep", Events: "some", SecretTypes: "few", MaxContainers: -1})
	assert.ErrorContains(t, err, `policies.secretTypes: Unsupported value: "few"`)
	assert.ErrorContains(t, err, "policies.maxContainers: Invalid value: -1: must be zero or more")
	assert.ErrorContains(t, err, `policies.fields: Unsupported value: "keep": supported values: "drop", "refuse"`)
	assert.ErrorContains(t, err, `policies.events: Unsupported value: "some"`)
	assert.Equal(t, RefuseFields, table.Policies().Fields, "invalid policies change nothing")
	assert.Empty(t, Policies{}.Validate(field.NewPath("policies")))
}
