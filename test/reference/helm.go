package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// helmPage repeats the tables that helm-docs makes of the comments in values.yaml (make charts).
func helmPage(m *module) (string, error) {
	var b strings.Builder
	begin(&b, "Helm values",
		"Values of the charts, with their defaults. Paths in descriptions start at the "+
			"root of the repository.")
	for _, chart := range []string{"spillway", "placeholder"} {
		content, err := os.ReadFile(filepath.Join(m.root, "charts", chart, "README.md"))
		if err != nil {
			return "", fmt.Errorf("reading the page of a chart: %w", err)
		}
		_, values, found := strings.Cut(string(content), "\n## Values\n")
		if !found {
			return "", fmt.Errorf("charts/%s/README.md has no section Values: run make charts", chart)
		}
		var rows []string
		for _, line := range strings.Split(values, "\n") {
			if !strings.HasPrefix(line, "|") {
				continue
			}
			cells := strings.Split(strings.Trim(line, "| "), " | ")
			if len(cells) < 4 || strings.TrimSpace(cells[3]) == "" {
				if !strings.HasPrefix(line, "|--") {
					return "", fmt.Errorf("charts/%s/values.yaml: %s has no description", chart, cells[0])
				}
			}
			rows = append(rows, line)
		}
		fmt.Fprintf(&b, "\n## charts/%s\n\n%s\n", chart, strings.Join(rows, "\n"))
	}
	return b.String(), nil
}
