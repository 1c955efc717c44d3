package policy_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Decisions stay pure only as long as nothing that could read a clock, a cluster or a network can be reached from here.
func TestPolicyImportsOnlyTheStandardLibraryAndTheAPI(t *testing.T) {
	impure := []string{
		"context",
		"crypto/rand",
		"io/fs",
		"log",
		"math/rand",
		"net",
		"os",
		"sync",
		"syscall",
		"testing",
		"unsafe",
	}
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	more, err := filepath.Glob("sizes/*.go")
	require.NoError(t, err)
	require.NotEmpty(t, more)
	files = append(files, more...)
	checked := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		require.NoError(t, err)
		assert.Subset(t, []string{"Duration", "Hour", "ParseDuration", "RFC3339", "Time"}, ofTime(parsed),
			"%s reads a clock", file)
		checked++
		for _, spec := range parsed.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			require.NoError(t, err)
			assert.True(
				t,
				isStandard(path) || within(path, "k8s.io/api") || within(path, "k8s.io/apimachinery") ||
					path == "github.com/spillway-k8s/spillway/policy/sizes",
				"%s imports %s",
				file,
				path,
			)
			for _, tree := range impure {
				assert.False(t, within(path, tree), "%s imports %s", file, path)
			}
		}
	}
	assert.Greater(t, checked, 5)
}

// ofTime returns what a file uses of package time.
func ofTime(file *ast.File) []string {
	used := []string{}
	ast.Inspect(file, func(n ast.Node) bool {
		if selector, ok := n.(*ast.SelectorExpr); ok {
			if name, ok := selector.X.(*ast.Ident); ok && name.Name == "time" {
				used = append(used, selector.Sel.Name)
			}
		}
		return true
	})
	return used
}

// isStandard tells the standard library by its first element: no domain name.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}

func within(path, tree string) bool { return path == tree || strings.HasPrefix(path, tree+"/") }
