package policy_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/spillway-k8s/spillway/policy"
)

// switchRows is the table of TKE Resilience, verbatim and in its order.
var switchRows = []struct{ global, local, behaviour string }{
	{"AUTO_SCALE_EKS=true", "AUTO_SCALE_EKS=false", "调度成功"},
	{"AUTO_SCALE_EKS=true", "未定义", "调度成功"},
	{"AUTO_SCALE_EKS=true", "AUTO_SCALE_EKS=true", "调度成功"},
	{"AUTO_SCALE_EKS=false", "AUTO_SCALE_EKS=false", "调度失败"},
	{"AUTO_SCALE_EKS=false", "未定义", "调度失败"},
	{"AUTO_SCALE_EKS=false", "AUTO_SCALE_EKS=true", "调度成功"},
	{"未定义", "AUTO_SCALE_EKS=false", "调度成功"},
	{"未定义", "未定义", "调度成功"},
	{"未定义", "AUTO_SCALE_EKS=true", "调度成功"},
}

// switchData is what a cell of the table looks like as annotations or as the data of the ConfigMap.
func switchData(cell string) map[string]string {
	switch cell {
	case "AUTO_SCALE_EKS=true":
		return map[string]string{"AUTO_SCALE_EKS": "true"}
	case "AUTO_SCALE_EKS=false":
		return map[string]string{"AUTO_SCALE_EKS": "false"}
	default: // 未定义: not defined.
		return nil
	}
}

func TestSwitchTable(t *testing.T) {
	decider, err := policy.New(policy.DefaultConfig())
	require.NoError(t, err)
	for _, row := range switchRows {
		t.Run(row.global+" "+row.local, func(t *testing.T) {
			global, err := policy.ParseSwitch(switchData(row.global))
			require.NoError(t, err)
			local, err := policy.ParseSwitch(switchData(row.local))
			require.NoError(t, err)
			want := row.behaviour == "调度成功" // Scheduled; 调度失败: not scheduled.
			assert.Equal(t, want, policy.MayBurst(global, local))

			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: switchData(row.local)}}
			assert.Equal(t, want, decider.Decide(policy.Input{Pod: pod, Global: global}).MayBurst())
		})
	}
}

// TestLocalFalseForbids: the newer table, where a Pod's own word is the last (peers: TKE's chart from v1.0.0 on).
func TestLocalFalseForbids(t *testing.T) {
	config := policy.DefaultConfig()
	config.LocalFalseForbids = true
	decider, err := policy.New(config)
	require.NoError(t, err)
	for _, row := range switchRows {
		t.Run(row.global+" "+row.local, func(t *testing.T) {
			global, err := policy.ParseSwitch(switchData(row.global))
			require.NoError(t, err)
			want := row.behaviour == "调度成功" && row.local != "AUTO_SCALE_EKS=false"
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: switchData(row.local)}}
			got := decider.Decide(policy.Input{Pod: pod, Global: global})
			assert.Equal(t, want, got.MayBurst())
			if !want {
				assert.Equal(t, policy.ReasonSwitchOff, got.Reason)
			}
		})
	}
	t.Run("a burst label beats it", func(t *testing.T) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
			Annotations: map[string]string{
				policy.SwitchKey: "false",
			},
			Labels: map[string]string{policy.BurstLabel: "localPrefer"},
		}}
		assert.True(t, decider.Decide(policy.Input{Pod: pod}).MayBurst())
	})
}

func TestParseSwitch(t *testing.T) {
	cases := map[string]struct {
		values map[string]string
		want   policy.Switch
	}{
		"true is on":                     {map[string]string{"AUTO_SCALE_EKS": "true"}, policy.SwitchOn},
		"false is off":                   {map[string]string{"AUTO_SCALE_EKS": "false"}, policy.SwitchOff},
		"case does not matter":           {map[string]string{"AUTO_SCALE_EKS": "True"}, policy.SwitchOn},
		"surrounding space does not":     {map[string]string{"AUTO_SCALE_EKS": " FALSE\n"}, policy.SwitchOff},
		"a missing key is unset":         {map[string]string{"OTHER": "true"}, policy.SwitchUnset},
		"no map is unset":                {nil, policy.SwitchUnset},
		"the key is matched to the case": {map[string]string{"auto_scale_eks": "false"}, policy.SwitchUnset},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := policy.ParseSwitch(tc.values)
			require.NoError(t, err)
			assert.Equal(t, tc.want, got)
		})
	}
}

func TestParseSwitchNamesKeyValueAndWhatIsRight(t *testing.T) {
	for _, value := range []string{"", "yes", "1", "t", "truefalse", "真"} {
		t.Run(value, func(t *testing.T) {
			got, err := policy.ParseSwitch(map[string]string{"AUTO_SCALE_EKS": value})
			assert.EqualError(t, err, fmt.Sprintf(`AUTO_SCALE_EKS: invalid value %q: must be "true" or "false"`, value))
			assert.Equal(t, policy.SwitchMalformed, got)
			assert.False(t, policy.MayBurst(got, policy.SwitchUnset), "what cannot be read must not cost money")
		})
	}
}

func TestSwitchString(t *testing.T) {
	assert.Equal(t, "true", policy.SwitchOn.String())
	assert.Equal(t, "false", policy.SwitchOff.String())
	assert.Equal(t, "unset", policy.SwitchUnset.String())
	assert.Equal(t, "malformed", policy.SwitchMalformed.String())
}
