package main

import (
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
