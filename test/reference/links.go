package main

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
)

var (
	link    = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#{1,6} +(.+?) *$`)
	inline  = regexp.MustCompile("`[^`\n]*`")
	fence   = regexp.MustCompile("(?ms)^ *```.*?^ *```")
	mark    = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	odd     = regexp.MustCompile(`[^\p{L}\p{N}_ -]`)
)

// brokenLinks returns the links of all pages in Markdown that lead nowhere: to a file that is missing, or to a heading
// that its page does not have. Links to other sites are not followed.
func brokenLinks(root string) ([]string, error) {
	pages, err := readPages(root)
	if err != nil {
		return nil, err
	}
	var broken []string
	for page, content := range pages {
		prose := inline.ReplaceAllString(fence.ReplaceAllString(content, ""), "")
		for _, found := range link.FindAllStringSubmatch(prose, -1) {
			if strings.Contains(found[1], "://") || strings.HasPrefix(found[1], "mailto:") {
				continue
			}
			if problem := follow(root, page, found[1], pages); problem != "" {
				broken = append(broken, fmt.Sprintf("%s: %s: %s", page, found[1], problem))
			}
		}
	}
	return broken, nil
}

// mention is a page of the documentation that a comment or a message names.
var mention = regexp.MustCompile(`\bdocs/[a-zA-Z0-9/_-]+\.md(?:#[a-z0-9_-]+)?`)

// brokenMentions returns the pages that files other than pages name, and that are missing. Tests may name pages that do
// not exist.
func brokenMentions(root string) ([]string, error) {
	pages, err := readPages(root)
	if err != nil {
		return nil, err
	}
	var broken []string
	err = walk(root, func(name, relative string) error {
		if strings.HasSuffix(name, ".md") || strings.HasSuffix(name, "_test.go") || !text[path.Ext(relative)] {
			return nil
		}
		content, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, found := range mention.FindAllString(string(content), -1) {
			if problem := follow(root, "README.md", found, pages); problem != "" {
				broken = append(broken, fmt.Sprintf("%s: %s: %s", relative, found, problem))
			}
		}
		return nil
	})
	return broken, err
}

// text holds the extensions of files whose mentions of pages are checked.
var text = map[string]bool{
	".go": true, ".yaml": true, ".tpl": true, ".txt": true, ".gotmpl": true, ".sh": true, "": true,
}

// walk calls visit for each file of the repository. Hidden directories but .github and .ci are skipped.
func walk(root string, visit func(name, relative string) error) error {
	return filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := strings.HasPrefix(entry.Name(), ".") && entry.Name() != ".github" && entry.Name() != ".ci" && name != root
		if entry.IsDir() && hidden {
			return filepath.SkipDir
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		relative, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		return visit(name, filepath.ToSlash(relative))
	})
}

// readPages returns all pages in Markdown by their paths.
func readPages(root string) (map[string]string, error) {
	pages := map[string]string{}
	err := walk(root, func(name, relative string) error {
		if !strings.HasSuffix(name, ".md") {
			return nil
		}
		content, err := os.ReadFile(name)
		pages[relative] = string(content)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("reading the pages: %w", err)
	}
	return pages, nil
}

// follow says what is wrong with a link, or "".
func follow(root, page, target string, pages map[string]string) string {
	file, anchor, _ := strings.Cut(target, "#")
	destination := page
	if file != "" {
		destination = path.Join(path.Dir(page), file)
		if _, err := os.Stat(filepath.Join(root, filepath.FromSlash(destination))); err != nil {
			return "there is no such file"
		}
	}
	if anchor == "" {
		return ""
	}
	content, ok := pages[destination]
	if !ok {
		return "an anchor needs a page in Markdown"
	}
	if !anchors(content)[anchor] {
		return "the page has no such heading"
	}
	return ""
}

// anchors are the headings of a page as GitHub links to them.
func anchors(content string) map[string]bool {
	result := map[string]bool{}
	for _, found := range heading.FindAllStringSubmatch(fence.ReplaceAllString(content, ""), -1) {
		text := mark.ReplaceAllString(found[1], "$1")
		text = strings.ReplaceAll(odd.ReplaceAllString(strings.ToLower(text), ""), " ", "-")
		anchor := text
		for i := 1; result[anchor]; i++ {
			anchor = fmt.Sprintf("%s-%d", text, i)
		}
		result[anchor] = true
	}
	return result
}
