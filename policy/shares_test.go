package policy_test

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/policy"
)

func shares(t *testing.T, annotations map[string]string) policy.Shares {
	t.Helper()
	s, err := policy.ParseShares(annotations)
	require.NoError(t, err)
	return s
}

func TestParseShares(t *testing.T) {
	for value, want := range map[string]policy.Amount{
		"0": {Set: true}, "1": {Set: true, Value: 1}, "007": {Set: true, Value: 7},
		"2147483647": {Set: true, Value: 2147483647}, "30%": {Set: true, Value: 30, Percent: true},
		"0%": {Set: true, Percent: true}, "100%": {Set: true, Value: 100, Percent: true},
	} {
		t.Run(value, func(t *testing.T) {
			assert.Equal(t, policy.Shares{LocalReplicas: want}, shares(t, map[string]string{"LOCAL_REPLICAS": value}))
			assert.Equal(t, policy.Shares{LocalMin: want}, shares(t, map[string]string{"spillway.io/local-min": value}))
			assert.Equal(t, policy.Shares{LocalMax: want}, shares(t, map[string]string{"spillway.io/local-max": value}))
			assert.Equal(t, policy.Shares{CloudMax: want}, shares(t, map[string]string{"spillway.io/cloud-max": value}))
		})
	}
	assert.True(t, shares(t, map[string]string{"local_replicas": "1"}).IsZero(), "another key has no effect")
}

func TestParseSharesNamesKeyValueAndWhatIsRight(t *testing.T) {
	for _, value := range []string{
		"", " ", "-1", "+1", "1.5", "1e3", "1_000", "0x10", "%", "-1%", "101%", "30 %", "30%%", "1.5%", " 1", "2147483648",
		"99999999999999999999", "99999999999999999999%", "一",
	} {
		for _, key := range policy.ShareAnnotations() {
			got, err := policy.ParseShares(map[string]string{key: value})
			assert.True(t, got.IsZero(), value)
			assert.EqualError(t, err, fmt.Sprintf(`%s: invalid value %q: must be a whole number from 0 to 2147483647, `+
				`such as "1", or a percentage of the replicas from 0%% to 100%%, such as "30%%"`, key, value))
		}
	}
}

func TestSharesThatContradictEachOtherAreErrorsWithBothValues(t *testing.T) {
	for _, test := range []struct{ share, least, most, cloud, want string }{
		{share: "1", least: "1", most: "1", cloud: "0"},
		{least: "5", most: "30%"}, // It depends on the number of replicas.
		{share: "1", cloud: "20%"},
		{share: "30%", cloud: "70%"},
		{most: "0", cloud: "1"},
		{share: "1", least: "2",
			want: `spillway.io/local-min: invalid value "2": must be at most LOCAL_REPLICAS, which is "1"`},
		{least: "40%", most: "30%",
			want: `spillway.io/local-min: invalid value "40%": must be at most spillway.io/local-max, which is "30%"`},
		{share: "5", most: "3",
			want: `LOCAL_REPLICAS: invalid value "5": must be at most spillway.io/local-max, which is "3"`},
		{share: "30%", cloud: "50%", want: `spillway.io/cloud-max: invalid value "50%": must be at least "70%", ` +
			`because LOCAL_REPLICAS is "30%": other replicas would run nowhere`},
		{most: "30%", cloud: "69%", want: `spillway.io/cloud-max: invalid value "69%": must be at least "70%", ` +
			`because spillway.io/local-max is "30%": other replicas would run nowhere`},
		{share: "0", cloud: "0", want: `spillway.io/cloud-max: invalid value "0": must be more than 0, ` +
			`because LOCAL_REPLICAS is "0": no replica would run`},
	} {
		annotations := present(map[string]string{
			"LOCAL_REPLICAS": test.share, "spillway.io/local-min": test.least, "spillway.io/local-max": test.most,
			"spillway.io/cloud-max": test.cloud,
		})
		t.Run(fmt.Sprint(annotations), func(t *testing.T) {
			_, err := policy.ParseShares(annotations)
			if test.want == "" {
				assert.NoError(t, err)
				return
			}
			assert.EqualError(t, err, test.want)
		})
	}
}

// The table of docs/guides/shares.md.
func TestHowManyReplicasRunWhere(t *testing.T) {
	const none = policy.NoCap
	for _, test := range []struct {
		share, least, most, cloud      string
		replicas                       int
		localFloor, localCap, cloudCap int
	}{
		{share: "1", replicas: 4, localCap: 1, cloudCap: none},
		{share: "30%", replicas: 1, localCap: 1, cloudCap: none},
		{share: "30%", replicas: 4, localCap: 2, cloudCap: none},
		{share: "30%", replicas: 10, localCap: 3, cloudCap: none},
		{share: "30%", least: "2", replicas: 1, localFloor: 2, localCap: 2, cloudCap: none},
		{share: "30%", least: "2", replicas: 10, localFloor: 2, localCap: 3, cloudCap: none},
		{share: "30%", most: "5", replicas: 100, localCap: 5, cloudCap: none},
		{least: "2", replicas: 10, localFloor: 2, localCap: none, cloudCap: none},
		{least: "5", most: "30%", replicas: 10, localFloor: 3, localCap: 3, cloudCap: none},
		{most: "3", replicas: 10, localCap: 3, cloudCap: none},
		{cloud: "3", replicas: 10, localCap: none, cloudCap: 3},
		{share: "30%", cloud: "70%", replicas: 4, localCap: 2, cloudCap: 2},
		{share: "1", cloud: "2", replicas: 10, localCap: 1, cloudCap: 2},
		{cloud: "50%", replicas: 1, localCap: none, cloudCap: 0},
	} {
		s := shares(t, present(map[string]string{
			"LOCAL_REPLICAS": test.share, "spillway.io/local-min": test.least, "spillway.io/local-max": test.most,
			"spillway.io/cloud-max": test.cloud,
		}))
		t.Run(fmt.Sprintf("%s of %d", s, test.replicas), func(t *testing.T) {
			assert.Equal(t, test.localFloor, s.LocalFloor(test.replicas), "local floor")
			assert.Equal(t, test.localCap, s.LocalCap(test.replicas), "local cap")
			assert.Equal(t, test.cloudCap, s.CloudCap(test.replicas), "cloud cap")
		})
	}
}

// What the ledger relies on.
func TestSharesGrowByOneAndNeverFall(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	amount := func() string {
		switch random.IntN(3) {
		case 0:
			return ""
		case 1:
			return fmt.Sprint(random.IntN(8))
		}
		return fmt.Sprintf("%d%%", random.IntN(101))
	}
	for range 5000 {
		s, err := policy.ParseShares(present(map[string]string{
			"LOCAL_REPLICAS": amount(), "spillway.io/local-min": amount(), "spillway.io/local-max": amount(),
			"spillway.io/cloud-max": amount(),
		}))
		if err != nil {
			continue
		}
		for replicas := range 40 {
			floor, limit, cloud := s.LocalFloor(replicas), s.LocalCap(replicas), s.CloudCap(replicas)
			require.LessOrEqual(t, floor, limit, s)
			for _, step := range [][2]int{
				{limit, s.LocalCap(replicas + 1)}, {floor, s.LocalFloor(replicas + 1)}, {cloud, s.CloudCap(replicas + 1)},
			} {
				require.GreaterOrEqual(t, step[1], step[0], "%s of %d", s, replicas)
				require.True(t, step[1]-step[0] <= 1, "%s of %d", s, replicas)
			}
			if s.LocalReplicas.Percent && s.CloudMax.Percent && !s.LocalMax.Set && !s.LocalMin.Set {
				require.GreaterOrEqual(t, limit+cloud, replicas, "%s leaves replicas that run nowhere", s)
			}
		}
	}
}

func TestTheNearestAnnotationCounts(t *testing.T) {
	const share, wait = "LOCAL_REPLICAS", "spillway.io/burst-after"
	pod := map[string]string{share: "1", "other": "x"}
	workload := map[string]string{share: "2", wait: "10s"}
	namespace := map[string]string{wait: "20s", "spillway.io/cloud-max": "3"}
	assert.Equal(t, map[string]string{share: "1", wait: "10s", "spillway.io/cloud-max": "3"},
		policy.Inherit(pod, workload, namespace))
	assert.Equal(t, map[string]string{share: "1", wait: "20s", "spillway.io/cloud-max": "3"},
		policy.Inherit(pod, nil, namespace))
	assert.Nil(t, policy.Inherit(map[string]string{"other": "x"}, nil, nil))
	copied := map[string]string{share: "1", "spillway.io/inherited": share}
	assert.Equal(t, map[string]string{share: "2"}, policy.Inherit(copied, map[string]string{share: "2"}, nil),
		"a copy gives way to what the workload says now")
	assert.Nil(t, policy.Inherit(copied, map[string]string{}, nil), "the workload no longer has it")
	assert.Equal(t, map[string]string{share: "1"}, policy.Inherit(copied, nil, nil),
		"the copy counts if the workload is not known")
}

func TestCopiesFollowTheWorkload(t *testing.T) {
	const share, wait, mark = "LOCAL_REPLICAS", "spillway.io/burst-after", "spillway.io/inherited"
	apply := func(pod, workload map[string]string) map[string]string {
		set, remove := policy.Copies(pod, workload)
		out := map[string]string{}
		for key, value := range pod {
			out[key] = value
		}
		for key, value := range set {
			out[key] = value
		}
		for _, key := range remove {
			delete(out, key)
		}
		set, remove = policy.Copies(out, workload)
		assert.Empty(t, set, "a second time changes nothing")
		assert.Empty(t, remove, "a second time changes nothing")
		return out
	}
	pod := apply(map[string]string{wait: "5s"}, map[string]string{share: "2", wait: "9s", "other": "x"})
	assert.Equal(t, map[string]string{wait: "5s", share: "2", mark: share}, pod, "what the Pod has itself stays")
	pod = apply(pod, map[string]string{share: "3"})
	assert.Equal(t, map[string]string{wait: "5s", share: "3", mark: share}, pod)
	pod = apply(pod, map[string]string{})
	assert.Equal(t, map[string]string{wait: "5s"}, pod)
	assert.Equal(t, map[string]string{}, apply(map[string]string{mark: "LOCAL_REPLICAS"}, nil), "a copied manifest")
	all := map[string]string{}
	for _, key := range policy.InheritedAnnotations() {
		all[key] = "1"
	}
	assert.Equal(t, strings.Join(policy.InheritedAnnotations(), ","), apply(nil, all)[mark])
}

func TestParseBurstAfter(t *testing.T) {
	for _, value := range []string{"", "90", "-1s", "24h0m1s", "soon", "1d"} {
		_, ok, err := policy.ParseBurstAfter(map[string]string{"spillway.io/burst-after": value})
		assert.True(t, ok)
		assert.EqualError(t, err, fmt.Sprintf(
			`spillway.io/burst-after: invalid value %q: must be a duration from 0s to 24h0m0s, such as "90s"`, value))
	}
	got, ok, err := policy.ParseBurstAfter(map[string]string{"spillway.io/burst-after": "1m30s"})
	require.NoError(t, err)
	assert.True(t, ok)
	assert.Equal(t, "1m30s", got.String())
}

func TestParseWayHome(t *testing.T) {
	for value, want := range map[string]bool{"true": true, "false": false} {
		got, ok, err := policy.ParseWayHome(map[string]string{"spillway.io/way-home": value})
		require.NoError(t, err)
		assert.True(t, ok)
		assert.Equal(t, want, got)
	}
	_, ok, err := policy.ParseWayHome(map[string]string{"spillway.io/way-home": "yes"})
	assert.True(t, ok)
	assert.EqualError(t, err, `spillway.io/way-home: invalid value "yes": must be "true" or "false"`)
}
