package monitoring

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"

	"github.com/spillway-k8s/spillway/test/system"
)

const (
	rulesFile  = "../../charts/spillway/rules/spillway.yaml"
	dashboards = "../../charts/spillway/dashboards/*.json"
	unitTests  = "testdata/rules.yaml"
)

// program returns the path of prometheus or promtool.
func program(t *testing.T, name string) string {
	t.Helper()
	bin, err := system.FindBinDir()
	require.NoError(t, err)
	path := filepath.Join(bin, name)
	require.FileExists(t, path, "run test/monitoring/prometheus.sh %s", bin)
	return path
}

func promtool(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), program(t, "promtool"), args...).CombinedOutput()
	require.NoError(t, err, string(out))
}

// alertNames returns the names of the alerts.
func alertNames(t *testing.T) (names []string) {
	t.Helper()
	content, err := os.ReadFile(rulesFile)
	require.NoError(t, err)
	for _, match := range regexp.MustCompile(`(?m)^ *- alert: (\w+)$`).FindAllStringSubmatch(string(content), -1) {
		names = append(names, match[1])
	}
	require.NotEmpty(t, names)
	return names
}

func TestAlertsFireAndDoNotFire(t *testing.T) {
	promtool(t, "check", "rules", rulesFile)
	promtool(t, "test", "rules", unitTests)
	content, err := os.ReadFile(unitTests)
	require.NoError(t, err)
	var file struct {
		Tests []struct {
			Alerts []struct {
				Name     string `json:"alertname"`
				Expected []any  `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		} `json:"tests"`
	}
	require.NoError(t, yaml.Unmarshal(content, &file))
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, a := range test.Alerts {
			fires[a.Name] = fires[a.Name] || len(a.Expected) > 0
			quiet[a.Name] = quiet[a.Name] || len(a.Expected) == 0
		}
	}
	for _, name := range alertNames(t) {
		assert.True(t, fires[name], "no test in which %s fires", name)
		assert.True(t, quiet[name], "no test in which %s does not fire", name)
	}
}

var (
	interval = regexp.MustCompile(`\$__(rate_interval|range)`)
	variable = regexp.MustCompile(`\$\w+`)
)

// queries returns the expressions of the dashboards, by where they are, as Grafana sends them for one choice.
func queries(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(dashboards)
	require.NoError(t, err)
	all := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var d struct {
			Panels []struct {
				Title   string `json:"title"`
				Targets []struct {
					Expr string `json:"expr"`
				} `json:"targets"`
			} `json:"panels"`
		}
		require.NoError(t, json.Unmarshal(content, &d), file)
		for _, p := range d.Panels {
			for i, target := range p.Targets {
				expr := variable.ReplaceAllString(interval.ReplaceAllString(target.Expr, "5m"), ".+")
				all[fmt.Sprintf("%s, %s, %d", filepath.Base(file), p.Title, i)] = expr
			}
		}
	}
	require.NotEmpty(t, all)
	return all
}

// promtool has no command that parses one expression, so each becomes a recording rule.
func TestExpressionsOfDashboardsAreValid(t *testing.T) {
	var rules []map[string]any
	for where, expr := range queries(t) {
		rules = append(rules, map[string]any{
			"record": fmt.Sprintf("query_%d", len(rules)), "expr": expr, "labels": map[string]string{"panel": where},
		})
	}
	check := func(rules []map[string]any) (string, error) {
		group := map[string]any{"name": "dashboards", "rules": rules}
		content, err := yaml.Marshal(map[string]any{"groups": []any{group}})
		require.NoError(t, err)
		file := filepath.Join(t.TempDir(), "rules.yaml")
		require.NoError(t, os.WriteFile(file, content, 0o600))
		out, err := exec.CommandContext(t.Context(), program(t, "promtool"), "check", "rules", file).CombinedOutput()
		return string(out), err
	}
	out, err := check(rules)
	require.NoError(t, err, out)
	rules[0]["expr"] = "sum(spillway_ledger_pods"
	_, err = check(rules)
	assert.Error(t, err, "an expression without its last parenthesis is noticed")
}
