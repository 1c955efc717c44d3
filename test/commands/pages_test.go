package commands

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

const root = "../.."

// page is a page of the documentation.
type page struct {
	name     string
	commands []command
	// manifests are its objects in YAML, and values its values of the chart that commands use.
	manifests, values []block
}

// block is what stands between two fences.
type block struct {
	language string
	line     int
	text     string
}

// command is one command line, which may have several lines and programs.
type command struct {
	page string
	line int
	text string
	// calls are the programs that it runs, each with its arguments.
	calls [][]string
}

func (c command) String() string { return fmt.Sprintf("%s:%d: %s", c.page, c.line, c.text) }

// readPages reads the documentation.
func readPages() ([]page, error) {
	var files []string
	for _, pattern := range []string{
		"README.md", "docs/*.md", "docs/guides/*.md", "docs/reference/*.md", "docs/runbooks/*.md", "docs/decisions/*.md",
		"charts/*/README.md",
	} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil || len(found) == 0 {
			return nil, fmt.Errorf("finding %s: %d pages: %w", pattern, len(found), err)
		}
		files = append(files, found...)
	}
	var pages []page
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading a page: %w", err)
		}
		name, err := filepath.Rel(root, file)
		if err != nil {
			return nil, fmt.Errorf("naming a page: %w", err)
		}
		p, err := parsePage(name, string(content))
		if err != nil {
			return nil, err
		}
		pages = append(pages, p)
	}
	return pages, nil
}

func parsePage(name, content string) (page, error) {
	p := page{name: name}
	for _, b := range blocksOf(content) {
		switch b.language {
		case "sh", "bash", "shell", "console":
			found, err := commandsOf(name, b)
			if err != nil {
				return page{}, err
			}
			p.commands = append(p.commands, found...)
		case "yaml":
			if object.MatchString(b.text) {
				p.manifests = append(p.manifests, b)
			}
			if strings.HasPrefix(b.text, "# values.yaml\n") {
				p.values = append(p.values, b)
			}
		case "":
			if prompt.MatchString(b.text) {
				return page{}, fmt.Errorf("%s:%d: a block with commands must be marked as sh or console", name, b.line)
			}
		}
	}
	return p, nil
}

var (
	fence  = regexp.MustCompile("^( *)```(\\w*)")
	prompt = regexp.MustCompile(`(?m)^\$ `)
	object = regexp.MustCompile(`(?ms)^apiVersion: .*^kind: `)
)

// blocksOf returns what stands between fences, without its indentation.
func blocksOf(content string) []block {
	var blocks []block
	var open *block
	indent := ""
	for i, line := range strings.Split(content, "\n") {
		switch found := fence.FindStringSubmatch(line); {
		case found == nil && open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case found != nil && open == nil:
			indent, open = found[1], &block{language: found[2], line: i + 2}
		case found != nil:
			blocks, open = append(blocks, *open), nil
		}
	}
	return blocks
}

// commandsOf returns the commands of a block. In a console they follow a prompt.
func commandsOf(page string, b block) ([]command, error) {
	text := b.text
	if b.language == "console" {
		var kept []string
		for line := range strings.SplitSeq(text, "\n") {
			after, found := strings.CutPrefix(line, "$ ")
			if !found {
				after = ""
			}
			kept = append(kept, after)
		}
		text = strings.Join(kept, "\n")
	}
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(text), page)
	if err != nil {
		return nil, fmt.Errorf("%s:%d: a command that bash cannot read: %w", page, b.line, err)
	}
	var commands []command
	for _, statement := range file.Stmts {
		var printed strings.Builder
		if err := syntax.NewPrinter().Print(&printed, statement); err != nil {
			return nil, fmt.Errorf("%s:%d: printing a command: %w", page, b.line, err)
		}
		c := command{page: page, line: b.line + int(statement.Pos().Line()) - 1, text: printed.String()}
		syntax.Walk(statement, func(node syntax.Node) bool {
			if call, ok := node.(*syntax.CallExpr); ok && len(call.Args) > 0 {
				c.calls = append(c.calls, words(call.Args))
			}
			return true
		})
		commands = append(commands, c)
	}
	return commands, nil
}

// words returns words as the program gets them. Variables keep their names.
func words(args []*syntax.Word) []string {
	var all []string
	for _, arg := range args {
		all = append(all, text(arg.Parts))
	}
	return all
}

func text(parts []syntax.WordPart) string {
	var b strings.Builder
	for _, part := range parts {
		switch p := part.(type) {
		case *syntax.Lit:
			b.WriteString(p.Value)
		case *syntax.SglQuoted:
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			b.WriteString(text(p.Parts))
		case *syntax.ParamExp:
			b.WriteString("$" + p.Param.Value)
		}
	}
	return b.String()
}

// runs reports whether the command runs one of the programs.
func (c command) runs(programs ...string) bool {
	return slices.ContainsFunc(c.calls, func(call []string) bool { return slices.Contains(programs, call[0]) })
}
