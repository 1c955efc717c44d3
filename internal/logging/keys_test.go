package logging

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/spillway-k8s/spillway/test/page/pagetest"
)

var update = flag.Bool("update", false, "write the table of the documentation")

func TestPage(t *testing.T) {
	var table strings.Builder
	table.WriteString("| key | value |\n|---|---|\n")
	for _, key := range Keys() {
		fmt.Fprintf(&table, "| `%s` | %s |\n", key.Name, key.Text)
	}
	pagetest.Check(t, "../../docs/operations.md", "./internal/logging -run TestPage", table.String(), *update)
}

// logMethods are the methods of loggers, with the place of the message among their arguments.
var logMethods = map[string]int{
	"Debug": 0, "Info": 0, "Warn": 0, "Error": 0,
	"DebugContext": 1, "InfoContext": 1, "WarnContext": 1, "ErrorContext": 1,
}

// otherReceivers have methods of these names that do not log.
var otherReceivers = []string{"http.Error", "Schedulers.Warn", "schedulers.Warn"}

// linter finds calls of loggers whose keys are not in Keys, or whose message varies.
type linter struct {
	fset *token.FileSet
	// used are the keys that were found.
	used   map[string]bool
	faults []string
}

func (l *linter) fault(at ast.Node, format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf("%s: ", l.fset.Position(at.Pos()))+fmt.Sprintf(format, args...))
}

func (l *linter) file(name string, source any) error {
	file, err := parser.ParseFile(l.fset, name, source, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if call, ok := n.(*ast.CallExpr); ok {
			l.call(call)
		}
		return true
	})
	return nil
}

func (l *linter) call(call *ast.CallExpr) {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return
	}
	receiver := lastName(selector.X)
	name := receiver + "." + selector.Sel.Name
	if receiver == "klog" || receiver == "log" && strings.HasPrefix(selector.Sel.Name, "Print") {
		l.fault(call, "%s does not log with slog", name)
		return
	}
	if receiver == "logger" || receiver == "Logger" {
		switch selector.Sel.Name {
		case "Debugf", "Infof", "Warnf", "Errorf":
			l.fault(call, "%s has a format string", name)
		case "With":
			l.keys(call, call.Args)
		}
	}
	message, ok := logMethods[selector.Sel.Name]
	if !ok || len(call.Args) <= message || slices.Contains(otherReceivers, name) {
		return
	}
	if text, ok := constant(call.Args[message]); !ok || strings.Contains(text, "%") {
		l.fault(call, "the message of %s must be a constant text without verbs: what varies is a key", name)
	}
	l.keys(call, call.Args[message+1:])
}

// keys checks the arguments after a message: pairs of a key and a value, and attributes of this package.
func (l *linter) keys(call *ast.CallExpr, args []ast.Expr) {
	for len(args) > 0 {
		if attr, ok := args[0].(*ast.CallExpr); ok {
			l.attribute(attr)
			args = args[1:]
			continue
		}
		if len(args) == 1 {
			l.fault(call, "a key has no value")
			return
		}
		l.key(args[0])
		args = args[2:]
	}
}

// attribute checks a call that returns an attribute: Pod or Object, or a method that returns one of them.
func (l *linter) attribute(attr *ast.CallExpr) {
	selector, ok := attr.Fun.(*ast.SelectorExpr)
	switch {
	case ok && lastName(selector.X) == "logging" && selector.Sel.Name == "Pod":
		l.used["namespace"], l.used["pod"], l.used["uid"] = true, true, true
	case ok && lastName(selector.X) == "logging" && selector.Sel.Name == "Object":
		l.used["namespace"] = true
		l.key(attr.Args[0])
	case ok && selector.Sel.Name == "logged":
	default:
		l.fault(attr, "the keys of an attribute must come from logging.Pod, logging.Object or a method logged")
	}
}

func (l *linter) key(expression ast.Expr) {
	key, ok := constant(expression)
	if !ok || !slices.ContainsFunc(Keys(), func(k Key) bool { return k.Name == key }) {
		l.fault(expression, "the key %q is not in logging.Keys", key)
		return
	}
	l.used[key] = true
}

// lastName returns the last identifier of an expression such as c.config.Logger.
func lastName(expression ast.Expr) string {
	switch e := expression.(type) {
	case *ast.Ident:
		return e.Name
	case *ast.SelectorExpr:
		return e.Sel.Name
	}
	return ""
}

// constant returns the text of a string, or of a sum of strings.
func constant(expression ast.Expr) (text string, ok bool) {
	switch e := expression.(type) {
	case *ast.BasicLit:
		text, err := strconv.Unquote(e.Value)
		return text, err == nil && e.Kind == token.STRING
	case *ast.BinaryExpr:
		left, okLeft := constant(e.X)
		right, okRight := constant(e.Y)
		return left + right, okLeft && okRight
	}
	return "", false
}

func TestEveryLogCallHasKeysOfTheListAndAConstantMessage(t *testing.T) {
	l := &linter{fset: token.NewFileSet(), used: map[string]bool{}}
	lint := func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") ||
			filepath.Dir(path) == "../../internal/logging" { // The adapters of libraries pass what they get.
			return err
		}
		return l.file(path, nil)
	}
	for _, dir := range []string{"extender", "admission", "vnode", "proxy", "internal"} {
		require.NoError(t, filepath.WalkDir(filepath.Join("../..", dir), lint))
	}
	assert.Empty(t, l.faults)
	ast.Inspect(parse(t, l.fset, "../../proxy/forward/forward.go"), func(n ast.Node) bool { // The method logged.
		if call, ok := n.(*ast.CallExpr); ok && lastName(call.Fun) == "Object" {
			l.attribute(call)
		}
		return true
	})
	for _, key := range Keys() {
		assert.True(t, l.used[key.Name], "no program logs the key %s", key.Name)
	}
}

func parse(t *testing.T, fset *token.FileSet, name string) *ast.File {
	t.Helper()
	file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
	require.NoError(t, err)
	return file
}

func TestTheLinterFindsFaults(t *testing.T) {
	for call, want := range map[string]string{
		`logger.Info("a", "pod", p)`:                                 "",
		`c.Logger.WarnContext(ctx, "a "+"b", "err", err)`:            "",
		`logger.Info("a", logging.Pod(a, b, c), "reason", r)`:        "",
		`logger.Info("a", logging.Object("lease", a, b))`:            "",
		`s.Logger.Info("a", p.service.logged(), "err", err)`:         "",
		`http.Error(w, "a", 400)`:                                    "",
		`err.Error()`:                                                "",
		`fmt.Errorf("%w", err)`:                                      "",
		`logger.Info("a", "thing", p)`:                               `"thing" is not in logging.Keys`,
		`logger.Info("a", key, p)`:                                   "is not in logging.Keys",
		`logger.Info("a", logging.Object("thing", a, b))`:            `"thing" is not in logging.Keys`,
		`logger.Info("a", slog.String("pod", a))`:                    "must come from logging.Pod",
		`logger.Info("a", "pod")`:                                    "a key has no value",
		`logger.Info("a %d", "pods", 1)`:                             "a constant text without verbs",
		`logger.Info(fmt.Sprintf("a %d", 1))`:                        "a constant text without verbs",
		`slog.Error("a " + err.Error())`:                             "a constant text without verbs",
		`logger.Infof("a %d", 1)`:                                    "has a format string",
		`logger.With("thing", 1)`:                                    `"thing" is not in logging.Keys`,
		`log.Printf("a %d", 1)`:                                      "does not log with slog",
		`klog.Info("a")`:                                             "does not log with slog",
		`c.logs.Do(func() { c.Logger.Warn("a", "no such key", 1) })`: "is not in logging.Keys",
	} {
		l := &linter{fset: token.NewFileSet(), used: map[string]bool{}}
		require.NoError(t, l.file("a.go", "package a\nfunc f() { "+call+" }"), call)
		if want == "" {
			assert.Empty(t, l.faults, call)
			continue
		}
		assert.Contains(t, strings.Join(l.faults, "\n"), want, call)
	}
}
