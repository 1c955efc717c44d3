package server

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

func TestScoresAreEncodedAsPackageJSONDoes(t *testing.T) {
	for name, scores := range map[string]extenderv1.HostPriorityList{
		"no list":               nil,
		"an empty list":         {},
		"one node":              {{Host: "node-1.example.com", Score: 10}},
		"some nodes":            {{Host: "a", Score: 0}, {Host: "b", Score: -3}, {Host: "", Score: 1 << 62}},
		"a name with an escape": {{Host: "a", Score: 1}, {Host: "b\"\\\n", Score: 2}},
		"a name with UTF-8":     {{Host: "é\u2028", Score: 1}},
		"a name that is broken": {{Host: "a\xff", Score: 1}},
	} {
		t.Run(name, func(t *testing.T) { sameAsPackageJSON(t, scores) })
	}
}

func FuzzEncodeScores(f *testing.F) {
	f.Add("node-1", int64(10), "virtual.0", int64(0))
	f.Add("\"", int64(-1), "\x00", int64(3))
	f.Fuzz(func(t *testing.T, a string, scoreA int64, b string, scoreB int64) {
		sameAsPackageJSON(t, extenderv1.HostPriorityList{{Host: a, Score: scoreA}, {Host: b, Score: scoreB}})
	})
}

func sameAsPackageJSON(t *testing.T, scores extenderv1.HostPriorityList) {
	t.Helper()
	want, err := json.Marshal(scores)
	require.NoError(t, err)
	if got, ok := encodeScores(scores); ok {
		assert.Equal(t, string(want), string(got))
	}
}

func TestNamesOfNodesNeedNoEscapes(t *testing.T) {
	_, ok := encodeScores(extenderv1.HostPriorityList{{Host: "node-1.example.com"}, {Host: "virtual-0"}})
	assert.True(t, ok)
	for _, name := range []string{"a\"", "a\\", "a\n", "<a>", "é", "a\xff"} {
		_, ok := encodeScores(extenderv1.HostPriorityList{{Host: "node-1"}, {Host: name}})
		assert.False(t, ok, name)
	}
}

// BenchmarkScores encodes the answer to prioritize for 1,000 nodes.
func BenchmarkScores(b *testing.B) {
	var scores extenderv1.HostPriorityList
	for i := range 1000 {
		scores = append(scores, extenderv1.HostPriority{Host: fmt.Sprintf("node-%d.example.com", i), Score: 10})
	}
	b.Run("ours", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, ok := encodeScores(scores); !ok {
				b.Fatal("not encoded")
			}
		}
	})
	b.Run("package json", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := json.Marshal(scores); err != nil {
				b.Fatal(err)
			}
		}
	})
}
