// Package page writes measured figures to pages of the documentation, each section between two marks. The text around
// the sections is kept.
package page

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode/utf8"
)

// Rewrite writes figures to the page, by the name of the section. The page must have the marks of each. Other sections
// keep their figures. If Rewrite fails, the page is unchanged.
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

// columns is the width of Fill.
const columns = 120

// Fill breaks a paragraph into lines of at most 120 columns, and ends the last one. A longer word gets a line of its
// own.
func Fill(paragraph string) string {
	var text strings.Builder
	width := 0
	for _, word := range strings.Fields(paragraph) {
		switch length := utf8.RuneCountInString(word); {
		case width == 0:
			width = length
		case width+1+length > columns:
			text.WriteString("\n")
			width = length
		default:
			text.WriteString(" ")
			width += 1 + length
		}
		text.WriteString(word)
	}
	return text.String() + "\n"
}

func replaceSection(text, section, table string) (string, error) {
	begin, end := "<!-- measured: "+section+" -->\n", "<!-- end of "+section+" -->\n"
	if strings.Count(text, begin) != 1 || strings.Count(text, end) != 1 {
		return "", fmt.Errorf("the lines %q and %q must occur once each", strings.TrimSpace(begin), strings.TrimSpace(end))
	}
	before, rest, _ := strings.Cut(text, begin)
	_, after, found := strings.Cut(rest, end)
	if !found {
		return "", fmt.Errorf("the line %q must come after %q", strings.TrimSpace(end), strings.TrimSpace(begin))
	}
	return before + begin + "\n" + table + "\n" + end + after, nil
}
