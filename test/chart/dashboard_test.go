package chart

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// stringLiterals returns the string literals in the programs' sources that could be the name of a metric.
func stringLiterals(t *testing.T) map[string]bool {
	t.Helper()
	literal, found := regexp.MustCompile(`"([a-z][a-z_]*)"`), map[string]bool{}
	for _, program := range []string{"extender", "admission", "vnode"} {
		require.NoError(t, filepath.WalkDir("../../"+program, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, match := range literal.FindAllStringSubmatch(string(source), -1) {
				found[match[1]] = true
			}
			return err
		}))
	}
	return found
}

// TestTheDashboardShowsMetricsThatExist searches the sources for each name. Most metrics are not exposed before their
// first event, so a running program would not show them.
func TestTheDashboardShowsMetricsThatExist(t *testing.T) {
	content, err := os.ReadFile(spillway + "/dashboards/spillway.json")
	require.NoError(t, err)
	require.True(t, json.Valid(content))
	known, shown := stringLiterals(t), map[string]bool{}
	for _, name := range regexp.MustCompile(`spillway_[a-z_]+`).FindAllString(string(content), -1) {
		shown[strings.TrimSuffix(name, "_bucket")] = true
	}
	assert.Greater(t, len(shown), 15)
	for name := range shown {
		ledger, ofLedger := strings.CutPrefix(name, "spillway_ledger_") // Their names are composed of two literals.
		assert.True(t, known[name] || (ofLedger && known["spillway_ledger_"] && known[ledger]), name)
	}
}
