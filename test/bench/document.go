package main

import (
	"fmt"
	"os"
	"strings"
)

// sections are the measured parts of the document, in their order.
var sections = []string{"machine", "throughput", "filter", "slot", "creation"}

// rewriteDocument puts the tables into the page, each between its markers. What people have written around them stays, and so does a section
// without a table.
func rewriteDocument(page string, tables map[string]string) error {
	content, err := os.ReadFile(page)
	if err != nil {
		return fmt.Errorf("reading the document: %w", err)
	}
	text := string(content)
	for _, section := range sections {
		table, measured := tables[section]
		if !measured {
			continue
		}
		if text, err = replaceSection(text, section, table); err != nil {
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
