package main

import (
	"cmp"
	"errors"
	"fmt"
	"go/ast"
	"go/token"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// metric is one family of metrics.
type metric struct {
	name, kind, help string
	labels           []string
}

// metricsPage lists the metrics that the code constructs with the Prometheus client.
func metricsPage(m *module) (string, error) {
	found, err := m.metrics()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	begin(&b, "Metrics",
		"Each program serves its metrics at `/metrics` on its health port, with those of the Go runtime and "+
			"of the process (`go_*`, `process_*`). [Monitoring](../monitoring.md) says which to watch.")
	begins := func(prefix string) func(metric) bool {
		return func(one metric) bool { return strings.HasPrefix(one.name, prefix) }
	}
	for _, part := range []struct {
		title, intro string
		has          func(metric) bool
	}{
		{"extender", "", begins("spillway_extender_")},
		{"ledger of the extender", "", begins("spillway_ledger_")},
		{"admission", "", begins("spillway_admission_")},
		{"vnode", wrap("Each has the label `node`, the name of the virtual node. Those that begin with "+
			"`spillway_vnode_services_` are of the process and do not.") + "\n", begins("spillway_vnode_")},
		{"servers of all programs", "", begins("spillway_server_")},
		{"resource usage of Pods", wrap("The virtual node serves these at `/metrics/resource` "+
			"on the kubelet port, as a kubelet does. metrics-server reads them there.") + "\n", isResource},
		{"containers as cAdvisor shows them", wrap("The virtual node serves these at `/metrics/cadvisor` "+
			"on the kubelet port.") + "\n", isCAdvisor},
		{"the virtual node as a kubelet", wrap("The virtual node serves these at `/metrics` "+
			"on the kubelet port.") + "\n", begins("kubelet_")},
	} {
		var rows [][]string
		for _, f := range found {
			if part.has(f) {
				rows = append(rows, []string{code(f.name), f.kind, strings.Join(coded(f.labels), ", "), f.help})
			}
		}
		if len(rows) == 0 {
			return "", fmt.Errorf("no metric of %s is found", part.title)
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s%s", strings.ToUpper(part.title[:1])+part.title[1:], part.intro,
			table([]string{"Metric", "Type", "Labels", "Description"}, rows))
	}
	return b.String(), nil
}

// isCAdvisor reports whether a metric is one of cAdvisor: the kubelet has metrics of the same names and other labels.
func isCAdvisor(one metric) bool {
	return slices.Contains(one.labels, "image") || one.name == "container_scrape_error"
}

func isResource(one metric) bool {
	return !strings.HasPrefix(one.name, "spillway_") && !strings.HasPrefix(one.name, "kubelet_") && !isCAdvisor(one)
}

func coded(words []string) []string {
	var result []string
	for _, word := range words {
		result = append(result, code(word))
	}
	return result
}

var metricKinds = map[string]string{
	"CounterOpts": "counter", "GaugeOpts": "gauge", "HistogramOpts": "histogram", "SummaryOpts": "summary",
}

// template is a metric whose name or help depends on the parameters of the function that constructs it.
type template struct {
	parameters []string
	build      func(variables map[string]string) (metric, error)
}

// metrics returns all metrics by name.
func (m *module) metrics() ([]metric, error) {
	var result []metric
	var errs []error
	for _, p := range m.sorted() {
		templates := map[string]template{}
		for _, file := range p.files {
			walkFunctions(file, func(name string, function *ast.FuncType, node ast.Node) {
				call, ok := node.(*ast.CallExpr)
				if !ok {
					return
				}
				build := m.builder(p, call)
				if build == nil {
					return
				}
				one, err := build(nil)
				switch {
				case err == nil:
					result = append(result, one)
				case errors.Is(err, errNotConstant) && function != nil && name != "":
					templates[name] = template{parameters: parameterNames(function), build: build}
				default:
					errs = append(errs, fmt.Errorf("%s: %w", m.position(call), err))
				}
			})
		}
		used := map[string]bool{}
		for _, file := range p.files {
			ast.Inspect(file, func(node ast.Node) bool {
				call, ok := node.(*ast.CallExpr)
				if !ok {
					return true
				}
				t, ok := templates[exprText(call.Fun)]
				if !ok {
					return true
				}
				variables := map[string]string{}
				for i, argument := range call.Args {
					if value, err := p.eval(argument, nil); err == nil && i < len(t.parameters) {
						variables[t.parameters[i]] = value
					}
				}
				one, err := t.build(variables)
				if err != nil {
					errs = append(errs, fmt.Errorf("%s: %w", m.position(call), err))
					return true
				}
				result, used[exprText(call.Fun)] = append(result, one), true
				return true
			})
		}
		for name := range templates {
			if !used[name] {
				errs = append(errs, fmt.Errorf("%s: the metrics of %s have no name that can be read", p.dir, name))
			}
		}
	}
	slices.SortFunc(result, func(a, b metric) int {
		return cmp.Or(strings.Compare(a.name, b.name), cmp.Compare(len(a.labels), len(b.labels)))
	})
	errs = append(errs, m.unread(result)...)
	for i, one := range result {
		if one.help == "" {
			errs = append(errs, fmt.Errorf("metric %s has no help", one.name))
		}
		if i > 0 && result[i-1].name == one.name && isCAdvisor(result[i-1]) == isCAdvisor(one) {
			errs = append(errs, fmt.Errorf("metric %s is constructed twice", one.name))
		}
	}
	return result, errors.Join(errs...)
}

var metricName = regexp.MustCompile(`^spillway_[a-z_]+$`)

// unread finds names of metrics in the code that no constructor was read for: a form that the generator does not know
// must not go unnoticed. The beginning of a name that is put together counts as read.
func (m *module) unread(found []metric) []error {
	var errs []error
	for _, p := range m.sorted() {
		for _, file := range p.files {
			ast.Inspect(file, func(node ast.Node) bool {
				literal, ok := node.(*ast.BasicLit)
				if !ok || literal.Kind != token.STRING {
					return true
				}
				name, err := strconv.Unquote(literal.Value)
				if err != nil || !metricName.MatchString(name) {
					return true
				}
				if !slices.ContainsFunc(found, func(one metric) bool {
					return one.name == name || strings.HasSuffix(name, "_") && strings.HasPrefix(one.name, name)
				}) {
					errs = append(errs, fmt.Errorf("%s: metric %s is constructed in a form that cannot be read",
						m.position(literal), name))
				}
				return true
			})
		}
	}
	return errs
}

// builder returns how to read the metric that a call constructs, or nil if it constructs none.
func (m *module) builder(p *pkg, call *ast.CallExpr) func(map[string]string) (metric, error) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) == 0 {
		return nil
	}
	if exprText(selector) == "prometheus.NewDesc" {
		return func(variables map[string]string) (metric, error) {
			return m.desc(p, call, variables)
		}
	}
	// The constructors of prometheus and those of a promauto.Factory: both begin with the options.
	literal, ok := call.Args[0].(*ast.CompositeLit)
	if !ok || metricKinds[strings.TrimPrefix(exprText(literal.Type), "prometheus.")] == "" {
		return nil
	}
	return func(variables map[string]string) (metric, error) {
		one := metric{kind: metricKinds[strings.TrimPrefix(exprText(literal.Type), "prometheus.")]}
		for _, element := range literal.Elts {
			pair, ok := element.(*ast.KeyValueExpr)
			if !ok {
				return one, fmt.Errorf("options of a metric without names")
			}
			var err error
			switch exprText(pair.Key) {
			case "Name":
				one.name, err = p.eval(pair.Value, variables)
			case "Help":
				one.help, err = p.eval(pair.Value, variables)
			case "ConstLabels":
				one.labels, err = m.keys(p, pair.Value, variables)
			case "Namespace", "Subsystem":
				err = fmt.Errorf("write the full name of the metric instead of %s", exprText(pair.Key))
			}
			if err != nil {
				return one, err
			}
		}
		if len(call.Args) > 1 && strings.HasSuffix(selector.Sel.Name, "Vec") {
			labels, err := m.list(p, call.Args[1], variables)
			if err != nil {
				return one, err
			}
			one.labels = append(one.labels, labels...)
		}
		return one, nil
	}
}

// desc reads prometheus.NewDesc. Collectors that use it show gauges, except for the cumulative ones.
func (m *module) desc(p *pkg, call *ast.CallExpr, variables map[string]string) (metric, error) {
	if len(call.Args) != 4 {
		return metric{}, fmt.Errorf("prometheus.NewDesc without four arguments")
	}
	name, err := p.eval(call.Args[0], variables)
	if err != nil {
		return metric{}, err
	}
	help, err := p.eval(call.Args[1], variables)
	if err != nil {
		return metric{}, err
	}
	labels, err := m.list(p, call.Args[2], variables)
	if err != nil {
		return metric{}, err
	}
	one := metric{name: name, help: help, labels: labels, kind: "gauge"}
	if strings.HasSuffix(name, "_total") {
		one.kind = "counter"
	}
	return one, nil
}

// keys reads the keys of a literal map of constant labels.
func (m *module) keys(p *pkg, expr ast.Expr, variables map[string]string) ([]string, error) {
	literal, ok := expr.(*ast.CompositeLit)
	if !ok {
		return nil, fmt.Errorf("labels that are no literal")
	}
	var result []string
	for _, element := range literal.Elts {
		pair, ok := element.(*ast.KeyValueExpr)
		if !ok {
			return nil, fmt.Errorf("labels without names")
		}
		key, err := p.eval(pair.Key, variables)
		if err != nil {
			return nil, err
		}
		result = append(result, key)
	}
	return result, nil
}

// list reads a list of strings: a literal, nil, or a variable of the package that is set to a literal.
func (m *module) list(p *pkg, expr ast.Expr, variables map[string]string) ([]string, error) {
	switch e := expr.(type) {
	case *ast.Ident:
		if e.Name == "nil" {
			return nil, nil
		}
		if value := p.variable(e.Name); value != nil {
			return m.list(p, value, variables)
		}
	case *ast.CompositeLit:
		var result []string
		for _, element := range e.Elts {
			value, err := p.eval(element, variables)
			if err != nil {
				return nil, err
			}
			result = append(result, value)
		}
		return result, nil
	}
	return nil, fmt.Errorf("labels that are no literal")
}

// variable returns the value of a variable of the package.
func (p *pkg) variable(name string) ast.Expr {
	for _, file := range p.files {
		for _, decl := range file.Decls {
			general, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range general.Specs {
				values, ok := spec.(*ast.ValueSpec)
				if !ok {
					continue
				}
				for i, ident := range values.Names {
					if ident.Name == name && i < len(values.Values) {
						return values.Values[i]
					}
				}
			}
		}
	}
	return nil
}

// walkFunctions visits the nodes of a file with the function that they are in: its name, also where it is a literal
// that is assigned to a variable, and its type.
func walkFunctions(file *ast.File, visit func(name string, function *ast.FuncType, node ast.Node)) {
	var walk func(node ast.Node, name string, function *ast.FuncType)
	walk = func(root ast.Node, name string, function *ast.FuncType) {
		ast.Inspect(root, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				if n.Body != nil && ast.Node(n) != root {
					walk(n.Body, n.Name.Name, n.Type)
					return false
				}
			case *ast.AssignStmt:
				for i, value := range n.Rhs {
					if literal, ok := value.(*ast.FuncLit); ok && i < len(n.Lhs) {
						walk(literal.Body, exprText(n.Lhs[i]), literal.Type)
						return false
					}
				}
			}
			if node != nil {
				visit(name, function, node)
			}
			return true
		})
	}
	walk(file, "", nil)
}

func parameterNames(function *ast.FuncType) []string {
	var result []string
	for _, parameter := range function.Params.List {
		for _, name := range parameter.Names {
			result = append(result, name.Name)
		}
	}
	return result
}
