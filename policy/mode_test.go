package policy_test

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

const (
	burstLabel = "virtual-kubelet.io/burst-to-cci"
	burstAlias = "bursting.cci.io/burst-to-cci"
)

func TestParseMode(t *testing.T) {
	cases := map[string]struct {
		labels  map[string]string
		want    policy.Mode
		wantErr string
	}{
		"no labels":              {nil, policy.ModeNone, ""},
		"other labels":           {map[string]string{"app": "enforce"}, policy.ModeNone, ""},
		"enforce":                {map[string]string{burstLabel: "enforce"}, policy.ModeEnforce, ""},
		"localPrefer":            {map[string]string{burstLabel: "localPrefer"}, policy.ModeLocalPrefer, ""},
		"auto":                   {map[string]string{burstLabel: "auto"}, policy.ModeAuto, ""},
		"off":                    {map[string]string{burstLabel: "off"}, policy.ModeOff, ""},
		"the alias alone":        {map[string]string{burstAlias: "auto"}, policy.ModeAuto, ""},
		"the label wins over it": {map[string]string{burstLabel: "off", burstAlias: "enforce"}, policy.ModeOff, ""},
		"a malformed label is not healed by its alias": {
			map[string]string{burstLabel: "on", burstAlias: "enforce"}, policy.ModeOff,
			`virtual-kubelet.io/burst-to-cci: invalid value "on": must be one of enforce, localPrefer, auto, off`,
		},
		"a malformed alias is named": {
			map[string]string{burstAlias: "true"}, policy.ModeOff,
			`bursting.cci.io/burst-to-cci: invalid value "true": must be one of enforce, localPrefer, auto, off`,
		},
		"case matters": {
			map[string]string{burstLabel: "localprefer"}, policy.ModeOff,
			`virtual-kubelet.io/burst-to-cci: invalid value "localprefer": must be one of enforce, localPrefer, auto, off`,
		},
		"an empty value is malformed": {
			map[string]string{burstLabel: ""}, policy.ModeOff,
			`virtual-kubelet.io/burst-to-cci: invalid value "": must be one of enforce, localPrefer, auto, off`,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ParseMode(tc.labels)
			assert.Equal(t, tc.want, got)
			if tc.wantErr != "" {
				require.EqualError(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
		})
	}
}

func TestResolveMode(t *testing.T) {
	label := func(mode string) map[string]string { return map[string]string{burstLabel: mode} }
	alias := func(mode string) map[string]string { return map[string]string{burstAlias: mode} }
	enforced := map[string]string{"virtual-node-affinity-injection": "enabled"}

	cases := map[string]struct {
		pod, workload, namespace map[string]string
		want                     policy.Mode
		wantErr                  string
	}{
		"nothing anywhere":                     {nil, nil, nil, policy.ModeNone, ""},
		"the Pod's own":                        {label("auto"), nil, nil, policy.ModeAuto, ""},
		"the workload's":                       {nil, label("enforce"), nil, policy.ModeEnforce, ""},
		"the workload's alias":                 {nil, alias("localPrefer"), nil, policy.ModeLocalPrefer, ""},
		"the namespace's":                      {nil, nil, enforced, policy.ModeEnforce, ""},
		"the Pod wins over its workload":       {label("off"), label("enforce"), nil, policy.ModeOff, ""},
		"also by the alias":                    {alias("off"), label("enforce"), nil, policy.ModeOff, ""},
		"the Pod wins over its namespace":      {label("localPrefer"), nil, enforced, policy.ModeLocalPrefer, ""},
		"the workload wins over the namespace": {nil, label("off"), enforced, policy.ModeOff, ""},
		"another value of the namespace's label is nothing": {
			nil, nil, map[string]string{"virtual-node-affinity-injection": "true"}, policy.ModeNone, "",
		},
		"a namespace has no burst label": {nil, nil, label("enforce"), policy.ModeNone, ""},
		"a malformed Pod label is not healed by the workload": {
			label("yes"), label("enforce"), enforced, policy.ModeOff, `burst-to-cci: invalid value "yes"`,
		},
		"a malformed workload label is not healed by the namespace": {
			nil, label("no"), enforced, policy.ModeOff, `burst-to-cci: invalid value "no"`,
		},
		"a malformed workload label does not matter to a Pod with its own": {
			label("auto"), label("no"), nil, policy.ModeAuto, "",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ResolveMode(tc.pod, tc.workload, tc.namespace)
			assert.Equal(t, tc.want, got)
			if tc.wantErr != "" {
				require.ErrorContains(t, err, tc.wantErr)
				return
			}
			require.NoError(t, err)
		})
	}
}
