package main

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// alert is an alerting rule of Prometheus.
type alert struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func readAlerts(t *testing.T) []alert {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "charts/spillway/rules/spillway.yaml"))
	require.NoError(t, err)
	var file struct {
		Groups []struct {
			Name  string  `json:"name"`
			Rules []alert `json:"rules"`
		} `json:"groups"`
	}
	require.NoError(t, yaml.UnmarshalStrict(content, &file))
	var all []alert
	for _, group := range file.Groups {
		all = append(all, group.Rules...)
	}
	require.NotEmpty(t, all)
	return all
}

// runbooks returns the pages by their names.
func runbooks(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "docs/runbooks/*.md"))
	require.NoError(t, err)
	pages := map[string]string{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		pages[strings.TrimSuffix(filepath.Base(file), ".md")] = string(content)
	}
	return pages
}

func TestEachAlertAndEachConditionHasARunbook(t *testing.T) {
	pages, wanted := runbooks(t), map[string]bool{}
	for _, a := range readAlerts(t) {
		assert.Contains(t, []string{"critical", "warning", "info"}, a.Labels["severity"], a.Alert)
		assert.NotEmpty(t, a.Annotations["summary"], a.Alert)
		assert.NotEmpty(t, a.Annotations["description"], a.Alert)
		assert.Equal(t, "https://github.com/spillway-k8s/spillway/blob/main/docs/runbooks/"+a.Alert+".md",
			a.Annotations["runbook_url"])
		assert.False(t, wanted[a.Alert], "%s is there twice", a.Alert)
		wanted[a.Alert] = true
	}
	m, err := parseModule(root)
	require.NoError(t, err)
	conditions := 0
	for _, p := range m.sorted() {
		for _, c := range p.consts() {
			if kindOf(c) == "condition" {
				conditions++
				wanted[c.value[strings.LastIndex(c.value, "/")+1:]] = true
			}
		}
	}
	assert.GreaterOrEqual(t, conditions, 6)
	list, err := os.ReadFile(filepath.Join(root, "docs/monitoring.md"))
	require.NoError(t, err)
	for name := range wanted {
		assert.Contains(t, string(list), "(runbooks/"+name+".md)", "the list of runbooks")
		assert.Regexp(t, `(?s)^# (spillway\.io/)?`+name+`\n\n## Meaning\n\n\S.*\n## What users notice\n\n\S.*`+
			`\n## Confirm\n\n\S.*\n## Do\n\n\S`, pages[name], name)
	}
	for name := range pages {
		assert.True(t, wanted[name], "docs/runbooks/%s.md is of no alert and of no condition", name)
	}
}

// panel is a panel of a dashboard of Grafana.
type panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Targets     []struct {
		Expr string `json:"expr"`
	} `json:"targets"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
}

type dashboard struct {
	UID        string  `json:"uid"`
	Title      string  `json:"title"`
	Panels     []panel `json:"panels"`
	Templating struct {
		List []struct {
			Name  string `json:"name"`
			Type  string `json:"type"`
			Query any    `json:"query"`
		} `json:"list"`
	} `json:"templating"`
}

func readDashboards(t *testing.T) map[string]dashboard {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(root, "charts/spillway/dashboards/*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	all := map[string]dashboard{}
	for _, file := range files {
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		var d dashboard
		require.NoError(t, json.Unmarshal(content, &d), file)
		all[filepath.Base(file)] = d
	}
	return all
}

var variable = regexp.MustCompile(`\$\{?(\w+)`)

func TestEachPanelHasATitleAUnitAndADescription(t *testing.T) {
	uids := map[string]bool{}
	for name, d := range readDashboards(t) {
		assert.NotEmpty(t, d.Title, name)
		assert.False(t, uids[d.UID], "%s: the uid %s is used twice", name, d.UID)
		uids[d.UID] = true
		known := map[string]bool{"__rate_interval": true, "__range": true}
		for _, v := range d.Templating.List {
			known[v.Name] = true
		}
		ids := map[int]bool{}
		for _, p := range d.Panels {
			where := fmt.Sprintf("%s: %s", name, p.Title)
			assert.NotEmpty(t, p.Title, where)
			assert.False(t, ids[p.ID], "%s: the id %d is used twice", where, p.ID)
			ids[p.ID] = true
			if p.Type == "row" {
				continue
			}
			assert.NotEmpty(t, p.Description, where)
			assert.NotEmpty(t, p.FieldConfig.Defaults.Unit, where)
			assert.NotEmpty(t, p.Targets, where)
			for _, target := range p.Targets {
				for _, used := range variable.FindAllStringSubmatch(target.Expr, -1) {
					assert.True(t, known[used[1]], "%s: the variable %s is not defined", where, used[1])
				}
			}
		}
	}
}

// expressions returns what alerts and dashboards ask Prometheus for, by where it is.
func expressions(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, a := range readAlerts(t) {
		all["alert "+a.Alert] = a.Expr
	}
	for name, d := range readDashboards(t) {
		for _, v := range d.Templating.List {
			if v.Type == "query" {
				all[name+", variable "+v.Name] = fmt.Sprint(v.Query)
			}
		}
		for _, p := range d.Panels {
			for i, target := range p.Targets {
				all[fmt.Sprintf("%s, panel %s, query %d", name, p.Title, i)] = target.Expr
			}
		}
	}
	return all
}

var (
	selector = regexp.MustCompile(`\b(spillway_[a-z_]+[a-z])\b(\{[^}]*\})?`)
	matcher  = regexp.MustCompile(`(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"`)
	grouping = regexp.MustCompile(`\b(?:by|without)\s*\(([^)]*)\)`)
	plain    = regexp.MustCompile(`^[A-Za-z_]+$`)
)

// literals returns the string literals of the programs. Values of labels are among them.
func (m *module) literals() map[string]bool {
	found := map[string]bool{}
	for _, p := range m.sorted() {
		for _, file := range p.files {
			ast.Inspect(file, func(node ast.Node) bool {
				if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
					if value, err := strconv.Unquote(literal.Value); err == nil {
						found[value] = true
					}
				}
				return true
			})
		}
	}
	return found
}

// labelsOf returns the labels that a metric has in Prometheus, nil if it does not exist.
func labelsOf(metrics map[string]metric, name string) []string {
	one, ok := metrics[name]
	bucket := false
	if !ok {
		base := name
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			base = strings.TrimSuffix(base, suffix)
		}
		if one, ok = metrics[base]; !ok || one.kind != "histogram" {
			return nil
		}
		bucket = strings.HasSuffix(name, "_bucket")
	}
	labels := slices.Concat(one.labels, []string{"job", "instance", "pod"}) // Those of the target.
	if strings.HasPrefix(name, "spillway_vnode_") && !strings.HasPrefix(name, "spillway_vnode_services_") {
		labels = append(labels, "node")
	}
	if bucket {
		labels = append(labels, "le")
	}
	return labels
}

// Most metrics are not exposed before their first event, so a running program does not show all of them. promtool
// parses the expressions (test/monitoring). Here their names and values are compared with the code.
func TestExpressionsUseMetricsLabelsAndValuesThatExist(t *testing.T) {
	m, err := parseModule(root)
	require.NoError(t, err)
	list, err := m.metrics()
	require.NoError(t, err)
	metrics, values := map[string]metric{}, m.literals()
	for _, one := range list {
		metrics[one.name] = one
	}
	used := map[string]bool{}
	for where, expr := range expressions(t) {
		var labels []string
		for _, found := range selector.FindAllStringSubmatch(expr, -1) {
			used[found[1]] = true
			own := labelsOf(metrics, found[1])
			if !assert.NotNil(t, own, "%s: there is no metric %s", where, found[1]) {
				continue
			}
			labels = append(labels, own...)
			for _, pair := range matcher.FindAllStringSubmatch(found[2], -1) {
				assert.Contains(t, own, pair[1], "%s: label of %s", where, found[1])
				for value := range strings.SplitSeq(pair[2], "|") {
					assert.True(t, !plain.MatchString(value) || values[value], "%s: the value %s", where, value)
				}
			}
		}
		for _, group := range grouping.FindAllStringSubmatch(expr, -1) {
			for label := range strings.SplitSeq(group[1], ",") {
				assert.Contains(t, labels, strings.TrimSpace(label), where)
			}
		}
	}
	assert.Greater(t, len(used), 25)
}
