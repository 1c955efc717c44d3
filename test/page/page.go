// Package page keeps measured figures in pages of the documentation, each between two marks. What people have written around them stays.
package page

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
)

// Rewrite puts figures into the page, by the name of the section. The page must have the marks of each; a section without new figures keeps its
// own. Where it fails the page is as it was.
func Rewrite(page string, figures map[string]string) error {
	content, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	text := string(content)
	for _, section := range slices.Sorted(maps.Keys(figures)) {
		if text, err = replaceSection(text, section, figures[section]); err != nil {
			return fmt.Errorf("rewriting %s: %w", page, err)
		}
	}
	if err := os.WriteFile(page, []byte(text), 0o644); err != nil {
		return fmt.Errorf("writing the document: %w", err)
	}
	return nil
}

func replaceSection(text, section, table string) (string, error) {
	begin, end := "<!-- measured: "+section+" -->\n", "<!-- end of "+section+" -->\n"
	if strings.Count(text, begin) != 1 || strings.Count(text, end) != 1 {
		return "", fmt.Errorf("the lines %q and %q must be there once each", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	before, rest, _ := strings.Cut(text, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("the line %q must come after %q", strings.TrimSpace(end), strings.TrimSpace(begin))
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}
