package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// handwritten returns the pages that people write, without the changelog, which names what is gone.
func handwritten(t *testing.T) map[string]string {
	t.Helper()
	pages, err := readPages(root)
	require.NoError(t, err)
	for path, content := range pages {
		if strings.HasPrefix(content, "<!-- Generated") || path == "CHANGELOG.md" {
			delete(pages, path)
		}
	}
	require.NotEmpty(t, pages)
	return pages
}

// mentioned fails the test for each match of the expression in a page whose first group is not known.
func mentioned(t *testing.T, pages map[string]string, expression string, known func(name string) bool) {
	t.Helper()
	found := 0
	for path, content := range pages {
		for _, match := range regexp.MustCompile(expression).FindAllStringSubmatch(content, -1) {
			found++
			assert.True(t, known(match[1]), "%s names %s, which does not exist", path, match[1])
		}
	}
	assert.NotZero(t, found)
}

func TestMetricsThatPagesAndDashboardsNameExist(t *testing.T) {
	m, err := parseModule(root)
	require.NoError(t, err)
	metrics, err := m.metrics()
	require.NoError(t, err)
	exists := map[string]bool{}
	for _, one := range metrics {
		exists[one.name] = true
		if one.kind == "histogram" {
			exists[one.name+"_bucket"], exists[one.name+"_sum"], exists[one.name+"_count"] = true, true, true
		}
	}
	pages := handwritten(t)
	dashboards, err := filepath.Glob(filepath.Join(root, "charts/*/dashboards/*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, dashboards)
	for _, name := range dashboards {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		pages[name] = string(content)
	}
	mentioned(t, pages, `\b(spillway_(?:extender|ledger|admission|vnode)_[a-z_]+[a-z])\b`,
		func(name string) bool { return exists[name] })
}

func TestFieldsThatPagesNameExist(t *testing.T) {
	m, err := parseModule(root)
	require.NoError(t, err)
	exists := map[string]bool{}
	for _, p := range programs() {
		if p.dir == "" {
			continue
		}
		fields, err := m.fields(m.packages[p.dir], "Config", "")
		require.NoError(t, err)
		for _, f := range fields {
			for path := f.path; path != ""; path = path[:max(strings.LastIndex(path, "."), 0)] {
				exists[strings.TrimSuffix(path, "[]")] = true
			}
		}
	}
	const field = "`(?:vnode\\.)?((?:cci|pods|soldOut|usage|kube|policy)\\.[a-z][a-zA-Z0-9.]*)(?::[^`]*)?`"
	mentioned(t, handwritten(t), field,
		func(path string) bool { return exists[path] })
}

// Pages name the tests of what they promise: functions, and cases of decisions (policy/testdata).
func TestTestsThatPagesNameExist(t *testing.T) {
	exists := map[string]bool{}
	function := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	require.NoError(t, walk(root, func(name, _ string) error {
		if decision, ok := strings.CutSuffix(filepath.Base(name), ".input.yaml"); ok {
			exists[decision] = true
		}
		if !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		content, err := os.ReadFile(name)
		for _, match := range function.FindAllSubmatch(content, -1) {
			exists[string(match[1])] = true
		}
		return err
	}))
	mentioned(t, handwritten(t), "`(Test[A-Z]\\w*|beside-[a-z-]+)`", func(name string) bool { return exists[name] })
}
