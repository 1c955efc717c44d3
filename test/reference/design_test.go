package main

import (
	"go/ast"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The architecture page names every package of the programs by the last element of its path.
func TestTheArchitecturePageNamesEachPackage(t *testing.T) {
	m, err := parseModule(root)
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(root, "docs/design.md"))
	require.NoError(t, err)
	_, block, found := strings.Cut(string(content), "## Packages")
	require.True(t, found)
	block, _, _ = strings.Cut(block, "\n## ")
	for _, p := range m.sorted() {
		name := path.Base(p.dir)
		if name == "integration" || strings.HasSuffix(name, "test") {
			continue
		}
		assert.True(t, names(block, name), "docs/design.md does not name %s", p.dir)
	}
}

// The architecture page follows a Pod through the code. What it names must exist.
func TestTheWayOfAPodNamesFunctionsThatExist(t *testing.T) {
	m, err := parseModule(root)
	require.NoError(t, err)
	content, err := os.ReadFile(filepath.Join(root, "docs/design.md"))
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "## A Pod's way through the code")
	require.True(t, found)
	section, _, _ = strings.Cut(section, "\n## ")
	named := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.Contains(cells[2], "`") {
			continue
		}
		p := m.packages[strings.Trim(cells[2], " `")]
		if !assert.NotNil(t, p, cells[2]) {
			continue
		}
		for function := range strings.SplitSeq(cells[3], ",") {
			named++
			assert.True(t, p.declares(strings.Trim(function, " `")), "%s has no function %s", p.dir, function)
		}
	}
	assert.Greater(t, named, 15)
}

// declares reports whether the package has a function, a method, or a method of an interface of that name.
func (p *pkg) declares(name string) bool {
	found := false
	for _, file := range p.files {
		ast.Inspect(file, func(node ast.Node) bool {
			switch n := node.(type) {
			case *ast.FuncDecl:
				found = found || n.Name.Name == name
			case *ast.InterfaceType:
				for _, method := range n.Methods.List {
					found = found || len(method.Names) == 1 && method.Names[0].Name == name
				}
			}
			return true
		})
	}
	return found
}
