package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const root = "../.."

// A page that is out of date fails here. Pages fails if a flag, a field, a metric, a reason, a condition, a key or a
// Helm value has no description.
func TestPagesAreCurrent(t *testing.T) {
	pages, err := Pages(root)
	require.NoError(t, err)
	for _, page := range pages {
		content, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(page.Path)))
		if assert.NoError(t, err) {
			assert.Equal(t, page.Text, string(content), "run go run ./test/reference")
		}
	}
}

func TestPagesAreTheSameEachTime(t *testing.T) {
	first, err := Pages(root)
	require.NoError(t, err)
	second, err := Pages(root)
	require.NoError(t, err)
	assert.Equal(t, first, second)
}

func TestEveryLinkLeadsSomewhere(t *testing.T) {
	broken, err := brokenLinks(root)
	require.NoError(t, err)
	assert.Empty(t, broken)
}

func TestCommentsNamePagesThatExist(t *testing.T) {
	broken, err := brokenMentions(root)
	require.NoError(t, err)
	assert.Empty(t, broken)
}

func TestBrokenLinksAreFound(t *testing.T) {
	dir := t.TempDir()
	other := []byte("# The `other` page\n\n## Same\n\n## Same\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "other.md"), other, 0o644))
	page := strings.Join([]string{
		"[file](other.md) [heading](other.md#the-other-page) [second](other.md#same-1) [own](#own)",
		"[site](https://example.com/#x) `[code](gone.md)`",
		"```", "[block](gone.md)", "```",
		"[gone](gone.md) [nowhere](other.md#nowhere) [not here](#nowhere)", "## Own", "",
	}, "\n")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "page.md"), []byte(page), 0o644))
	broken, err := brokenLinks(dir)
	require.NoError(t, err)
	assert.ElementsMatch(t, []string{
		"page.md: gone.md: there is no such file",
		"page.md: other.md#nowhere: the page has no such heading",
		"page.md: #nowhere: the page has no such heading",
	}, broken)
}

// moduleOf parses one file as the package policy.
func moduleOf(t *testing.T, source string) *module {
	t.Helper()
	m := &module{fset: token.NewFileSet(), packages: map[string]*pkg{}}
	file, err := parser.ParseFile(m.fset, "file.go", "package policy\n"+source, parser.ParseComments)
	require.NoError(t, err)
	m.packages["policy"] = &pkg{dir: "policy", files: []*ast.File{file}, constants: map[string]string{}}
	m.packages["policy"].findConstants()
	return m
}

func TestMetricsAreRead(t *testing.T) {
	found, err := moduleOf(t, `
const prefix = "spillway_"
var labels = []string{"verb", "outcome"}
func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}
func all() {
	gauge := func(name string) *prometheus.Desc {
		return prometheus.NewDesc(prefix+name, "Help of "+name+".", labels, nil)
	}
	gauge("pods")
	counter("spillway_lost_total", "Pods "+"lost.")
	prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: prefix+"seconds", Help: "Time."}, []string{"operation"})
	promauto.With(registerer).NewGauge(prometheus.GaugeOpts{Name: "spillway_auto", Help: "Gauge."})
}`).metrics()
	require.NoError(t, err)
	assert.Equal(t, []metric{
		{name: "spillway_auto", kind: "gauge", help: "Gauge."},
		{name: "spillway_lost_total", kind: "counter", help: "Pods lost."},
		{name: "spillway_pods", kind: "gauge", help: "Help of pods.", labels: []string{"verb", "outcome"}},
		{name: "spillway_seconds", kind: "histogram", help: "Time.", labels: []string{"operation"}},
	}, found)
}

func TestMetricsThatCannotBeReadAreErrors(t *testing.T) {
	for name, test := range map[string]struct{ source, want string }{
		"a metric has no help": {
			source: `var m = prometheus.NewGauge(prometheus.GaugeOpts{Name: "spillway_pods"})`,
			want:   "metric spillway_pods has no help",
		},
		"a name is the result of a call": {
			source: `var m = prometheus.NewGauge(prometheus.GaugeOpts{Name: name(), Help: "Pods."})`,
			want:   "not a constant string",
		},
		"two metrics have one name": {
			source: `var a = prometheus.NewGauge(prometheus.GaugeOpts{Name: "x", Help: "X."})
var b = prometheus.NewGauge(prometheus.GaugeOpts{Name: "x", Help: "X."})`,
			want: "metric x is constructed twice",
		},
		"a metric has a form that is not known": {
			source: `var options = "spillway_other_total"`,
			want:   "metric spillway_other_total is constructed in a form that cannot be read",
		},
		"a constructor is not used": {
			source: `func gauge(n string) { prometheus.NewGauge(prometheus.GaugeOpts{Name: n, Help: "X."}) }`,
			want:   "the metrics of gauge have no name",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := moduleOf(t, test.source).metrics()
			assert.ErrorContains(t, err, test.want)
		})
	}
}

func TestFieldsAreRead(t *testing.T) {
	m := moduleOf(t, `
type Config struct {
	// CertFile and KeyFile are files. CertFile may be empty.
	CertFile string `+"`json:\"certFile\"`"+`
	KeyFile  string `+"`json:\"keyFile\"`"+`
	// Pods is the part for Pods.
	Pods Part `+"`json:\"pods\"`"+`
	secret string
}
type Part struct {
	// Modes are burst modes. Default none.
	Modes []Mode `+"`json:\"modes\"`"+`
}
type Mode string`)
	fields, err := m.fields(m.packages["policy"], "Config", "")
	require.NoError(t, err)
	assert.Equal(t, []field{
		{"certFile", "string", "`certFile` and `keyFile` are files. `certFile` may be empty."},
		{"keyFile", "string", "`certFile` and `keyFile` are files. `certFile` may be empty."},
		{"pods.modes", "list of strings", "`modes` are burst modes. Default none."},
	}, fields)
}

func TestFieldsWithoutACommentAreErrors(t *testing.T) {
	m := moduleOf(t, "type Config struct {\n// A is one.\nA string `json:\"a\"`\nB string `json:\"b\"`\n}")
	_, err := m.fields(m.packages["policy"], "Config", "")
	assert.ErrorContains(t, err, "field B has no comment that names it")
}

func TestReasonsWithoutACommentAreErrors(t *testing.T) {
	_, err := reasonsPage(moduleOf(t, "const ReasonX Reason = \"SomeReason\""))
	assert.ErrorContains(t, err, "constant ReasonX has no comment that names it")
}
