package main

import (
	"fmt"
	"strings"
)

// Page is one generated page.
type Page struct {
	// Path is the path in the repository, with slashes.
	Path string
	// Text is the content.
	Text string
}

const generated = "<!-- Generated from the code by `go run ./test/reference`. Do not edit. -->\n\n"

// Pages returns the pages of docs/reference. It fails if something that a page lists has no description, or is written
// in a form that the generator cannot read.
func Pages(root string) ([]Page, error) {
	m, err := parseModule(root)
	if err != nil {
		return nil, err
	}
	var pages []Page
	for _, part := range []struct {
		path  string
		write func(*module) (string, error)
	}{
		{"flags.md", flagsPage},
		{"configuration.md", configurationPage},
		{"helm-values.md", helmPage},
		{"metrics.md", metricsPage},
		{"reasons.md", reasonsPage},
		{"doctor.md", doctorPage},
		{"cluster-doctor.md", clusterDoctorPage},
		{"keys.md", keysPage},
	} {
		text, err := part.write(m)
		if err != nil {
			return nil, fmt.Errorf("writing docs/reference/%s: %w", part.path, err)
		}
		pages = append(pages, Page{Path: "docs/reference/" + part.path, Text: generated + text})
	}
	return pages, nil
}

// table writes a table in Markdown.
func table(header []string, rows [][]string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| %s |\n|%s\n", strings.Join(header, " | "), strings.Repeat("---|", len(header)))
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, cell := range row {
			cells[i] = strings.ReplaceAll(strings.Join(strings.Fields(cell), " "), "|", `\|`)
		}
		fmt.Fprintf(&b, "| %s |\n", strings.Join(cells, " | "))
	}
	return b.String()
}

// code sets a text as code. An empty text stays empty.
func code(text string) string {
	if text == "" {
		return ""
	}
	return "`" + text + "`"
}

// begin writes the title and the introduction of a page.
func begin(b *strings.Builder, title, intro string) {
	fmt.Fprintf(b, "# %s\n\n%s", title, wrap(intro))
}

// wrap breaks a paragraph into lines of 120 columns at most.
func wrap(text string) string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len([]rune(line))+1+len([]rune(word)) > 120 {
			lines, line = append(lines, line), ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	return strings.Join(append(lines, line), "\n") + "\n"
}
